#include "delivery/connect_either.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "delivery/disposition.h"
#include "net/scope.h"

namespace waypost::delivery {
namespace {

struct Runner {
  explicit Runner(Way where) : way(std::move(where)) {}
  Way way;
  std::stop_source stop;
};

/// What both of them see. It outlives them.
struct Race {
  Race(net::Runtime& on, Way first, Way second, net::TimePoint until)
      : runtime(on), deadline(until), runners{Runner(std::move(first)), Runner(std::move(second))} {}
  net::Runtime& runtime;
  net::TimePoint deadline;
  std::array<Runner, 2> runners;
  std::stop_source head_start;  ///< stopped: the second waits no longer
  bool second_is_due = true;
  bool won = false;
  Either result{fail(Errc::cancelled, "connect: stopped")};

  /// Neither goes on.
  void call_off() {
    second_is_due = false;
    head_start.request_stop();
    for (Runner& each : runners) each.stop.request_stop();
  }
};

net::Task<> run(Race& race, std::size_t at) {
  const Way way = race.runners[at].way;
  Result<std::unique_ptr<net::Stream>> stream =
      co_await race.runtime.connect(way.to, way.from, race.deadline, race.runners[at].stop.get_token());
  WayEnd& end = race.result.ends[at];
  if (stream && !race.won) {
    race.won = true;
    end = WayEnd::connected;
    race.result.used = at;
    race.result.stream = std::move(stream);
    race.call_off();
    co_return;
  }
  end = stream || is_ours(stream.error().code) ? WayEnd::called_off : WayEnd::failed;
  if (race.won) {
    if (at == 0 && end == WayEnd::called_off) end = WayEnd::overtaken;
    co_return;
  }
  // What there is too little of here the second would not get either; but its source address is another one.
  if (stream.error().code == Errc::busy || stream.error().code == Errc::cancelled) race.second_is_due = false;
  race.result.used = at;
  race.result.stream = fail(std::move(stream.error()));
  race.head_start.request_stop();
}

net::Task<> run_second(Race& race, net::TimePoint begin) {
  co_await race.runtime.sleep_until(begin, race.head_start.get_token());
  if (!race.second_is_due) co_return;
  co_await run(race, 1);
}

}  // namespace

net::Task<Either> connect_either(net::Runtime& runtime, Way first, Way second, net::TimePoint deadline,
                                 std::stop_token stop) {
  Race race(runtime, std::move(first), std::move(second), deadline);
  std::string thrown;
  auto on_exception = [&race, &thrown](std::string_view what) {
    thrown = what;
    race.call_off();
  };
  net::Scope scope(runtime, on_exception);
  {
    auto at_stop = [&race] { race.call_off(); };
    std::stop_callback on_stop(stop, at_stop);
    const net::Duration head_start = std::min(kHeadStart, (deadline - runtime.now()) / 2);
    scope.spawn(run(race, 0));
    scope.spawn(run_second(race, runtime.now() + head_start));
    co_await scope.drained();
  }
  if (!thrown.empty()) throw std::runtime_error(thrown);
  co_return std::move(race.result);
}

}  // namespace waypost::delivery
