#include "net/tls.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "base/escape.h"
#include "base/text.h"
#include "net/tls_openssl.h"

namespace waypost::net {
namespace {

// Mozilla's intermediate level without DHE: forward secrecy and authenticated encryption alone. TLS 1.3 has no others.
constexpr const char* kCiphers =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
// A host is better reached with what it has than in clear (RFC 7435 §3).
constexpr const char* kClientCiphers = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:HIGH:!aNULL:!eNULL:!PSK:!SRP:!DSS";
constexpr std::string_view kGroups = "X25519:P-256:P-384";
constexpr Duration kTicketKeyLife = std::chrono::hours(12);
constexpr std::size_t kMaxCiphers = 256;  // octets of a ClientHello's list that are kept for a log line

/// What both sides share. Null, with OpenSSL's errors, if a setting is not to be had.
SslContextPtr plain_context(const SSL_METHOD* method, const char* ciphers) {
  SslContextPtr context(SSL_CTX_new(method));
  if (!context) return nullptr;
  std::string groups(kGroups);
  bool set = SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) == 1 &&
             SSL_CTX_set_cipher_list(context.get(), ciphers) == 1 &&
             SSL_CTX_set1_groups_list(context.get(), groups.data()) == 1;
  if (!set) return nullptr;
  SSL_CTX_set_options(context.get(), SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS);
  return context;
}

/// A client's certificate is looked at, and never refused: who is let in by it is not decided here.
int take_any(int, X509_STORE_CTX*) {
  return 1;
}

/// The host that a ClientHello names (RFC 6066 §3), lower case; "" if none, or none that makes sense.
std::string server_name_of(SSL* ssl) {
  const unsigned char* data = nullptr;
  std::size_t size = 0;
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &size) != 1) return "";
  // A list of one: its length, its kind (0: host name), the name's length, the name.
  if (size < 5 || data[2] != TLSEXT_NAMETYPE_host_name) return "";
  std::size_t length = (std::size_t{data[3]} << 8U) | data[4];
  if (length > size - 5 || length > TLSEXT_MAXLEN_host_name) return "";
  return to_lower(std::string_view(reinterpret_cast<const char*>(data) + 5, length));
}

void note_offer(SSL* ssl, TlsHello& hello) {
  const unsigned char* data = nullptr;
  std::size_t size = SSL_client_hello_get0_ciphers(ssl, &data);
  size = std::min(size, kMaxCiphers);
  hello.ciphers.assign(reinterpret_cast<const char*>(data), size);
  hello.versions = {static_cast<std::uint16_t>(SSL_client_hello_get0_legacy_version(ssl))};
  if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_versions, &data, &size) != 1) return;
  hello.versions.clear();
  for (std::size_t i = 1; i + 1 < size && hello.versions.size() < 8; i += 2) {
    hello.versions.push_back(static_cast<std::uint16_t>((data[i] << 8U) | data[i + 1]));
  }
}

bool use_identity(SSL* ssl, const TlsIdentity& identity) {
  const TlsIdentity::Inside& inside = identity.inside();
  return SSL_use_cert_and_key(ssl, inside.certificate.get(), inside.key.get(), inside.chain.get(), 1) == 1;
}

/// Before a ticket is looked at and a certificate chosen: both hang on the name.
int on_client_hello(SSL* ssl, int* alert, void* server) {
  *alert = SSL_AD_INTERNAL_ERROR;
  auto& inside = *static_cast<TlsServer::Inside*>(server);
  auto& hello = *static_cast<TlsHello*>(SSL_get_app_data(ssl));
  hello.server_name = server_name_of(ssl);
  note_offer(ssl, hello);

  const std::vector<std::size_t>& chosen = inside.choose(hello.server_name);
  SSL_certs_clear(ssl);
  for (std::size_t each : chosen) {
    if (!use_identity(ssl, *inside.identities[each])) return SSL_CLIENT_HELLO_ERROR;
  }
  std::string bound = sha256(inside.options.service + '\n' + inside.identities[chosen.front()]->certificate().sha256);
  bool set = SSL_set_session_id_context(ssl, reinterpret_cast<const unsigned char*>(bound.data()),
                                        static_cast<unsigned>(bound.size())) == 1;
  return set ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
}

}  // namespace

TlsServer::TlsServer(std::unique_ptr<Inside> inside) : inside_(std::move(inside)) {}
TlsServer::~TlsServer() = default;

Result<std::shared_ptr<const TlsServer>> TlsServer::make(std::vector<std::shared_ptr<const TlsIdentity>> identities,
                                                         TlsServerOptions options) {
  if (identities.empty()) return fail(Errc::invalid, "TLS: there is no certificate");
  auto inside = std::make_unique<Inside>();
  inside->identities = std::move(identities);
  inside->options = std::move(options);
  for (std::size_t i = 0; i < inside->identities.size(); ++i) {
    for (const std::string& name : inside->identities[i]->certificate().names) {
      std::vector<std::size_t>& of_name = inside->by_name[name];
      int kind = EVP_PKEY_get_base_id(inside->identities[i]->inside().key.get());
      bool taken = std::any_of(of_name.begin(), of_name.end(), [&](std::size_t other) {
        return EVP_PKEY_get_base_id(inside->identities[other]->inside().key.get()) == kind;
      });
      if (!taken) of_name.push_back(i);
    }
  }
  if (inside->options.ask_for_certificate) {
    Result<StorePtr> roots = read_roots(inside->options.ca);
    if (!roots) return fail(std::move(roots.error()));
    inside->roots = *std::move(roots);
  }
  Result<SslContextPtr> context = inside->make_context();
  if (!context) return fail(std::move(context.error()));
  // Each of them, since OpenSSL refuses what it takes to be weak.
  for (const std::shared_ptr<const TlsIdentity>& identity : inside->identities) {
    SslPtr trial(SSL_new(context->get()));
    if (trial && use_identity(trial.get(), *identity)) continue;
    return fail(Errc::invalid,
                "\"" + escape(identity->inside().file) + "\" cannot be used: " + openssl_reason("no memory"));
  }
  inside->context = *std::move(context);
  return std::shared_ptr<const TlsServer>(new TlsServer(std::move(inside)));
}

