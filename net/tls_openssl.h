// net/tls_openssl.h: the inside of net/tls.h, for the files of this folder that speak to OpenSSL. Private to net/.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "net/tls.h"

namespace waypost::net {

template <auto Free>
struct OpensslFree {
  template <class T>
  void operator()(T* held) const {
    Free(held);
  }
};
template <class T, auto Free>
using OpensslPtr = std::unique_ptr<T, OpensslFree<Free>>;
inline void free_chain(STACK_OF(X509) * chain) {
  sk_X509_pop_free(chain, X509_free);
}
using X509Ptr = OpensslPtr<X509, X509_free>;
using ChainPtr = OpensslPtr<STACK_OF(X509), free_chain>;
using KeyPtr = OpensslPtr<EVP_PKEY, EVP_PKEY_free>;
using BioPtr = OpensslPtr<BIO, BIO_free>;
using SslPtr = OpensslPtr<SSL, SSL_free>;
using SslContextPtr = OpensslPtr<SSL_CTX, SSL_CTX_free>;
using StorePtr = OpensslPtr<X509_STORE, X509_STORE_free>;

/// The last of OpenSSL's errors of this thread, in words, and forgets them all; `otherwise` if there is none.
std::string openssl_reason(const std::string& otherwise);

/// The digest's octets.
std::string sha256(std::string_view text);
TlsCertificate describe(X509* certificate);
TlsPeer describe_peer(const SSL* ssl, X509* certificate);
/// Of a PEM file; "": the system's. Errors: io.
Result<StorePtr> read_roots(const std::string& file);

struct TlsIdentity::Inside {
  std::string file;  ///< of the certificate
  X509Ptr certificate;
  ChainPtr chain;
  KeyPtr key;
  TlsCertificate described;
};

/// What a ClientHello offered, so that a handshake that fails can say why. SSL_get_app_data() of a server's connection.
struct TlsHello {
  std::string server_name;
  std::vector<std::uint16_t> versions;
  std::string ciphers;  ///< as on the wire
};

struct TlsServer::Inside {
  std::vector<std::shared_ptr<const TlsIdentity>> identities;
  std::unordered_map<std::string, std::vector<std::size_t>> by_name;
  TlsServerOptions options;
  StorePtr roots;  ///< null: no certificate is asked for

  /// The keys that seal session tickets are of a context: a new one is made when it is old. A connection keeps its own.
  std::mutex guard;
  SslContextPtr context;
  std::optional<TimePoint> made;

  Result<SslContextPtr> make_context();
  const std::vector<std::size_t>& choose(const std::string& server_name) const;
  /// A connection of its own, nothing said yet. Errors: internal.
  Result<SslPtr> connection(TimePoint now);
};

struct TlsClient::Inside {
  SslContextPtr context;
  Result<SslPtr> connection(const TlsTarget& target);
};

}  // namespace waypost::net
