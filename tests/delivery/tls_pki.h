// tests/delivery/tls_pki.h: a root, servers that it vouches for, and a client that believes it.
#pragma once
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "net/tls.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_certificate.h"

namespace waypost::tests {

/// Keys take time: each server is made once.
class TlsPki {
 public:
  static TlsPki& get() {
    static TlsPki pki;
    return pki;
  }

  std::shared_ptr<const net::TlsClient> client() const { return client_; }
  /// Of a certificate for that name that the root has signed.
  std::shared_ptr<const net::TlsServer> server(const std::string& name) { return make(name, &root_); }
  std::shared_ptr<const net::TlsServer> self_signed(const std::string& name) { return make(name, nullptr); }

 private:
  TlsPki() {
    CertificateOptions options(std::vector<std::string>{});
    options.common_name = "Test root";
    options.authority = true;
    root_ = make_certificate(options);
    TemporaryFolder folder;
    net::TlsClientOptions of_client;
    of_client.ca = folder.path() + "/ca.pem";
    write_file(of_client.ca, root_.certificate);
    Result<std::shared_ptr<const net::TlsClient>> made = net::TlsClient::make(of_client);
    if (!made) throw std::runtime_error(made.error().what);
    client_ = *made;
  }

  std::shared_ptr<const net::TlsServer> make(const std::string& name, const TestCertificate* issuer) {
    std::shared_ptr<const net::TlsServer>& server = servers_[{name, issuer != nullptr}];
    if (server) return server;
    CertificateOptions options(std::vector<std::string>{name});
    options.common_name = name;
    options.issuer = issuer;
    server = make_tls_server({make_identity(options)});
    return server;
  }

  TestCertificate root_;
  std::shared_ptr<const net::TlsClient> client_;
  std::map<std::pair<std::string, bool>, std::shared_ptr<const net::TlsServer>> servers_;
};

}  // namespace waypost::tests
