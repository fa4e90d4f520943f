// tests/support/test_certificate.h: certificates and keys made at test time. None is ever committed.
#pragma once
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "net/tls.h"

namespace waypost::tests {

/// In PEM.
struct TestCertificate {
  std::string certificate;
  std::string key;
};

struct CertificateOptions {
  CertificateOptions() {}
  explicit CertificateOptions(std::vector<std::string> of) : names(std::move(of)) {}
  std::vector<std::string> names = {"relay.example"};  ///< as alternative names; none: the common name alone
  std::string common_name = "relay.example";
  bool rsa = false;
  std::chrono::seconds from = -std::chrono::hours(24);  ///< of now
  std::chrono::seconds until = std::chrono::hours(24 * 90);
  bool authority = false;
  const TestCertificate* issuer = nullptr;  ///< null: signed by its own key
};

TestCertificate make_certificate(const CertificateOptions& options = CertificateOptions());

/// The same, as a server takes it.
std::shared_ptr<const net::TlsIdentity> make_identity(const CertificateOptions& options = CertificateOptions());

/// A server with these certificates, and one with a certificate for relay.example.
std::shared_ptr<const net::TlsServer> make_tls_server(std::vector<std::shared_ptr<const net::TlsIdentity>> identities,
                                                      std::string service = "mx");
std::shared_ptr<const net::TlsServer> make_tls_server();

void write_file(const std::string& path, const std::string& text);

}  // namespace waypost::tests
