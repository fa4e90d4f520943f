#include "mta/service_manager.h"

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace waypost::mta {
namespace {

constexpr int kFirstPassed = 3;
constexpr std::uint64_t kMaxPassed = 1000;

/// nullopt: it is not set, or no number.
std::optional<std::uint64_t> number_in_environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) return std::nullopt;
  const std::string_view text(value);
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

/// Variables that a parent left are meant for it.
bool is_ours(const char* pid_variable) {
  return number_in_environment(pid_variable) == static_cast<std::uint64_t>(getpid());
}

}  // namespace

void notify_service_manager(const std::string& state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || *path == '\0') return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string_view name(path);
  if (name.size() >= sizeof(address.sun_path)) return;
  std::memcpy(address.sun_path, name.data(), name.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';  // an abstract socket
  const int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  // sendto() takes the general form of an address.
  (void)sendto(descriptor, state.data(), state.size(), MSG_NOSIGNAL,
               static_cast<const sockaddr*>(static_cast<const void*>(&address)), size);
  close(descriptor);
}

std::optional<net::Duration> watchdog_interval() {
  if (std::getenv("WATCHDOG_PID") != nullptr && !is_ours("WATCHDOG_PID")) return std::nullopt;
  const std::optional<std::uint64_t> microseconds = number_in_environment("WATCHDOG_USEC");
  if (!microseconds || *microseconds == 0) return std::nullopt;
  // A day is as good as never, and keeps the sum within what a duration holds.
  constexpr std::uint64_t kMost = 86'400'000;
  const std::uint64_t half = *microseconds / 2000;
  return net::Duration(half < 1 ? 1 : half > kMost ? kMost : half);
}

std::vector<int> passed_descriptors() {
  std::vector<int> descriptors;
  if (!is_ours("LISTEN_PID")) return descriptors;
  const std::uint64_t count = number_in_environment("LISTEN_FDS").value_or(0);
  if (count > kMaxPassed) return descriptors;
  for (std::uint64_t i = 0; i < count; ++i) descriptors.push_back(kFirstPassed + static_cast<int>(i));
  return descriptors;
}

}  // namespace waypost::mta
