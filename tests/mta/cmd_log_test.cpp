#include "mta/cmd_log.h"

#include <string>

#include <doctest/doctest.h>

#include "base/event_log.h"
#include "tests/mta/terminal.h"

namespace waypost::mta {
namespace {

/// A log of its own, and nobody's in the end.
struct Logged : Terminal {
  Logged() { open(); }
  ~Logged() { open(); }
  static void open() {
    log::Options options;
    options.target = "/dev/null";
    REQUIRE(log::open(options));
  }
};

}  // namespace

TEST_SUITE("cmd_log") {
  TEST_CASE("level: shown, set for a time, and for good") {
    Logged t;
    CHECK(t.run({"log", "level"}) == 0);
    CHECK(t.out.str() == "info\n");
    CHECK(t.run({"log", "level", "debug", "--for", "10m"}) == 0);
    CHECK(t.said("debug until "));
    CHECK(t.said(", then info\n"));
    REQUIRE(t.backend.records.size() == 1);
    CHECK(t.backend.records[0].what == "log level");
    CHECK(t.backend.records[0].meant == "debug");
    CHECK(t.backend.records[0].reason == "for 600 s");
    CHECK(log::enabled(log::Level::debug));
    CHECK(t.run({"log", "level", "--json"}) == 0);
    const Json json = Json::parse(t.out.str());
    CHECK(json["level"] == "debug");
    CHECK(json["usual"] == "info");
    CHECK(json["until"].is_string());
    CHECK(t.run({"log", "level", "error"}) == 0);
    CHECK(t.out.str() == "error until a restart or reload, then info\n");
    for (const char* bad : {"loud", "", "Debug"}) CHECK(t.run({"log", "level", bad}) == 64);
    for (const char* bad : {"0s", "tomorrow", "400d"}) CHECK(t.run({"log", "level", "debug", "--for", bad}) == 64);
    CHECK(t.run({"log", "level", "--for", "5m"}) == 64);
  }

  TEST_CASE("tail: the last lines, of a message, of a level") {
    Logged t;
    log::message_id("01JD8Q2M3XK7", "<1@example.org>");
    log::message_id("01JD8Q2M3XK8", "<2@example.org>");
    log::warning("look \x1b[31m");
    CHECK(t.run({"log", "tail", "-n", "2"}) == 0);
    CHECK(t.said("]: 01JD8Q2M3XK8: message-id=<2@example.org>\n"));
    CHECK(t.said("]: warning: look \\x1b[31m\n"));
    CHECK(!t.said("<1@example.org>"));
    CHECK(t.run({"log", "tail", "--id", "01JD8Q2M3XK7"}) == 0);
    const std::string lines = t.out.str();
    CHECK(std::count(lines.begin(), lines.end(), '\n') == 1);
    CHECK(t.said("<1@example.org>"));
    CHECK(t.run({"log", "tail", "-n", "1", "--level", "warning", "--json"}) == 0);
    const Json line = Json::parse(t.out.str());
    CHECK(line["level"] == "warning");
    CHECK(line["id"] == "");
    CHECK(line["text"].get<std::string>().find("look") != std::string::npos);
    CHECK(t.run({"log", "tail", "--level", "loud"}) == 64);
  }

  TEST_CASE("tail -f: what comes, and what came too fast") {
    Logged t;
    int asked = 0;
    const auto happen = [&] {
      if (asked++ > 0) {
        t.away = Error{Errc::refused, "over"};
        return;
      }
      for (std::size_t n = 0; n < log::kKept + 3; ++n) log::warning("number " + std::to_string(n));
    };
    LogTailOptions options;
    options.lines = 0;
    options.follow = true;
    CHECK(log_tail(options, t.console, happen) == 69);
    CHECK(!t.said("number 2\n"));
    CHECK(t.said("number 3\n"));
    CHECK(t.said("number 2002\n"));
    CHECK(t.complained("3 lines, wanted or not, went by unseen"));
  }
}

}  // namespace waypost::mta
