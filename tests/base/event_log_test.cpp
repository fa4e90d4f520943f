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

  TEST_CASE("the last lines are kept, with what they are of") {
    LogToFile log;
    const auto all = [](const log::Line&) { return true; };
    const std::uint64_t from = log::last(0, all).next;
    log::message_id("01JD8Q2M3XK7", "<1@example.org>");
    log::warning("a \x1b");
    log::failure("b");
    const log::Page page = log::read(from, 10, all);
    REQUIRE(page.lines.size() == 3);
    CHECK(page.lines[0].id == "01JD8Q2M3XK7");
    CHECK(page.lines[0].text.starts_with("waypost/cleanup["));
    CHECK(page.lines[0].text.ends_with("]: 01JD8Q2M3XK7: message-id=<1@example.org>"));
    CHECK(page.lines[0].level == log::Level::info);
    CHECK(page.lines[1].text.ends_with("warning: a \\x1b"));
    CHECK(std::chrono::system_clock::now() - page.lines[1].time < std::chrono::minutes(1));
    const log::Page grave = log::last(2, [](const log::Line& line) { return line.level >= log::Level::warning; });
    REQUIRE(grave.lines.size() == 2);
    CHECK(grave.lines[0].text == page.lines[1].text);
    CHECK(grave.next == page.next);
    CHECK(log::last(0, all).lines.empty());
    for (std::size_t n = 0; n < log::kKept; ++n) log::warning(std::to_string(n));
    CHECK(log::last(log::kKept + 5, all).lines.size() == log::kKept);
    const log::Page rest = log::read(from, log::kKept, all);
    CHECK(rest.missed == 3);
    CHECK(rest.lines.at(0).text.ends_with("warning: 0"));
  }

  TEST_CASE("another level: for a time, for good, over reopen() but not over open()") {
    LogToFile log;
    const auto hour = log::Clock::now() + std::chrono::hours(1);
    CHECK(log::level().level == log::Level::info);
    log::set_level(log::Level::debug, hour);
    CHECK(log::enabled(log::Level::debug));
    CHECK(log::level().usual == log::Level::info);
    CHECK(log::level().until == hour);
    REQUIRE(log::reopen());
    log::flush();
    CHECK(log::level().level == log::Level::debug);
    log::set_level(log::Level::error, std::nullopt);
    CHECK_FALSE(log::enabled(log::Level::warning));
    CHECK_FALSE(log::level().until);
    log::set_level(log::Level::error, log::Clock::now());
    CHECK(log::enabled(log::Level::info));
    CHECK(log::level().level == log::Level::info);
    log::set_level(log::Level::debug, hour);
    const LogToFile again;
    CHECK(log::level().level == log::Level::info);
    CHECK_FALSE(log::level().until);
  }

  TEST_CASE("levels by name") {
    for (const auto level : {log::Level::debug, log::Level::info, log::Level::warning, log::Level::error})
      CHECK(log::parse_level(log::to_text(level)) == level);
    CHECK_FALSE(log::parse_level("Debug"));
  }
}
