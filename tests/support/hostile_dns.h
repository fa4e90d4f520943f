// tests/support/hostile_dns.h: a name server on 127.0.0.1, by UDP and TCP, that says what a test tells it to.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "conf/config.h"
#include "tests/support/dns_packet.h"

namespace waypost::tests {

struct Query {
  unsigned id = 0;
  std::string name;  ///< as it was asked
  unsigned type = 0;
  bool tcp = false;
  bool edns = false;
  std::size_t number = 0;  ///< how many came before it
};

/// The message with its length in front, as TCP has it.
Octets framed(const Octets& message);

/// On a thread of its own, on a port that the system chose.
class HostileDns {
 public:
  /// What goes out for a query: each one datagram or, by TCP, octets as they are. Called on the server's thread.
  using Says = std::function<std::vector<Octets>(const Query&)>;
  explicit HostileDns(Says says);
  HostileDns(const HostileDns&) = delete;
  HostileDns& operator=(const HostileDns&) = delete;
  ~HostileDns();

  std::uint16_t port() const { return port_; }
  conf::HostPort address() const { return {"127.0.0.1", port_}; }
  std::string text() const { return address().text(); }
  std::vector<Query> queries() const;

 private:
  void run();
  std::vector<Octets> hear(const Octets& message, bool tcp);
  bool serve_tcp(int socket, Octets& buffer);

  Says says_;
  int udp_ = -1;
  int tcp_ = -1;
  int stop_ = -1;
  std::uint16_t port_ = 0;
  std::map<int, Octets> connections_;
  mutable std::mutex mutex_;
  std::vector<Query> queries_;
  std::thread thread_;
};

}  // namespace waypost::tests
