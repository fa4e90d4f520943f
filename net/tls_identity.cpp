// Certificates and keys: files -> TlsIdentity, TlsChain.
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include "base/escape.h"
#include "net/tls_openssl.h"

namespace waypost::net {
namespace {

constexpr std::size_t kMaxFile = 1 << 20;

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

bool is_issuer(X509* issuer, X509* of) {
  return X509_check_issued(issuer, of) == X509_V_OK;
}

std::string subject_of(X509* certificate) {
  return "\"" + describe(certificate).subject + "\"";
}

/// As TlsChain::trouble.
std::string trouble_of(const TlsIdentity::Inside& inside, X509_STORE* roots) {
  X509* last = inside.certificate.get();
  for (int i = 0; i < sk_X509_num(inside.chain.get()) && !is_issuer(last, last); ++i) {
    X509* next = sk_X509_value(inside.chain.get(), i);
    if (!is_issuer(next, last))
      return "its certificate number " + std::to_string(i + 2) + ", " + subject_of(next) +
             ", is not that of the issuer of the one before, " + subject_of(last);
    last = next;
  }
  if (is_issuer(last, last)) return "";  // a root, of whatever standing
  OpensslPtr<X509_STORE_CTX, X509_STORE_CTX_free> verifying(X509_STORE_CTX_new());
  if (!verifying || X509_STORE_CTX_init(verifying.get(), roots, inside.certificate.get(), inside.chain.get()) != 1)
    return openssl_reason("no memory");
  X509_STORE_CTX_set_flags(verifying.get(), X509_V_FLAG_NO_CHECK_TIME);
  const bool verified = X509_verify_cert(verifying.get()) == 1;
  ERR_clear_error();
  if (verified) return "";
  const int error = X509_STORE_CTX_get_error(verifying.get());
  if (error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY || error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE)
    return "the certificate of \"" + describe(last).issuer + "\" is missing in it, and is no root that is known here";
  return X509_verify_cert_error_string(error);
}

}  // namespace

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

TlsIdentity::TlsIdentity(std::unique_ptr<Inside> inside) : inside_(std::move(inside)) {}
TlsIdentity::~TlsIdentity() = default;

const TlsCertificate& TlsIdentity::certificate() const {
  return inside_->described;
}

Result<TlsChain> TlsChain::read(const std::string& certificate_file, const std::string& ca) {
  Result<std::string> text = read_file(certificate_file);
  if (!text) return fail(std::move(text.error()));
  TlsIdentity::Inside inside;
  Result<> chain = read_chain(*text, certificate_file, inside);
  if (!chain) return fail(std::move(chain.error()));
  Result<StorePtr> roots = read_roots(ca);
  if (!roots) return fail(std::move(roots.error()));
  return TlsChain{describe(inside.certificate.get()), trouble_of(inside, roots->get())};
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
  inside->described = describe(inside->certificate.get());
  return std::shared_ptr<const TlsIdentity>(new TlsIdentity(std::move(inside)));
}

}  // namespace waypost::net
