// net/tls.h: certificates, and what connections over TLS 1.2 and 1.3 are made from. OpenSSL shows in no header but
// tls_openssl.h.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/clock.h"

namespace waypost::net {

/// What a certificate says.
struct TlsCertificate {
  std::string sha256;           ///< of all of it, in lower-case hex
  std::string spki_sha256;      ///< of its public key (SubjectPublicKeyInfo), likewise
  std::string subject, issuer;  ///< "CN=mx.b.example,O=B" (RFC 2253)
  WallTime not_before{}, not_after{};
  /// Lower case, "*.b.example" among them: the DNS names, or the common name if there is none.
  std::vector<std::string> names;
  bool covers(std::string_view host) const;  ///< in any case; a wildcard stands for one label (RFC 6125 §6.4.3)
};

/// A file of certificates: that of its owner, and then those that lead to its root.
struct TlsChain {
  TlsCertificate certificate;  ///< the owner's
  std::string trouble;         ///< what is missing of the others, or not in order; "": nothing
  /// `ca`: a PEM file with the roots that are known, which need not be in the file; "": the system's. How long
  /// certificates are valid does not count. Errors: as TlsIdentity::load(), and those of reading `ca`.
  static Result<TlsChain> read(const std::string& certificate_file, const std::string& ca);
};

/// A certificate with those that lead to its root, and its key. Read once; immutable; any thread.
class TlsIdentity {
 public:
  /// From PEM files; one file may hold both. The certificate comes first, then those that lead to its root; the key has
  /// no passphrase. Errors name the file and say what to do: not_found, denied, io, too_big, invalid (no PEM, a key
  /// with a passphrase, a key of another certificate).
  static Result<std::shared_ptr<const TlsIdentity>> load(const std::string& certificate_file,
                                                         const std::string& key_file);
  ~TlsIdentity();
  TlsIdentity(const TlsIdentity&) = delete;
  TlsIdentity& operator=(const TlsIdentity&) = delete;

  const TlsCertificate& certificate() const;

  struct Inside;
  const Inside& inside() const { return *inside_; }

 private:
  explicit TlsIdentity(std::unique_ptr<Inside> inside);
  std::unique_ptr<Inside> inside_;
};

struct TlsServerOptions {
  /// A session ticket is taken back by the service that gave it, for the name that it was given for (RELIABILITY C5).
  std::string service;
  bool ask_for_certificate = false;  ///< of the client, which may have none, or one that nobody knows
  std::string ca;                    ///< a PEM file with roots for it; "": the system's
};

/// The server's side of TLS, for many connections. Any thread.
class TlsServer {
 public:
  /// A client that names no host, or one that no certificate covers, gets the first certificate; for a name that
  /// several cover, the first of each kind of key is there to choose from. Errors: invalid, and those of reading `ca`.
  static Result<std::shared_ptr<const TlsServer>> make(std::vector<std::shared_ptr<const TlsIdentity>> identities,
                                                       TlsServerOptions options);
  ~TlsServer();
  TlsServer(const TlsServer&) = delete;
  TlsServer& operator=(const TlsServer&) = delete;

  struct Inside;
  Inside& inside() const { return *inside_; }

 private:
  explicit TlsServer(std::unique_ptr<Inside> inside);
  std::unique_ptr<Inside> inside_;
};

struct TlsClientOptions {
  std::string ca;  ///< a PEM file with roots for servers' certificates; "": the system's
  bool only_tls13 = false;
};

/// The client's side, for many connections. Any thread.
class TlsClient {
 public:
  /// `identity`: what is shown to a server that asks; nullptr: nothing. Errors: as TlsServer::make.
  static Result<std::shared_ptr<const TlsClient>> make(TlsClientOptions options,
                                                       std::shared_ptr<const TlsIdentity> identity = nullptr);
  ~TlsClient();
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  struct Inside;
  Inside& inside() const { return *inside_; }

 private:
  explicit TlsClient(std::unique_ptr<Inside> inside);
  std::unique_ptr<Inside> inside_;
};

/// What one connection of a client asks of its server.
struct TlsTarget {
  std::string server_name;         ///< told to the server (SNI); "": nothing
  std::vector<std::string> names;  ///< the certificate has to be for one of these; none: for any
  bool demand = false;             ///< without a verified certificate the handshake fails
  std::string session;             ///< of TlsStream::session(), to resume; "": a new one
};

/// A certificate as the other side showed it.
struct TlsPeer : TlsCertificate {
  bool verified = false;
  std::string trouble;  ///< why it is not verified: "self-signed certificate"
};

/// What a handshake agreed on.
struct TlsInfo {
  std::string version;      ///< "TLSv1.3"
  std::string cipher;       ///< "TLS_AES_256_GCM_SHA384"
  int bits = 0;             ///< of the cipher's key
  std::string server_name;  ///< that the client asked for, lower case, escaped; "": none
  bool resumed = false;
  std::optional<TlsPeer> peer;
};

}  // namespace waypost::net
