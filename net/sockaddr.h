// net/sockaddr.h: Address to and from what the system calls take, and what their errors mean. Private to net/.
#pragma once
#include <optional>
#include <string>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/result.h"
#include "net/address.h"

namespace waypost::net {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = sizeof(sockaddr_storage);
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

/// Of an address that is not local.
SocketAddress to_socket_address(const Address& address);
/// Of the path of a local one, if that is not too long for one.
std::optional<sockaddr_un> to_local_address(const Address& address);
Address from_socket_address(const SocketAddress& from);

/// A non-blocking stream socket of the address's family, or -1 with errno set.
int stream_socket(const Address& address);

/// `error` is an errno value, or a libuv status (its negative).
Errc errc_of(int error);
/// "WHAT ADDRESS: connection refused"
Error socket_error(const char* what, const Address& address, int error);

}  // namespace waypost::net
