// net/tls_wire.h: what OpenSSL reads from and writes to: octets in memory. Private to net/.
#pragma once
#include <array>
#include <cstddef>
#include <span>
#include <string>

#include <openssl/bio.h>

namespace waypost::net {

/// Between a TLS connection and the stream below it. Nothing waits here: a read that finds nothing is to be tried
/// again.
class TlsWire {
 public:
  static constexpr std::size_t kRecord = 5 + 16384 + 256;  ///< the longest that a peer may send (RFC 5246 §6.2.3)

  /// A BIO over this; the SSL that takes it is freed before this.
  BIO* make_bio();

  /// Where more octets from the peer may be put: only when those before were read. filled() says how many they were.
  std::span<char> space() { return in_; }
  void filled(std::size_t octets);
  bool empty() const { return begin_ == end_; }

  std::string& out() { return out_; }

 private:
  static const BIO_METHOD* method();
  static int read(BIO* bio, char* into, int size);
  static int write(BIO* bio, const char* from, int size);
  static long control(BIO* bio, int command, long, void*);

  std::array<char, kRecord> in_;  // not zeroed: it is per connection
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::string out_;
};

}  // namespace waypost::net
