// What certificates say, and the roots that they are measured by.
#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "base/escape.h"
#include "base/text.h"
#include "net/tls_openssl.h"

namespace waypost::net {
namespace {

constexpr std::size_t kMaxName = 255;

std::string hex(std::string_view octets) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (char c : octets) {
    auto octet = static_cast<unsigned char>(c);
    out += kDigits[octet >> 4U];
    out += kDigits[octet & 15U];
  }
  return out;
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

std::vector<std::string> names_of(const X509* certificate) {
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

std::string name_text(const X509_NAME* name) {
  BioPtr out(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(out.get(), name, 0, XN_FLAG_RFC2253);
  char* text = nullptr;
  const long length = BIO_get_mem_data(out.get(), &text);
  return length > 0 ? escape(std::string_view(text, static_cast<std::size_t>(length))) : "";
}

WallTime to_wall(const ASN1_TIME* time) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  return WallTime(std::chrono::seconds(timegm(&parts)));
}

/// X509_STORE_set_default_paths() without its OSSL_STORE, which reads the whole folder for each certificate that is
/// verified.
bool add_system_roots(X509_STORE* roots) {
  X509_LOOKUP* file = X509_STORE_add_lookup(roots, X509_LOOKUP_file());
  X509_LOOKUP* folder = X509_STORE_add_lookup(roots, X509_LOOKUP_hash_dir());
  if (file == nullptr || folder == nullptr) return false;
  X509_LOOKUP_load_file(file, nullptr, X509_FILETYPE_DEFAULT);  // many systems have the folder alone
  return X509_LOOKUP_add_dir(folder, nullptr, X509_FILETYPE_DEFAULT) == 1;
}

}  // namespace

std::string sha256(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr);
  return std::string(reinterpret_cast<const char*>(digest.data()), size);
}

bool TlsCertificate::covers(std::string_view host) const {
  std::string name = to_lower(host);
  std::size_t dot = name.find('.');
  std::string wildcard = dot == std::string::npos || dot == 0 ? "" : "*" + name.substr(dot);
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& each) { return each == name || each == wildcard; });
}

TlsCertificate describe(X509* certificate) {
  TlsCertificate out;
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  X509_digest(certificate, EVP_sha256(), digest.data(), &size);
  out.sha256 = hex(std::string_view(reinterpret_cast<const char*>(digest.data()), size));
  unsigned char* der = nullptr;
  const int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (length > 0) out.spki_sha256 = hex(sha256({reinterpret_cast<const char*>(der), static_cast<std::size_t>(length)}));
  OPENSSL_free(der);
  out.subject = name_text(X509_get_subject_name(certificate));
  out.issuer = name_text(X509_get_issuer_name(certificate));
  out.not_before = to_wall(X509_get0_notBefore(certificate));
  out.not_after = to_wall(X509_get0_notAfter(certificate));
  out.names = names_of(certificate);
  ERR_clear_error();
  return out;
}

TlsPeer describe_peer(const SSL* ssl, X509* certificate) {
  TlsPeer peer{describe(certificate)};
  long verdict = SSL_get_verify_result(ssl);
  peer.verified = verdict == X509_V_OK;
  if (!peer.verified) peer.trouble = X509_verify_cert_error_string(verdict);
  return peer;
}

Result<StorePtr> read_roots(const std::string& file) {
  StorePtr roots(X509_STORE_new());
  bool read =
      roots && (file.empty() ? add_system_roots(roots.get()) : X509_STORE_load_file(roots.get(), file.c_str()) == 1);
  if (read) {
    ERR_clear_error();
    return roots;
  }
  std::string whose = file.empty() ? "the system's roots" : "\"" + escape(file) + "\"";
  return fail(Errc::io, whose + " cannot be read: " + openssl_reason("no certificate in it"));
}

}  // namespace waypost::net
