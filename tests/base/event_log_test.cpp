// tests/base/event_log_test.cpp
#include "base/event_log.h"

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <sys/resource.h>

#include "tests/support/temporary_folder.h"

using namespace waypost;

namespace {

/// The log goes to a file of this test's, and nowhere again in the end.
class LogToFile {
 public:
  LogToFile() { open(path()); }
  ~LogToFile() { open("/dev/null"); }
  std::string path() const { return folder_.path() + "/log"; }

  std::vector<std::string> lines() const {
    log::flush();
    std::vector<std::string> out;
    std::istringstream all(text());
    for (std::string line; std::getline(all, line);) out.push_back(line);
    return out;
  }

  /// What is there by now.
  std::string text() const {
    std::ifstream file(path());
    return {std::istreambuf_iterator<char>(file), {}};
  }

 private:
  static void open(const std::string& target) {
    log::Options options;
    options.target = target;
    options.hostname = "relay";
    REQUIRE(log::open(options));
  }

  tests::TemporaryFolder folder_;
};

}  // namespace

TEST_SUITE("base/event_log") {
  TEST_CASE("what is opened by its name") {
    for (const char* file : {"/var/log/waypost/log", "/dev/null", "/dev/stdout.log"}) CHECK(log::is_file(file));
    for (const char* other : {"stderr", "syslog", "/dev/stderr", "/dev/stdout"}) CHECK_FALSE(log::is_file(other));
  }

  TEST_CASE("what several threads log arrives whole, each one's lines in their order") {
    LogToFile log;
    std::vector<std::thread> threads;
    constexpr int kThreads = 4;
    constexpr int kLines = 500;
    for (int thread = 0; thread < kThreads; ++thread)
      threads.emplace_back([thread] {
        for (int n = 0; n < kLines; ++n) log::warning(std::to_string(thread) + " " + std::to_string(n));
      });
    for (std::thread& thread : threads) thread.join();

    std::vector<int> next(kThreads, 0);
    const std::vector<std::string> lines = log.lines();
    CHECK(lines.size() == std::size_t{kThreads * kLines});
    for (const std::string& line : lines) {
      const std::size_t at = line.find("warning: ");
      REQUIRE(at != std::string::npos);
      const int thread = line[at + 9] - '0';
      CHECK(line.substr(at + 11) == std::to_string(next.at(static_cast<std::size_t>(thread))++));
    }
  }

  TEST_CASE("lines that the file does not take are counted, and the next one begins anew") {
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    LogToFile log;
    rlimit small = before;
    small.rlim_cur = 100;
    setrlimit(RLIMIT_FSIZE, &small);
    log::warning(std::string(90, 'x'));
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    const auto waits_for = [&](auto condition) {
      while (!condition() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
      return condition();
    };
    CHECK(waits_for([&] { return std::filesystem::file_size(log.path()) == small.rlim_cur; }));
    setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, handler);

    CHECK(waits_for([&] {
      log::warning("room again");
      return log.text().find("warning: 1 log lines were dropped") != std::string::npos;
    }));
    const std::vector<std::string> lines = log.lines();
    CHECK(lines.at(0).size() == small.rlim_cur);
    for (std::size_t n = 1; n < lines.size(); ++n) CHECK(lines[n].find("relay waypost/") != std::string::npos);
  }
}
