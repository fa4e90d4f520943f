// tests/bench/connection.cpp
#include "tests/bench/connection.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <utility>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

namespace waypost::bench {
namespace {

constexpr std::size_t kRoom = std::size_t{128} * 1024;

bool later() {
  return errno == EAGAIN || errno == EINTR;
}

}  // namespace

void die(std::string_view what) {
  const char* why = errno != 0 ? std::strerror(errno) : "";
  std::fprintf(stderr, "%.*s%s%s\n", static_cast<int>(what.size()), what.data(), *why != '\0' ? ": " : "", why);
  std::exit(1);
}

sockaddr_storage address_of(const std::string& text, socklen_t& length) {
  sockaddr_storage out{};
  auto* v4 = reinterpret_cast<sockaddr_in*>(&out);
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || inet_pton(AF_INET, text.substr(0, colon).c_str(), &v4->sin_addr) != 1) {
    die(text + " is no IPv4 address with a port");
  }
  v4->sin_family = AF_INET;
  v4->sin_port = htons(static_cast<std::uint16_t>(std::strtoul(text.c_str() + colon + 1, nullptr, 10)));
  length = sizeof(sockaddr_in);
  return out;
}

std::uint64_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

void open_as_many_files_as_allowed() {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

Connection::Connection(int fd) : fd_(fd), in_(kRoom) {
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

Connection::~Connection() {
  if (tls_ != nullptr) {
    SSL_shutdown(tls_);
    SSL_free(tls_);
  }
  close(fd_);
}

void Connection::start_tls(SSL_CTX* context, bool server) {
  tls_ = SSL_new(context);
  if (tls_ == nullptr || SSL_set_fd(tls_, fd_) != 1) die("no TLS");
  server ? SSL_set_accept_state(tls_) : SSL_set_connect_state(tls_);
  from_ = to_ = 0;
}

bool Connection::receive() {
  if (from_ == to_) from_ = to_ = 0;
  if (from_ > 0 && to_ > in_.size() / 2) {
    std::memmove(in_.data(), in_.data() + from_, to_ - from_);
    to_ -= from_;
    from_ = 0;
  }
  handshake_writes_ = false;
  while (to_ < in_.size()) {
    char* into = in_.data() + to_;
    const std::size_t room = in_.size() - to_;
    if (tls_ == nullptr) {
      const ssize_t got = read(fd_, into, room);
      if (got <= 0) return got < 0 && later();
      to_ += static_cast<std::size_t>(got);
      return true;
    }
    ERR_clear_error();
    const int got = SSL_read(tls_, into, static_cast<int>(room));
    if (got <= 0) {
      const int why = SSL_get_error(tls_, got);
      handshake_writes_ = why == SSL_ERROR_WANT_WRITE;
      return handshake_writes_ || why == SSL_ERROR_WANT_READ;
    }
    to_ += static_cast<std::size_t>(got);
  }
  return true;
}

bool Connection::line(std::string_view& out) {
  const std::string_view all = input();
  const std::size_t end = all.find("\r\n");
  if (end == std::string_view::npos) return false;
  out = all.substr(0, end);
  consume(end + 2);
  return true;
}

long Connection::write_some(std::string_view text) {
  if (tls_ != nullptr) {
    const std::string_view part = text.empty() ? lasting_ : text;
    ERR_clear_error();
    const int sent = SSL_write(tls_, part.data(), static_cast<int>(part.size()));
    if (sent > 0) return sent;
    const int why = SSL_get_error(tls_, sent);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
  }
  iovec parts[2] = {{const_cast<char*>(text.data()), text.size()},
                    {const_cast<char*>(lasting_.data()), lasting_.size()}};
  const ssize_t sent = writev(fd_, parts, 2);
  return sent < 0 && later() ? 0 : sent;
}

bool Connection::send(std::string_view text, std::string_view lasting) {
  if (wants_room()) {
    text_.append(text);
    return true;
  }
  lasting_ = lasting;
  while (!text.empty() || !lasting_.empty()) {
    const long sent = write_some(text);
    if (sent < 0) return false;
    if (sent == 0) break;
    const auto octets = static_cast<std::size_t>(sent);
    const std::size_t of_text = std::min(octets, text.size());
    text.remove_prefix(of_text);
    lasting_.remove_prefix(octets - of_text);
  }
  text_ = text;
  return true;
}

bool Connection::flush() {
  if (!wants_room()) return true;
  handshake_writes_ = false;
  const std::string text = std::exchange(text_, {});
  return send(text, std::exchange(lasting_, {}));
}

}  // namespace waypost::bench
