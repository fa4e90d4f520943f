// net/tls_stream.h: TLS as a Stream over a Stream.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "net/stream.h"
#include "net/tls.h"

namespace waypost::net {

/// What ties an authentication to this connection (SCRAM-PLUS).
enum class ChannelBinding : std::uint8_t {
  tls_server_end_point,  ///< RFC 5929 §4
  tls_exporter,          ///< RFC 9266
};

/// Nothing but handshake() and close() may be called before handshake() has succeeded. Errors are those of Stream, and
/// protocol, with OpenSSL's reason in words.
class TlsStream : public Stream {
 public:
  /// Once. Errors also: closed, where the other side hung up meanwhile. After an error the stream is to be closed;
  /// nothing was said in clear.
  virtual Task<Result<>> handshake(TimePoint deadline) = 0;

  virtual const TlsInfo& info() const = 0;
  /// Octets; "" where there is none: tls_exporter of a TLS 1.2 connection without extended master secret.
  virtual std::string channel_binding(ChannelBinding kind) const = 0;
  /// Of a client, once it has read something: for TlsTarget::session. "" if the server wants no resumption.
  virtual std::string session() const = 0;
};

/// The side that was connected to. `now` is for the age of ticket keys. Errors: internal (no memory); `below` is left
/// as it was then.
Result<std::unique_ptr<TlsStream>> tls_accept(std::unique_ptr<Stream>&& below, std::shared_ptr<const TlsServer> server,
                                              TimePoint now);

/// The side that connects. Errors: as above.
Result<std::unique_ptr<TlsStream>> tls_connect(std::unique_ptr<Stream>&& below, std::shared_ptr<const TlsClient> client,
                                               const TlsTarget& target);

}  // namespace waypost::net
