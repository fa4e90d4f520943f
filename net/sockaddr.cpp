#include "net/sockaddr.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <uv.h>

namespace waypost::net {

SocketAddress to_socket_address(const Address& address) {
  SocketAddress to;
  if (address.family == 4) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(address.port);
    std::memcpy(&in.sin_addr, address.bytes.data(), sizeof in.sin_addr);
    std::memcpy(&to.storage, &in, sizeof in);
    to.size = sizeof in;
  } else {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(address.port);
    std::memcpy(&in.sin6_addr, address.bytes.data(), sizeof in.sin6_addr);
    std::memcpy(&to.storage, &in, sizeof in);
    to.size = sizeof in;
  }
  return to;
}

std::optional<sockaddr_un> to_local_address(const Address& address) {
  sockaddr_un local{};
  local.sun_family = AF_UNIX;
  if (address.path.size() >= sizeof local.sun_path) return std::nullopt;
  std::memcpy(local.sun_path, address.path.data(), address.path.size());
  return local;
}

Address from_socket_address(const SocketAddress& from) {
  if (from.storage.ss_family == AF_UNIX) return Address::local("");
  if (from.storage.ss_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, &from.storage, sizeof in);
    std::array<std::uint8_t, 16> bytes{};
    std::memcpy(bytes.data(), &in.sin6_addr, bytes.size());
    return Address::of_ipv6(bytes, ntohs(in.sin6_port));
  }
  sockaddr_in in{};
  std::memcpy(&in, &from.storage, sizeof in);
  Address address;
  std::memcpy(address.bytes.data(), &in.sin_addr, sizeof in.sin_addr);
  address.port = ntohs(in.sin_port);
  return address;
}

int stream_socket(const Address& address) {
  const int family = address.is_local() ? AF_UNIX : address.family == 4 ? AF_INET : AF_INET6;
  return ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

Errc errc_of(int error) {
  switch (std::abs(error)) {
    case ECONNREFUSED:
      return Errc::refused;
    case ETIMEDOUT:
      return Errc::timed_out;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EADDRNOTAVAIL:
    case ENETDOWN:
    case EHOSTDOWN:
    case EAFNOSUPPORT:  // IPv6 is switched off here
    case ENOENT:        // a local socket that nobody has made
      return Errc::unreachable;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
      return Errc::busy;
    case EADDRINUSE:
      return Errc::exists;
    case EACCES:
    case EPERM:
      return Errc::denied;
    case ECANCELED:
      return Errc::cancelled;
    case EPIPE:
    case ECONNRESET:
    case ECONNABORTED:
    case ENOTCONN:
      return Errc::closed;
    case EINVAL:
      return Errc::invalid;
    default:
      return Errc::io;
  }
}

Error socket_error(const char* what, const Address& address, int error) {
  return Error(errc_of(error), std::string(what) + " " + address.text() + ": " + uv_strerror(-std::abs(error)));
}

}  // namespace waypost::net
