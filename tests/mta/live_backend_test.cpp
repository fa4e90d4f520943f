#include "mta/live_backend.h"

#include <atomic>
#include <functional>
#include <future>
#include <thread>

#include <doctest/doctest.h>

#include "tests/support/fake_store.h"
#include "tests/support/virtual_runtime.h"

using namespace waypost;
using namespace waypost::mta;

namespace {

class NoHistory : public queue::History {
 public:
  void add(queue::HistoryEvent) override {}
  Result<std::vector<queue::HistoryEvent>> find(const queue::HistoryQuery&) override {
    return std::vector<queue::HistoryEvent>(3);
  }
  std::uint64_t dropped() const override { return 0; }
};

struct Live {
  tests::VirtualRuntime runtime;
  tests::FakeStore store{runtime};
  NoHistory history;
  net::Scope scope{runtime, [](std::string_view) {}};
  std::function<net::Task<Result<ReloadReport>>()> reload = [] { return good(); };
  Rates rates;
  CertificateHolder certificates;
  LiveBackend backend{
      LiveParts{runtime, scope, store, store.files, history, rates, certificates,
                [] {
                  DaemonFacts facts;
                  facts.hostname = "relay.example";
                  return facts;
                },
                [] { return ConfigEpochs(); }, [this] { return reload(); },
                [](queue::Id, std::string, bool, std::string) { return settled(); },
                [](delivery::HandOrder) { return by_hand(); }, [](ExplainQuery) { return explained(); }, nullptr,
                [](std::stop_token stop, queue::Watched) { return check(std::move(stop)); },
                [](std::string folder, std::stop_token, queue::Watched) { return back_up(std::move(folder)); },
                [] { return measured(); }, nullptr, nullptr}};

  static net::Task<Result<delivery::ByHand>> by_hand() { co_return delivery::ByHand{}; }
  static net::Task<Result<queue::CheckReport>> check(std::stop_token stop) {
    if (stop.stop_requested()) co_return fail(Errc::cancelled, "stopped");
    queue::CheckReport report;
    report.messages = 7;
    co_return report;
  }
  static net::Task<Result<Measures>> measured() {
    Measures measures;
    measures.failing.destinations = 3;
    co_return measures;
  }
  static net::Task<Result<Explanation>> explained() { co_return Explanation(); }
  static net::Task<Result<std::size_t>> settled() { co_return std::size_t{2}; }
  static net::Task<Result<queue::BackupReport>> back_up(std::string folder) {
    queue::BackupReport report;
    report.folder = std::move(folder);
    co_return report;
  }

  static net::Task<Result<ReloadReport>> good() {
    ReloadReport report;
    report.file = "waypost.toml";
    co_return report;
  }
  static net::Task<Result<ReloadReport>> never(tests::VirtualRuntime& runtime, std::stop_token stop) {
    co_await runtime.sleep_for(std::chrono::hours(1), stop);
    co_return fail(Errc::cancelled, "stopped");
  }
  static net::Task<Result<ReloadReport>> throws() {
    throw std::runtime_error("a bug");
    co_return ReloadReport();
  }

  /// Calls from a thread, as the control socket does, while this one is the loop.
  template <class T>
  T call(std::function<T()> ask) {
    std::future<T> result = std::async(std::launch::async, std::move(ask));
    while (result.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) runtime.run_until_idle();
    return result.get();
  }
};

}  // namespace

TEST_SUITE("mta/live_backend") {
  TEST_CASE("a call from another thread runs on the loop, and returns what the store says") {
    Live live;
    const auto counts = live.call<Result<queue::Counts>>([&live] { return live.backend.count(queue::Filter()); });
    REQUIRE(!counts);
    CHECK(counts.error().code == Errc::unsupported);  // as the fake store answers
    const auto facts = live.call<Result<DaemonFacts>>([&live] { return live.backend.facts(); });
    REQUIRE(facts);
    CHECK(facts->hostname == "relay.example");
    const auto report = live.call<Result<ReloadReport>>([&live] { return live.backend.reload(); });
    REQUIRE(report);
    CHECK(report->file == "waypost.toml");
    const auto checked = live.call<Result<queue::CheckReport>>([&live] { return live.backend.check_store(nullptr); });
    REQUIRE(checked);
    CHECK(checked->messages == 7);
    const auto backup =
        live.call<Result<queue::BackupReport>>([&live] { return live.backend.back_up("/srv/b", nullptr); });
    REQUIRE(backup);
    CHECK(backup->folder == "/srv/b");
    CHECK(live.backend.find(queue::HistoryQuery())->size() == 3);  // in the caller's thread
  }

  TEST_CASE("an exception is an error of that call alone") {
    Live live;
    live.reload = [] { return Live::throws(); };
    const auto report = live.call<Result<ReloadReport>>([&live] { return live.backend.reload(); });
    REQUIRE(!report);
    CHECK(report.error().code == Errc::internal);
  }

  TEST_CASE("a stop wakes the callers, though the loop does not run any more") {
    Live live;
    live.reload = [&live] { return Live::never(live.runtime, live.scope.stop_token()); };
    std::atomic<bool> began = false;
    std::future<Result<ReloadReport>> waiting = std::async(std::launch::async, [&] {
      began = true;
      return live.backend.reload();
    });
    while (live.scope.running() == 0) live.runtime.run_until_idle();
    live.backend.stop();
    const Result<ReloadReport> report = waiting.get();
    REQUIRE(!report);
    CHECK(report.error().code == Errc::cancelled);
    CHECK(live.backend.count(queue::Filter()).error().code == Errc::cancelled);
    live.scope.stop();
    live.runtime.run_until_idle();
    CHECK(live.scope.running() == 0);
  }
}
