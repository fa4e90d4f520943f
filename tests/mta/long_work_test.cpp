#include "mta/long_work.h"

#include <chrono>
#include <csignal>
#include <thread>

#include <doctest/doctest.h>
#include <pthread.h>

#include "tests/mta/terminal.h"

namespace waypost::mta {
namespace {

using namespace std::chrono_literals;

/// Until `holds`, or for a long time.
template <class Holds>
void wait_until(Holds holds) {
  for (int i = 0; i < 1000 && !holds(); ++i) std::this_thread::sleep_for(10ms);
}

}  // namespace

TEST_SUITE("mta/long_work") {
  TEST_CASE("how far it is, how fast, and how long the rest takes") {
    struct Case {
      const char* progress;
      std::uint64_t then;
      std::chrono::milliseconds between;
      const char* want;
    };
    for (const Case& each :
         {Case{R"({"unit":"messages","done":0,"total":null})", 0, 2s, "counting messages"},
          Case{R"({"unit":"messages","done":0,"total":48000})", 0, 2s, "0 of 48 000 messages, 0 %"},
          Case{R"({"unit":"messages","done":12000,"total":48000})", 4000, 2s,
               "12 000 of 48 000 messages, 25 %, 4 000/s, 9s left"},
          Case{R"({"unit":"messages","done":12000,"total":48000})", 12000, 2s, "12 000 of 48 000 messages, 25 %"},
          Case{R"({"unit":"messages","done":12000,"total":48000})", 4000, 0s, "12 000 of 48 000 messages, 25 %"},
          Case{R"({"unit":"pages","done":50,"total":40})", 0, 1s, "50 of 50 pages, 100 %, 50/s, 0s left"},
          Case{R"({"unit":"\u001b[2J","done":1,"total":2})", 0, 0s, "1 of 2 \\x1b[2J, 50 %"},
          Case{R"({"unit":"pages","done":1,"total":18446744073709551615})", 0, 60min,
               "1 of 18 446 744 073 709 551 615 pages, 0 %, 0/s, 11574d1h left"},
          Case{"{}", 0, 1s, "counting "}}) {
      CHECK(progress_text(Json::parse(each.progress), each.then, each.between) == each.want);
    }
  }

  TEST_CASE("a line after a second, which is wiped; Ctrl-C stops the work and says what was done") {
    Terminal t;
    t.console.err_is_terminal = true;
    const pthread_t waits = pthread_self();
    t.backend.watched = [&](const queue::Watched& progress) {
      REQUIRE(progress);
      progress->add(1);
      std::this_thread::sleep_for(1600ms);
      pthread_kill(waits, SIGINT);
      wait_until([&] { return progress->is_stopped(); });
    };
    CHECK(t.run({"queue", "hold", "--all", "--yes"}) == 2);
    CHECK(t.out.str() == "held 2 messages, 3 recipients. Undo within a day: waypost undo 77\n");
    CHECK(t.complained("\r\x1b[K1 of 2 messages, 50 %"));
    CHECK(t.err.str().ends_with("\r\x1b[Kwaypost: stopped, before the end of the queue\n"));
    CHECK(t.run({"undo", "77"}) == 2);
    CHECK(t.out.str() == "undone for 2 messages, 3 recipients (change 78)\n");
  }

  TEST_CASE("the same of what the tool does itself") {
    Terminal t;
    t.console.err_is_terminal = true;
    const pthread_t waits = pthread_self();
    const auto count = [&](const queue::Watched& progress) -> Result<int> {
      REQUIRE(progress);
      progress->begin(queue::Progress::Unit::pages, 4);
      progress->add(3);
      std::this_thread::sleep_for(1600ms);
      pthread_kill(waits, SIGINT);
      wait_until([&] { return progress->is_stopped(); });
      return progress->is_stopped() ? Result<int>(fail(Errc::cancelled, "stopped")) : Result<int>(4);
    };
    const Result<int> done = do_long<Result<int>>(count, t.console);
    REQUIRE_FALSE(done);
    CHECK(done.error().code == Errc::cancelled);
    CHECK(t.complained("\r\x1b[K3 of 4 pages, 75 %"));
    CHECK(t.err.str().ends_with("\r\x1b[K"));
    t.console.err_is_terminal = false;
    CHECK(do_long<int>([](const queue::Watched& progress) { return progress ? 1 : 2; }, t.console) == 2);
  }

  TEST_CASE("quick work shows no line; nor does any where nobody sits before it") {
    Terminal t;
    t.console.err_is_terminal = true;
    CHECK(t.run({"queue", "hold", "--all", "--yes"}) == 0);
    CHECK(t.err.str().empty());
    CHECK(t.run({"undo", "76"}) == 1);
    CHECK(t.err.str() == "waypost: there is no change 76\n");
    t.console.err_is_terminal = false;
    t.backend.watched = [](const queue::Watched& progress) { CHECK(!progress); };
    CHECK(t.run({"queue", "hold", "--all", "--yes"}) == 0);
  }
}

}  // namespace waypost::mta
