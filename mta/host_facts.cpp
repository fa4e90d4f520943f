// mta/host_facts.cpp: host_facts(): what the system, name servers and next hops say.
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <string_view>
#include <thread>
#include <utility>

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <unistd.h>

#include "mta/host_checks.h"
#include "mta/interfaces.h"
#include "resolver/system_servers.h"

namespace waypost::mta {
namespace {

using Known = HostFacts::Known;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{3};  // with all of them together
constexpr std::chrono::milliseconds kAnswer{2500};
constexpr std::size_t kMostNextHops = 50;
constexpr std::uint16_t kDns = 53;

/// What a function says that blocks, on a thread that ends with the program where nobody answers it.
template <class T>
std::future<T> ask(std::function<T()> function) {
  auto answer = std::make_shared<std::promise<T>>();
  std::future<T> future = answer->get_future();
  std::thread([answer, function = std::move(function)] { answer->set_value(function()); }).detach();
  return future;
}

template <class T>
T answer_by(Clock::time_point deadline, std::future<T>& future, T otherwise) {
  return future.wait_until(deadline) == std::future_status::ready ? future.get() : otherwise;
}

class Socket {
 public:
  Socket(int family, int type) : fd_(::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }
  /// 0: connected; else an errno.
  int connect(const sockaddr* to, socklen_t octets) const {
    if (::connect(fd_, to, octets) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    if (!wait_for(POLLOUT)) return ETIMEDOUT;
    int error = 0;
    socklen_t size = sizeof error;
    return ::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
  }
  bool wait_for(short events) const {
    pollfd one{fd_, events, 0};
    return ::poll(&one, 1, static_cast<int>(kAnswer.count())) == 1;
  }

 private:
  int fd_;
};

using Found = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

/// Null: `failed` says why.
Found look_up(const std::string& host, std::uint16_t port, int type, int& failed) {
  addrinfo hints{};
  hints.ai_socktype = type;
  addrinfo* found = nullptr;
  failed = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  return {failed == 0 ? found : nullptr, &freeaddrinfo};
}

Known name_has_address(const std::string& name) {
  int failed = 0;
  const Found found = look_up(name, 0, SOCK_STREAM, failed);
  const bool none = failed == EAI_NONAME || failed == EAI_NODATA;
  return failed == 0 ? Known::yes : none ? Known::no : Known::unknown;
}

Known clock_is_kept() {
  timex now{};
  const int state = adjtimex(&now);
  if (state < 0) return Known::unknown;
  return (now.status & STA_UNSYNC) == 0 ? Known::yes : Known::no;
}

/// The root's SOA, which is signed, with AD set: who validates says so in the answer (RFC 6840 section 5.7).
HostFacts::NameServer::Kind kind_of(const std::string& host, std::uint16_t port) {
  using Kind = HostFacts::NameServer::Kind;
  constexpr std::array<std::uint8_t, 17> kQuestion = {0x57, 0x50, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 1};
  constexpr std::uint8_t kResponse = 0x80, kAuthentic = 0x20, kCode = 0x0f;
  int failed = 0;
  const Found found = look_up(host, port, SOCK_DGRAM, failed);
  if (!found) return Kind::silent;
  const Socket socket(found->ai_family, SOCK_DGRAM);
  if (socket.connect(found->ai_addr, found->ai_addrlen) != 0) return Kind::silent;
  std::array<std::uint8_t, 512> answer{};
  const auto sent = ::send(socket.fd(), kQuestion.data(), kQuestion.size(), MSG_NOSIGNAL);
  if (sent < 0 || !socket.wait_for(POLLIN)) return Kind::silent;
  const auto got = ::recv(socket.fd(), answer.data(), answer.size(), 0);
  if (got < 12 || answer[0] != kQuestion[0] || answer[1] != kQuestion[1] || (answer[2] & kResponse) == 0)
    return Kind::silent;
  return (answer[3] & kAuthentic) != 0 && (answer[3] & kCode) == 0 ? Kind::validates : Kind::believes;
}

std::vector<conf::HostPort> name_servers(const conf::Config& config) {
  if (!config.resolver.servers.empty()) return config.resolver.servers;
  std::vector<conf::HostPort> out;
  for (const net::Address& each :
       resolver::parse_resolv_conf(resolver::read_text("/etc/resolv.conf").value_or(""), kDns))
    out.push_back({each.host(), each.port});
  return out;
}

/// "" if a connection can be made; else why not.
std::string why_not_tcp(const std::string& host, std::uint16_t port) {
  int failed = 0;
  const Found found = look_up(host, port, SOCK_STREAM, failed);
  if (failed != 0) return gai_strerror(failed);
  int error = 0;
  for (const addrinfo* each = found.get(); each != nullptr; each = each->ai_next) {
    const Socket socket(each->ai_family, SOCK_STREAM);
    error = socket.connect(each->ai_addr, each->ai_addrlen);
    if (error == 0) return "";
  }
  return std::strerror(error);
}

int connect_local(const std::string& path) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (path.size() >= sizeof to.sun_path) return ENAMETOOLONG;
  path.copy(to.sun_path, path.size());
  const Socket socket(AF_UNIX, SOCK_STREAM);
  return socket.connect(reinterpret_cast<const sockaddr*>(&to), sizeof to);
}

/// As the daemon: what this user may not do says nothing.
std::string why_not_local(const std::string& path) {
  const int error = connect_local(path);
  return error == 0 || error == EACCES || error == EPERM || error == EAGAIN ? "" : std::strerror(error);
}

std::string why_not(const conf::NextHop& hop, std::uint16_t usual) {
  switch (hop.kind) {
    case conf::NextHop::Kind::smtp:
      // Its exchangers are `waypost probe`'s.
      return hop.look_up_mx ? "" : why_not_tcp(hop.host.host, hop.host.port == 0 ? usual : hop.host.port);
    case conf::NextHop::Kind::lmtp_tcp:
      return why_not_tcp(hop.host.host, hop.host.port);
    case conf::NextHop::Kind::lmtp_socket:
      return why_not_local(hop.value);
    case conf::NextHop::Kind::maildir:
    case conf::NextHop::Kind::reject:
    case conf::NextHop::Kind::discard:
      break;
  }
  return "";
}

struct Named {
  std::string key;
  conf::NextHop hop;
};

std::vector<Named> next_hops(const conf::Config& config) {
  std::vector<Named> out;
  for (std::size_t i = 0; i < config.routes.size(); ++i)
    for (const conf::NextHop& hop : config.routes[i].next_hops)
      out.push_back({"route[" + std::to_string(i + 1) + "].next_hop", hop});
  for (std::size_t i = 0; i < config.domains.size(); ++i)
    if (config.domains[i].deliver)
      out.push_back({"domain[" + std::to_string(i + 1) + "].deliver", *config.domains[i].deliver});
  if (out.size() > kMostNextHops) out.resize(kMostNextHops);
  return out;
}

std::vector<HostFacts::Unreachable> taken_listeners(const conf::Config& config) {
  std::vector<HostFacts::Unreachable> out;
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    const conf::HostPort& at = config.listeners[i].address;
    int failed = 0;
    const Found found = look_up(at.host, at.port, SOCK_STREAM, failed);
    if (!found) continue;
    const Socket socket(found->ai_family, SOCK_STREAM);
    const int on = 1;
    ::setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(socket.fd(), found->ai_addr, found->ai_addrlen) != 0 && errno == EADDRINUSE)
      out.push_back({"listener[" + std::to_string(i + 1) + "].address", at.text(), std::strerror(EADDRINUSE)});
  }
  return out;
}

}  // namespace

