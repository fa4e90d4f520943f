// resolver/system_servers.h: the name servers of /etc/resolv.conf.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/address.h"

namespace waypost::resolver {

/// The `nameserver` lines that hold numeric addresses, with that port, in their order, each once. None: 127.0.0.1, as
/// the C library has it.
std::vector<net::Address> parse_resolv_conf(std::string_view text, std::uint16_t port);

/// What a file was when it was read. Equal: it has not changed since.
struct FileStamp {
  long long modified_ns = -1;
  long long size = -1;
  unsigned long long inode = 0;
  bool operator==(const FileStamp&) const = default;
};

/// Blocks. A file that is not there has the default stamp.
FileStamp stamp_of(const std::string& path);
/// Blocks. Its first 64 KiB. Errors: denied, not_found, io.
Result<std::string> read_text(const std::string& path);

}  // namespace waypost::resolver
