// Certificates and keys: files -> TlsIdentity.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include "base/escape.h"
#include "base/text.h"
#include "net/tls_openssl.h"

namespace waypost::net {
namespace {

constexpr std::size_t kMaxFile = 1 << 20;
constexpr std::size_t kMaxName = 255;

std::string quoted(const std::string& file) {
  return "\"" + escape(file) + "\"";
}

Error file_error(const std::string& file, int number) {
  std::string what = quoted(file) + " cannot be read: " + std::strerror(number);
  if (number == ENOENT || number == ENOTDIR) return {Errc::not_found, what};
  if (number == EACCES || number == EPERM) return {Errc::denied, what};
  return {Errc::io, what};
}

Result<std::string> read_file(const std::string& file) {
  int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(file_error(file, errno));
  std::string text(kMaxFile + 1, '\0');
  std::size_t size = 0;
  int failed = 0;
  while (size < text.size()) {
    ssize_t got = ::read(fd, text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) failed = errno;
    if (got <= 0) break;
    size += static_cast<std::size_t>(got);
  }
  ::close(fd);
  if (failed != 0) return fail(file_error(file, failed));
  if (size > kMaxFile) return fail(Errc::too_big, quoted(file) + " is larger than 1 MiB: that is no certificate");
  text.resize(size);
  return text;
}

BioPtr reader(const std::string& text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

/// Instead of a question on the terminal. Remembers that a passphrase was asked for.
int no_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

Result<> read_chain(const std::string& text, const std::string& file, TlsIdentity::Inside& inside) {
  BioPtr from = reader(text);
  inside.chain.reset(sk_X509_new_null());
  while (true) {
    X509Ptr next(PEM_read_bio_X509(from.get(), nullptr, nullptr, nullptr));
    if (!next) break;
    if (!inside.certificate) {
      inside.certificate = std::move(next);
    } else if (sk_X509_push(inside.chain.get(), next.get()) > 0) {
      (void)next.release();
    }
  }
  bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  std::string reason = openssl_reason("no certificate");
  if (at_end && inside.certificate) return {};
  if (at_end) {
    return fail(Errc::invalid, quoted(file) + " holds no certificate in PEM form (\"-----BEGIN CERTIFICATE-----\")");
  }
  return fail(Errc::invalid, quoted(file) + " holds a damaged certificate: " + reason);
}

Result<> read_key(const std::string& text, const std::string& file, TlsIdentity::Inside& inside) {
  BioPtr from = reader(text);
  bool asked = false;
  inside.key.reset(PEM_read_bio_PrivateKey(from.get(), nullptr, no_passphrase, &asked));
  std::string reason = openssl_reason("no key");
  if (inside.key) return {};
  if (asked) {
    return fail(Errc::invalid, quoted(file) + " has a passphrase, which nobody could type when the daemon starts: " +
                                   "take it off with \"openssl pkey -in OLD -out NEW\"");
  }
  bool is_pem = text.find("PRIVATE KEY-----") != std::string::npos;
  return fail(Errc::invalid,
              quoted(file) + (is_pem ? " holds a damaged key: " + reason : " holds no private key in PEM form"));
}

std::string text_of(const ASN1_STRING* text) {
  const auto* octets = reinterpret_cast<const char*>(ASN1_STRING_get0_data(text));
  return std::string(octets, static_cast<std::size_t>(std::max(ASN1_STRING_length(text), 0)));
}

/// Letters of host names and of wildcards alone: what else a certificate says is no name for us.
bool is_name(const std::string& name) {
  if (name.empty() || name.size() > kMaxName) return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return is_alnum(c) || std::string_view("-_.*").find(c) != std::string_view::npos; });
}

std::string common_name(const X509* certificate) {
  const X509_NAME* subject = X509_get_subject_name(certificate);
  int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0) return "";
  return text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
}

}  // namespace

WallTime to_wall(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return WallTime(std::chrono::seconds(timegm(&parts)));
}

std::string openssl_reason(const std::string& otherwise) {
  unsigned long last = ERR_peek_last_error();
  ERR_clear_error();
  if (last == 0) return otherwise;
  const char* reason = ERR_reason_error_string(last);
  if (reason != nullptr) return reason;
  std::array<char, 256> text{};
  ERR_error_string_n(last, text.data(), text.size());
  return text.data();
}

std::vector<std::string> certificate_names(const X509* certificate) {
  std::vector<std::string> names;
  auto* all = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; all != nullptr && i < sk_GENERAL_NAME_num(all); ++i) {
    const GENERAL_NAME* each = sk_GENERAL_NAME_value(all, i);
    if (each->type != GEN_DNS) continue;
    std::string name = to_lower(text_of(each->d.dNSName));
    if (is_name(name)) names.push_back(std::move(name));
  }
  GENERAL_NAMES_free(all);
  if (!names.empty()) return names;
  std::string name = to_lower(common_name(certificate));
  if (is_name(name)) names.push_back(std::move(name));
  return names;
}

TlsIdentity::TlsIdentity(std::unique_ptr<Inside> inside) : inside_(std::move(inside)) {}
TlsIdentity::~TlsIdentity() = default;

const std::vector<std::string>& TlsIdentity::names() const {
  return inside_->names;
}

bool TlsIdentity::covers(std::string_view host) const {
  std::string name = to_lower(host);
  std::size_t dot = name.find('.');
  std::string wildcard = dot == std::string::npos || dot == 0 ? "" : "*" + name.substr(dot);
  return std::any_of(names().begin(), names().end(),
                     [&](const std::string& each) { return each == name || each == wildcard; });
}

WallTime TlsIdentity::not_before() const {
  return inside_->not_before;
}

WallTime TlsIdentity::not_after() const {
  return inside_->not_after;
}

Result<std::shared_ptr<const TlsIdentity>> TlsIdentity::load(const std::string& certificate_file,
                                                             const std::string& key_file) {
  Result<std::string> certificate = read_file(certificate_file);
  if (!certificate) return fail(std::move(certificate.error()));
  auto inside = std::make_unique<Inside>();
  inside->file = certificate_file;
  Result<> chain = read_chain(*certificate, certificate_file, *inside);
  if (!chain) return fail(std::move(chain.error()));

  Result<std::string> key = read_file(key_file);
  if (!key) return fail(std::move(key.error()));
  Result<> has_key = read_key(*key, key_file, *inside);
  OPENSSL_cleanse(key->data(), key->size());
  if (!has_key) return fail(std::move(has_key.error()));
  bool match = X509_check_private_key(inside->certificate.get(), inside->key.get()) == 1;
  ERR_clear_error();
  if (!match) {
    return fail(Errc::invalid, "the key in " + quoted(key_file) + " is not that of the first certificate in " +
                                   quoted(certificate_file) +
                                   ": they are of two orders, or the chain stands before the certificate");
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  X509_digest(inside->certificate.get(), EVP_sha256(), digest.data(), &size);
  inside->digest.assign(reinterpret_cast<const char*>(digest.data()), size);
  inside->names = certificate_names(inside->certificate.get());
  inside->not_before = to_wall(X509_get0_notBefore(inside->certificate.get()));
  inside->not_after = to_wall(X509_get0_notAfter(inside->certificate.get()));
  return std::shared_ptr<const TlsIdentity>(new TlsIdentity(std::move(inside)));
}

}  // namespace waypost::net
