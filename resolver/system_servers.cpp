#include "resolver/system_servers.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>

#include <sys/stat.h>

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

std::string read_text(const std::string& path) {
  constexpr std::size_t kMaxOctets = 65536;
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxOctets, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  return text;
}

}  // namespace waypost::resolver
