#include "mta/long_work.h"

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <ctime>
#include <mutex>
#include <random>
#include <sstream>
#include <thread>
#include <utility>

#include "mta/control_json.h"
#include "mta/output.h"

namespace waypost::mta {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kFirst = 1s, kBetween = 250ms;
constexpr milliseconds kHeard = 2s;  // whoever has not heard by then has other work
constexpr const char* kWipe = "\r\x1b[K";

std::string some_name() {
  std::random_device chance;
  return std::to_string(chance()) + std::to_string(chance());
}

/// While it is there Ctrl-C waits to be asked for. Made before the threads that shall not be interrupted either.
class Interrupts {
 public:
  Interrupts() {
    sigemptyset(&wanted_);
    sigaddset(&wanted_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &wanted_, &before_);
  }
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;
  ~Interrupts() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  bool came() const {
    const timespec at_once{};
    return sigtimedwait(&wanted_, nullptr, &at_once) == SIGINT;
  }

 private:
  sigset_t wanted_{}, before_{};
};

/// What is done on a thread of its own, and waited for at the end.
class Work {
 public:
  explicit Work(std::function<void()> work)
      : thread_([this, work = std::move(work)] {
          work();
          const std::lock_guard lock(mutex_);
          over_ = true;
          changed_.notify_one();
        }) {}
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  ~Work() { thread_.join(); }

  /// Whether it is over, after `time` at most.
  bool wait(milliseconds time) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, time, [this] { return over_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;  // begins when all of the above is there
};

/// How far the work is, once it was told to stop if `stop`; nullopt: nobody knows it, it may be over.
using Look = std::function<std::optional<Json>(bool stop)>;

std::optional<Json> ask_how_far(const std::string& name, bool stop, Console& console) {
  ControlRequest request;
  request.path = stop ? "/v1/progress/stop" : "/v1/progress";
  request.live = true;
  request.within = kHeard;
  if (stop) {
    Json order;
    order["of"] = name;
    request.method = "POST";
    request.body = to_line(order);
  } else {
    request.query["of"] = name;
  }
  std::ostringstream unheard;
  return console.aside(unheard).fetch(request);
}

/// False: who waits has had enough of it, and is let go by SIGINT.
bool wait_for(Work& work, const Look& look, const Interrupts& interrupts, Console& console) {
  steady_clock::time_point since = steady_clock::now();
  bool stopping = false, drawn = false;
  std::string unit;
  std::uint64_t then = 0;
  for (milliseconds waited = 0ms; !work.wait(kBetween); waited += kBetween) {
    if (interrupts.came()) {
      // Of a daemon that does not know the work it may just be over.
      const bool heard = !stopping && look(true).has_value();
      if (!heard && !work.wait(kFirst)) {
        console.err << kWipe << std::flush;
        std::raise(SIGINT);
        return false;  // and is let in
      }
      stopping = true;
    }
    if (waited < kFirst) continue;
    const std::optional<Json> seen = look(false);
    if (!seen) continue;
    if (text_of(*seen, "unit") != unit || number_of(*seen, "total") == 0) {
      unit = text_of(*seen, "unit");
      then = number_of(*seen, "done");
      since = steady_clock::now();
    }
    const auto between = std::chrono::duration_cast<milliseconds>(steady_clock::now() - since);
    console.err << kWipe << progress_text(*seen, then, between) << (stopping ? ", stopping" : "") << std::flush;
    drawn = true;
  }
  if (drawn) console.err << kWipe << std::flush;
  return true;
}

/// Whether Ctrl-C came when it was over: what it did is there, and wanted.
bool watch(std::function<void()> what, const Look& look, Console& console) {
  std::optional<Work> work;
  const Interrupts interrupts;
  work.emplace(std::move(what));
  return wait_for(*work, look, interrupts, console) && interrupts.came();
}

}  // namespace

std::string progress_text(const Json& progress, std::uint64_t then, milliseconds between) {
  const std::uint64_t done = number_of(progress, "done"), total = number_of(progress, "total");
  const std::string unit = shown(progress, "unit");
  if (total == 0) return "counting " + unit;
  // The queue goes on meanwhile, and what was counted is no more than about right.
  const std::uint64_t most = std::max(done, total);
  std::string out =
      grouped(done) + " of " + grouped(most) + " " + unit + ", " +
      std::to_string(static_cast<std::uint64_t>(100.0 * static_cast<double>(done) / static_cast<double>(most))) + " %";
  if (done <= then || between <= 0ms) return out;
  const double rate = static_cast<double>(done - then) * 1000 / static_cast<double>(between.count());
  const double left = std::min(static_cast<double>(most - done) / rate, 1e9);
  out += ", " + grouped(static_cast<std::uint64_t>(rate)) + "/s";
  return out + ", " + age_text(std::chrono::seconds(static_cast<std::int64_t>(left))) + " left";
}

std::optional<Json> fetch_long(ControlRequest request, Console& console) {
  if (!console.err_is_terminal) return console.fetch(request);
  const std::string name = some_name();
  request.query["progress"] = name;
  (void)console.data_dir();  // the way to the relay is found before two threads ask for it
  Result<ControlAnswer> answer;
  (void)watch([&] { answer = console.ask(request); }, [&](bool stop) { return ask_how_far(name, stop, console); },
              console);
  return console.read(std::move(answer));
}

void do_long(const std::function<void(const queue::Watched&)>& work, Console& console) {
  if (!console.err_is_terminal) return work(nullptr);
  const auto progress = std::make_shared<queue::Progress>();
  const auto look = [&progress](bool stop) {
    if (stop) progress->stop();
    return std::optional(progress_json(progress->seen()));
  };
  if (watch([&] { work(progress); }, look, console)) progress->stop();
}

bool note_stopped(const Json& answer, Console& console) {
  if (!answer.contains("stopped")) return false;
  console.err << "waypost: stopped, before the end of the queue\n";
  return true;
}

}  // namespace waypost::mta
