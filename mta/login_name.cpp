#include "mta/login_name.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include <pwd.h>

#include "base/text.h"

namespace waypost::mta {
namespace {

constexpr std::size_t kMaxName = 64;

bool is_plain(std::string_view name) {
  return name.size() <= kMaxName && std::all_of(name.begin(), name.end(), [](char c) {
           return is_alnum(c) || std::string_view("._-$@+").find(c) != std::string_view::npos;
         });
}

}  // namespace

std::string login_name(std::uint32_t uid) {
  std::vector<char> buffer(16384);
  passwd entry{};
  passwd* found = nullptr;
  const int failed = getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
  if (failed != 0 || found == nullptr || !is_plain(entry.pw_name)) return "";
  return entry.pw_name;
}

}  // namespace waypost::mta