const std::vector<std::size_t>& TlsServer::Inside::choose(const std::string& server_name) const {
  static const std::vector<std::size_t> first = {0};
  auto exact = by_name.find(server_name);
  if (exact != by_name.end()) return exact->second;
  std::size_t dot = server_name.find('.');
  if (dot == std::string::npos || dot == 0) return first;
  auto below = by_name.find("*" + server_name.substr(dot));
  return below != by_name.end() ? below->second : first;
}

Result<SslContextPtr> TlsServer::Inside::make_context() {
  SslContextPtr out = plain_context(TLS_server_method(), kCiphers);
  if (!out) return fail(Errc::internal, "TLS: " + openssl_reason("no memory"));
  SSL_CTX_set_session_cache_mode(out.get(), SSL_SESS_CACHE_OFF);  // tickets alone
  SSL_CTX_set_num_tickets(out.get(), 1);
  SSL_CTX_set_client_hello_cb(out.get(), on_client_hello, this);
  std::string any = sha256(options.service);
  SSL_CTX_set_session_id_context(out.get(), reinterpret_cast<const unsigned char*>(any.data()),
                                 static_cast<unsigned>(any.size()));
  if (roots) {
    SSL_CTX_set1_cert_store(out.get(), roots.get());
    SSL_CTX_set_verify(out.get(), SSL_VERIFY_PEER, take_any);
  }
  return out;
}

Result<SslPtr> TlsServer::Inside::connection(TimePoint now) {
  ERR_clear_error();
  SslPtr ssl;
  {
    std::lock_guard lock(guard);
    if (!made) made = now;
    if (now - *made > kTicketKeyLife) {
      Result<SslContextPtr> next = make_context();
      if (!next) return fail(std::move(next.error()));
      context = *std::move(next);
      made = now;
    }
    ssl.reset(SSL_new(context.get()));
  }
  if (!ssl) return fail(Errc::internal, "TLS: " + openssl_reason("no memory"));
  SSL_set_accept_state(ssl.get());
  return ssl;
}

TlsClient::TlsClient(std::unique_ptr<Inside> inside) : inside_(std::move(inside)) {}
TlsClient::~TlsClient() = default;

Result<std::shared_ptr<const TlsClient>> TlsClient::make(TlsClientOptions options,
                                                         std::shared_ptr<const TlsIdentity> identity) {
  Result<StorePtr> roots = read_roots(options.ca);
  if (!roots) return fail(std::move(roots.error()));
  auto inside = std::make_unique<Inside>();
  inside->context = plain_context(TLS_client_method(), kClientCiphers);
  SSL_CTX* context = inside->context.get();
  if (context == nullptr) return fail(Errc::internal, "TLS: " + openssl_reason("no memory"));
  if (options.only_tls13) SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_cert_store(context, roots->release());
  if (identity) {
    const TlsIdentity::Inside& own = identity->inside();
    bool used = SSL_CTX_use_cert_and_key(context, own.certificate.get(), own.key.get(), own.chain.get(), 1) == 1;
    if (!used)
      return fail(Errc::invalid, "\"" + escape(own.file) + "\" cannot be used: " + openssl_reason("no memory"));
  }
  return std::shared_ptr<const TlsClient>(new TlsClient(std::move(inside)));
}

Result<SslPtr> TlsClient::Inside::connection(const TlsTarget& target) {
  ERR_clear_error();
  SslPtr ssl(SSL_new(context.get()));
  bool good = ssl != nullptr;
  std::string host = target.server_name;
  if (good && !host.empty()) good = SSL_set_tlsext_host_name(ssl.get(), host.data()) == 1;
  for (const std::string& name : target.names) good = good && SSL_add1_host(ssl.get(), name.c_str()) == 1;
  if (good && !target.session.empty()) {
    const auto* der = reinterpret_cast<const unsigned char*>(target.session.data());
    OpensslPtr<SSL_SESSION, SSL_SESSION_free> session(
        d2i_SSL_SESSION(nullptr, &der, static_cast<long>(target.session.size())));
    good = session && SSL_set_session(ssl.get(), session.get()) == 1;
  }
  if (!good) return fail(Errc::internal, "TLS: " + openssl_reason("no memory"));
  SSL_set_hostflags(ssl.get(), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  SSL_set_verify(ssl.get(), SSL_VERIFY_PEER, target.demand ? nullptr : take_any);
  SSL_set_connect_state(ssl.get());
  return ssl;
}

}  // namespace waypost::net
