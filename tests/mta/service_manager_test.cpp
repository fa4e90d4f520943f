#include "mta/service_manager.h"

#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/temporary_folder.h"

using namespace waypost;
using namespace std::chrono_literals;
using std::string;

namespace {

/// Set while it lives; nullopt: not set.
class Variable {
 public:
  Variable(const char* name, const std::optional<string>& value) : name_(name) {
    if (value)
      ::setenv(name, value->c_str(), 1);
    else
      ::unsetenv(name);
  }
  ~Variable() { ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

/// What is told to the socket that NOTIFY_SOCKET names; "" if nothing is.
string heard(const sockaddr_un& address, socklen_t size, const string& variable) {
  const int descriptor = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  REQUIRE(::bind(descriptor, reinterpret_cast<const sockaddr*>(&address), size) == 0);
  const Variable set("NOTIFY_SOCKET", variable);
  mta::notify_service_manager("READY=1");
  char buffer[64];
  const ssize_t got = ::recv(descriptor, buffer, sizeof buffer, MSG_DONTWAIT);
  ::close(descriptor);
  return got < 0 ? "" : string(buffer, static_cast<std::size_t>(got));
}

}  // namespace

TEST_SUITE("mta/service_manager") {
  TEST_CASE("it is told by a datagram to NOTIFY_SOCKET, a path or an abstract name") {
    const tests::TemporaryFolder folder;
    const string path = folder.path() + "/notify";
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    CHECK(heard(address, sizeof address, path) == "READY=1");
    ::unlink(path.c_str());
    CHECK(heard(address, sizeof address, "") == "");

    const string name = "@waypost-test-" + std::to_string(::getpid());
    std::memset(address.sun_path, 0, sizeof address.sun_path);
    std::memcpy(address.sun_path + 1, name.data() + 1, name.size() - 1);
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    CHECK(heard(address, size, name) == "READY=1");
  }

  TEST_CASE("a name that is too long for a socket is told nothing") {
    const Variable set("NOTIFY_SOCKET", "/" + string(200, 'a'));
    mta::notify_service_manager("READY=1");
  }

  TEST_CASE("the watchdog hears of us twice in its time, if it is ours") {
    const string own = std::to_string(::getpid());
    struct Row {
      std::optional<string> microseconds, pid;
      std::optional<net::Duration> want;
    };
    const std::vector<Row> rows = {
        {"30000000", std::nullopt, 15s},
        {"30000000", own, 15s},
        {"30000000", "1", std::nullopt},
        {"30000000", "x", std::nullopt},
        {std::nullopt, own, std::nullopt},
        {"0", own, std::nullopt},
        {"-1", own, std::nullopt},
        {"30s", own, std::nullopt},
        {"1", own, 1ms},
        {"18446744073709551615", own, 24h},
        {"18446744073709551616", own, std::nullopt},
    };
    for (const Row& row : rows) {
      const Variable time("WATCHDOG_USEC", row.microseconds);
      const Variable pid("WATCHDOG_PID", row.pid);
      CAPTURE(row.microseconds.value_or("(none)"));
      CAPTURE(row.pid.value_or("(none)"));
      CHECK(mta::watchdog_interval() == row.want);
    }
  }

  TEST_CASE("descriptors are taken where they are passed to this process") {
    const string own = std::to_string(::getpid());
    struct Row {
      std::optional<string> pid, count;
      std::vector<int> want;
    };
    const std::vector<Row> rows = {
        {own, "2", {3, 4}}, {own, "0", {}},    {own, std::nullopt, {}}, {own, "two", {}},
        {own, "-1", {}},    {own, "1001", {}}, {"1", "2", {}},          {std::nullopt, "2", {}},
    };
    for (const Row& row : rows) {
      const Variable pid("LISTEN_PID", row.pid);
      const Variable count("LISTEN_FDS", row.count);
      CAPTURE(row.pid.value_or("(none)"));
      CAPTURE(row.count.value_or("(none)"));
      CHECK(mta::passed_descriptors() == row.want);
    }
  }
}
