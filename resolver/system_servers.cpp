#include "resolver/system_servers.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

namespace waypost::resolver {

std::vector<net::Address> parse_resolv_conf(std::string_view text, std::uint16_t port) {
  std::vector<net::Address> servers;
  for (std::string_view line : split(text, '\n')) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (take_word(line) != "nameserver") continue;
    std::optional<net::Address> server = net::Address::parse(take_word(line), port);
    if (!server) continue;
    if (server->is_wildcard()) server = net::Address::parse("127.0.0.1", port);  // resolv.conf(5): this host
    if (std::ranges::find(servers, *server) == servers.end()) servers.push_back(*server);
  }
  if (servers.empty()) servers.push_back(*net::Address::parse("127.0.0.1", port));
  return servers;
}

FileStamp stamp_of(const std::string& path) {
  struct stat found {};
  FileStamp stamp;
  if (stat(path.c_str(), &found) != 0) return stamp;
  stamp.modified_ns = found.st_mtim.tv_sec * 1'000'000'000LL + found.st_mtim.tv_nsec;
  stamp.size = found.st_size;
  stamp.inode = found.st_ino;
  return stamp;
}

Result<std::string> read_text(const std::string& path) {
  constexpr std::size_t kMostOctets = 65536;
  const auto failed = [&] {
    const int number = errno;
    const Errc code = number == EACCES ? Errc::denied : number == ENOENT ? Errc::not_found : Errc::io;
    return fail(code, path + " cannot be read: " + std::strerror(number));
  };
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return failed();
  std::string text(kMostOctets, '\0');
  std::size_t octets = 0;
  ssize_t got = 1;
  while (octets < text.size() && got > 0) {
    got = ::read(fd, text.data() + octets, text.size() - octets);
    if (got > 0) octets += static_cast<std::size_t>(got);
  }
  text.resize(octets);
  Result<std::string> out = std::move(text);
  if (got < 0) out = failed();
  ::close(fd);
  return out;
}

}  // namespace waypost::resolver