HostFacts host_facts(const conf::Config& config) {
  using Kind = HostFacts::NameServer::Kind;
  const Clock::time_point deadline = Clock::now() + kPatience;
  std::future<Known> named = ask<Known>([name = config.hostname] { return name_has_address(name); });
  std::vector<std::pair<std::string, std::future<Kind>>> servers;
  for (const conf::HostPort& each : name_servers(config)) {
    const std::uint16_t port = each.port == 0 ? kDns : each.port;
    servers.emplace_back(each.text(), ask<Kind>([host = each.host, port] { return kind_of(host, port); }));
  }
  std::vector<std::pair<Named, std::future<std::string>>> hops;
  for (Named& each : next_hops(config)) {
    auto look = [hop = each.hop, usual = config.delivery.port] { return why_not(hop, usual); };
    hops.emplace_back(std::move(each), ask<std::string>(std::move(look)));
  }

  HostFacts facts;
  facts.clock_is_kept = clock_is_kept();
  facts.addresses = interface_addresses();
  // A daemon that runs has them itself.
  if (connect_local(config.control_socket) != 0) facts.listeners = taken_listeners(config);
  facts.name_has_address = answer_by(deadline, named, Known::unknown);
  for (auto& [address, answer] : servers)
    facts.name_servers.push_back({address, answer_by(deadline, answer, Kind::silent)});
  for (auto& [each, answer] : hops) {
    std::string why = answer_by(deadline, answer, std::string("no answer in time"));
    if (!why.empty()) facts.next_hops.push_back({each.key, each.hop.text(), std::move(why)});
  }
  return facts;
}

}  // namespace waypost::mta
