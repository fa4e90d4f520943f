#include "tests/support/hostile_dns.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

#include <arpa/inet.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace waypost::tests {

namespace {

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

bool bind_to(int socket, std::uint16_t port) {
  sockaddr_in address = loopback(port);
  return bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

std::uint16_t port_of(int socket) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

Query parse_query(const Octets& message, bool tcp) {
  Query query;
  query.tcp = tcp;
  if (message.size() < 17) return query;
  query.id = static_cast<unsigned>(message[0] << 8 | message[1]);
  query.edns = message[11] != 0;
  std::size_t at = 12;
  while (at < message.size() && message[at] != 0) {
    std::size_t size = message[at++];
    if (!query.name.empty()) query.name += '.';
    for (std::size_t i = 0; i < size && at < message.size(); ++i) query.name += static_cast<char>(message[at++]);
  }
  if (at + 2 < message.size()) query.type = static_cast<unsigned>(message[at + 1] << 8 | message[at + 2]);
  return query;
}

}  // namespace

Octets framed(const Octets& message) {
  Octets out(message.size() + 2);
  out[0] = static_cast<std::uint8_t>(message.size() >> 8);
  out[1] = static_cast<std::uint8_t>(message.size());
  std::ranges::copy(message, out.begin() + 2);
  return out;
}

HostileDns::HostileDns(Says says) : says_(std::move(says)) {
  stop_ = eventfd(0, EFD_CLOEXEC);
  for (int attempt = 0; attempt < 100; ++attempt) {  // one port for both
    tcp_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    udp_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int octets = 4 << 20;
    setsockopt(udp_, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
    bool bound = bind_to(tcp_, 0) && bind_to(udp_, port_of(tcp_)) && listen(tcp_, 16) == 0;
    if (bound) break;
    close(tcp_);
    close(udp_);
    tcp_ = -1;
  }
  if (tcp_ < 0) throw std::runtime_error("no port for a name server");
  port_ = port_of(tcp_);
  thread_ = std::thread([this] { run(); });
}

HostileDns::~HostileDns() {
  std::uint64_t one = 1;
  [[maybe_unused]] ssize_t written = write(stop_, &one, sizeof one);
  thread_.join();
  for (const auto& [socket, buffer] : connections_) close(socket);
  close(udp_);
  close(tcp_);
  close(stop_);
}

std::vector<Query> HostileDns::queries() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return queries_;
}

std::vector<Octets> HostileDns::hear(const Octets& message, bool tcp) {
  Query query = parse_query(message, tcp);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    query.number = queries_.size();
    queries_.push_back(query);
  }
  return says_(query);
}

/// False when the connection has ended.
bool HostileDns::serve_tcp(int socket, Octets& buffer) {
  std::array<std::uint8_t, 4096> chunk{};
  ssize_t count = recv(socket, chunk.data(), chunk.size(), 0);
  if (count <= 0) return false;
  buffer.insert(buffer.end(), chunk.begin(), chunk.begin() + count);
  while (buffer.size() >= 2) {
    std::size_t size = static_cast<std::size_t>(buffer[0] << 8 | buffer[1]);
    if (buffer.size() < size + 2) break;
    Octets message(buffer.begin() + 2, buffer.begin() + 2 + static_cast<std::ptrdiff_t>(size));
    buffer.erase(buffer.begin(), buffer.begin() + 2 + static_cast<std::ptrdiff_t>(size));
    for (const Octets& out : hear(message, true)) {
      if (out.empty()) return false;  // told to hang up
      std::size_t sent = 0;
      while (sent < out.size()) {
        ssize_t some = send(socket, out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
        if (some <= 0) return false;
        sent += static_cast<std::size_t>(some);
      }
    }
  }
  return true;
}

void HostileDns::run() {
  while (true) {
    std::vector<pollfd> polled = {{stop_, POLLIN, 0}, {udp_, POLLIN, 0}, {tcp_, POLLIN, 0}};
    for (const auto& [socket, buffer] : connections_) polled.push_back({socket, POLLIN, 0});
    poll(polled.data(), polled.size(), -1);
    if (polled[0].revents != 0) return;
    if (polled[1].revents != 0) {
      Octets message(65536);
      sockaddr_in from{};
      socklen_t size = sizeof from;
      ssize_t count = recvfrom(udp_, message.data(), message.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
      message.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
      for (const Octets& out : hear(message, false))
        sendto(udp_, out.data(), out.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
    }
    if (polled[2].revents != 0) {
      int accepted = accept(tcp_, nullptr, nullptr);
      if (accepted >= 0) connections_[accepted];
    }
    for (std::size_t i = 3; i < polled.size(); ++i) {
      if (polled[i].revents == 0 || serve_tcp(polled[i].fd, connections_[polled[i].fd])) continue;
      close(polled[i].fd);
      connections_.erase(polled[i].fd);
    }
  }
}

}  // namespace waypost::tests
