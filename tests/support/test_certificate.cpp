#include "tests/support/test_certificate.h"

#include <fstream>
#include <stdexcept>
#include <utility>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tests/support/temporary_folder.h"

namespace waypost::tests {
namespace {

void need(bool good, const char* what) {
  if (!good) throw std::runtime_error(what);
}

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

std::string taken(BIO* bio) {
  char* text = nullptr;
  long size = BIO_get_mem_data(bio, &text);
  std::string out(text, static_cast<std::size_t>(size));
  BIO_free(bio);
  return out;
}

template <class Read>
auto parsed(const std::string& pem, Read read) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  auto* out = read(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  return out;
}

void add(X509* certificate, int kind, const std::string& value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, kind, value.c_str());
  need(extension != nullptr, "an extension of a test certificate");
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

void add_names(X509* certificate, const CertificateOptions& options) {
  X509_NAME* subject = X509_get_subject_name(certificate);
  const auto* common = reinterpret_cast<const unsigned char*>(options.common_name.c_str());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, common, -1, -1, 0);
  std::string names;
  for (const std::string& name : options.names) names += (names.empty() ? "DNS:" : ",DNS:") + name;
  if (!names.empty()) add(certificate, NID_subject_alt_name, names);
}

}  // namespace

TestCertificate make_certificate(const CertificateOptions& options) {
  Key key(options.rsa ? EVP_RSA_gen(2048) : EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256"), EVP_PKEY_free);
  Certificate certificate(X509_new(), X509_free);
  need(key && certificate, "a test key");
  static long serial = 1;
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), serial++);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), static_cast<long>(options.from.count()));
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), static_cast<long>(options.until.count()));
  X509_set_pubkey(certificate.get(), key.get());
  add_names(certificate.get(), options);
  add(certificate.get(), NID_basic_constraints, options.authority ? "critical,CA:TRUE" : "critical,CA:FALSE");

  if (options.issuer != nullptr) {
    Certificate above(parsed(options.issuer->certificate, PEM_read_bio_X509), X509_free);
    Key signs(parsed(options.issuer->key, PEM_read_bio_PrivateKey), EVP_PKEY_free);
    X509_set_issuer_name(certificate.get(), X509_get_subject_name(above.get()));
    need(X509_sign(certificate.get(), signs.get(), EVP_sha256()) > 0, "the signature of a test certificate");
  } else {
    X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get()));
    need(X509_sign(certificate.get(), key.get(), EVP_sha256()) > 0, "the signature of a test certificate");
  }
  BIO* certificate_out = BIO_new(BIO_s_mem());
  BIO* key_out = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(certificate_out, certificate.get());
  PEM_write_bio_PrivateKey(key_out, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return {taken(certificate_out), taken(key_out)};
}

std::shared_ptr<const net::TlsIdentity> make_identity(const CertificateOptions& options) {
  TestCertificate made = make_certificate(options);
  TemporaryFolder folder;
  std::string path = folder.path() + "/both.pem";
  write_file(path, made.certificate + made.key);
  Result<std::shared_ptr<const net::TlsIdentity>> identity = net::TlsIdentity::load(path, path);
  if (!identity) throw std::runtime_error(identity.error().what);
  return *identity;
}

std::shared_ptr<const net::TlsServer> make_tls_server(std::vector<std::shared_ptr<const net::TlsIdentity>> identities,
                                                      std::string service) {
  net::TlsServerOptions options;
  options.service = std::move(service);
  Result<std::shared_ptr<const net::TlsServer>> server = net::TlsServer::make(std::move(identities), options);
  if (!server) throw std::runtime_error(server.error().what);
  return *server;
}

std::shared_ptr<const net::TlsServer> make_tls_server() {
  return make_tls_server({make_identity()});
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

}  // namespace waypost::tests
