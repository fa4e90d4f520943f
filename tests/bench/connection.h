// tests/bench/connection.h: one non-blocking connection of the load or of the sink, in clear or over TLS. The programs
// here share no code with Waypost, so that a mistake of one does not hide in the other.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <openssl/ssl.h>
#include <sys/socket.h>

namespace waypost::bench {

/// Says what failed, with errno's text where there is one, and ends the program with 1.
[[noreturn]] void die(std::string_view what);

/// "127.0.0.1:25" as an address. Dies of anything else.
sockaddr_storage address_of(const std::string& text, socklen_t& length);

/// CLOCK_MONOTONIC in nanoseconds, the same for all processes.
std::uint64_t now();

void open_as_many_files_as_allowed();

class Connection {
 public:
  /// Takes the socket. It must be non-blocking; small writes leave at once from now on.
  explicit Connection(int fd);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  int fd() const { return fd_; }

  /// TLS from here on, as SSL_set_accept_state() or SSL_set_connect_state() has it. What was read before is dropped.
  void start_tls(SSL_CTX* context, bool server);

  /// Reads what has come, a handshake's part too. False at the end of the connection, however it came.
  bool receive();
  /// True if receive() has more to give of which no poll tells.
  bool more() const { return tls_ != nullptr && SSL_pending(tls_) > 0; }
  /// What has come and was not consumed.
  std::string_view input() const { return {in_.data() + from_, to_ - from_}; }
  void consume(std::size_t octets) { from_ += octets; }
  /// The next line without its CRLF, consumed; false while there is none. It is valid until receive().
  bool line(std::string_view& out);

  /// Writes both, and what the socket does not take later, by flush(). `lasting` is not copied: it must stay until it
  /// is out, and nothing may be sent before. False if the connection is gone.
  bool send(std::string_view text, std::string_view lasting = {});
  /// Writes what is left. False if the connection is gone.
  bool flush();
  /// True if a poll for room to write is due.
  bool wants_room() const { return !text_.empty() || !lasting_.empty() || handshake_writes_; }

 private:
  /// How many octets went out; -1 if the connection is gone.
  long write_some(std::string_view text);

  int fd_;
  SSL* tls_ = nullptr;
  std::vector<char> in_;
  std::size_t from_ = 0;
  std::size_t to_ = 0;
  std::string text_;  // what is left to write
  std::string_view lasting_;
  bool handshake_writes_ = false;
};

}  // namespace waypost::bench
