#include "mta/bench.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/escape.h"
#include "mta/alerts.h"
#include "net/loop.h"
#include "net/scope.h"
#include "queue/disk_space.h"
#include "queue/sqlite_store.h"

namespace waypost::mta {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr const char* kStopped = "stopped; nothing is left of it";
// A session, its parser, policy and log take about so much of the processor beside what the store takes.
constexpr double kWholeRelay = 3;
// Below it a processor waits for something else.
constexpr double kBusy = 0.8;

/// A folder of its own, which goes again.
class Scratch {
 public:
  static Result<std::unique_ptr<Scratch>> make(const std::string& path) {
    if (::mkdir(path.c_str(), 0700) == 0) return std::unique_ptr<Scratch>(new Scratch(path));
    const std::string what = escape(path) + ": " + std::strerror(errno);
    switch (errno) {
      case EEXIST:
        return fail(
            Errc::exists,
            escape(path) + " is there: another bench runs, or one that was killed left it, and it may be removed");
      case EACCES:
      case EPERM:
      case EROFS:
        return fail(Errc::denied, what);
      case ENOENT:
      case ENOTDIR:
        return fail(Errc::not_found, what);
      default:
        return fail(errno == ENOSPC ? Errc::full : Errc::io, what);
    }
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    std::error_code failed;
    std::filesystem::remove_all(path_, failed);
  }
  const std::string& path() const { return path_; }

 private:
  explicit Scratch(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

/// Of times in no order; 0 of none.
microseconds percentile(std::vector<microseconds>& times, double part) {
  if (times.empty()) return microseconds(0);
  const auto at = static_cast<std::ptrdiff_t>(part * static_cast<double>(times.size() - 1));
  std::nth_element(times.begin(), times.begin() + at, times.end());
  return times[static_cast<std::size_t>(at)];
}

double seconds(steady_clock::duration time) {
  return std::chrono::duration<double>(time).count();
}

microseconds to_microseconds(steady_clock::duration time) {
  return std::chrono::duration_cast<microseconds>(time);
}

std::chrono::nanoseconds processor_time() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto of = [](const timeval& time) { return std::chrono::seconds(time.tv_sec) + microseconds(time.tv_usec); };
  return of(used.ru_utime) + of(used.ru_stime);
}

unsigned processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<unsigned>(std::max(CPU_COUNT(&set), 1));
}

Result<DiskSpeed> bench_disk(const std::string& folder, milliseconds time, const std::atomic<bool>& stop) {
  const std::string path = folder + "/appends", octets(DiskSpeed::kAppend, 'x');
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return fail(Errc::io, escape(path) + ": " + std::strerror(errno));
  std::vector<microseconds> times;
  const steady_clock::time_point began = steady_clock::now();
  steady_clock::time_point last = began;
  int failed = 0;
  while (last < began + time && failed == 0 && !stop) {
    errno = EIO;  // of a write that is short
    const bool good =
        ::write(fd, octets.data(), octets.size()) == static_cast<ssize_t>(octets.size()) && ::fdatasync(fd) == 0;
    if (!good) failed = errno;
    const steady_clock::time_point now = steady_clock::now();
    times.push_back(to_microseconds(now - last));
    last = now;
  }
  ::close(fd);
  ::unlink(path.c_str());
  if (failed != 0) return fail(failed == ENOSPC ? Errc::full : Errc::io, escape(path) + ": " + std::strerror(failed));
  DiskSpeed speed;
  speed.per_second = static_cast<double>(times.size()) / seconds(last - began);
  speed.p50 = percentile(times, 0.5);
  speed.p99 = percentile(times, 0.99);
  return speed;
}

/// What senders of one run share; all of it on one loop.
struct Run {
  queue::Store& store;
  net::Runtime& runtime;
  const std::atomic<bool>& stop;
  steady_clock::time_point until;
  std::size_t most;  ///< messages, for the room they take
  bool delivers = false;
  std::vector<microseconds> times;
  std::optional<Error> failure;

  bool goes_on() const { return !failure && !stop && times.size() < most && steady_clock::now() < until; }
};

queue::NewMessage some_message(net::WallTime now) {
  queue::NewMessage message;
  message.envelope.reverse_path.mailbox = {"sender", "bench.invalid"};
  smtp::EnvelopeRecipient recipient;
  recipient.forward_path.mailbox = {"recipient", "bench.invalid"};
  message.envelope.recipients.push_back(std::move(recipient));
  message.trace = "Received: from bench.invalid by bench.invalid; now\r\n";
  message.origin = {"192.0.2.1", "bench.invalid", "ESMTP", "bench", ""};
  message.arrival = now;
  message.expires = now + std::chrono::hours(120);
  return message;
}

queue::Settlement delivered(queue::Id id) {
  queue::Settlement settlement;
  settlement.message = id;
  queue::RecipientOutcome outcome;
  outcome.event = queue::Event::attempt_relayed;
  outcome.status = "2.0.0";
  outcome.reply = "250 2.0.0 ok";
  outcome.host = "bench.invalid[192.0.2.1]:25";
  settlement.recipients.push_back(std::move(outcome));
  return settlement;
}

net::Task<> send(Run& run) {
  while (run.goes_on()) {
    const steady_clock::time_point began = steady_clock::now();
    queue::Draft draft = run.store.draft();
    const queue::Id id = draft.id();
    draft.buffer().assign(StoreSpeed::kBody, 'x');
    queue::NewMessage message = some_message(run.runtime.wall_now());
    queue::BodyNotes notes;
    std::optional<queue::Notification> none;
    const Result<> committed = co_await run.store.commit(std::move(message), std::move(draft), notes, std::move(none));
    if (!committed) {
      run.failure = committed.error();
      co_return;
    }
    if (run.delivers) {
      queue::Settlement settlement = delivered(id);
      const Result<bool> settled = co_await run.store.settle(std::move(settlement));
      if (!settled) {
        run.failure = settled.error();
        co_return;
      }
    }
    run.times.push_back(to_microseconds(steady_clock::now() - began));
  }
}

net::Task<> send_all(Run& run, net::LoopRuntime& loop) {
  net::Scope senders(loop, [&run](std::string_view what) { run.failure = Error(Errc::internal, std::string(what)); });
  for (std::size_t i = 0; i < StoreSpeed::kAtOnce; ++i) senders.spawn(send(run));
  co_await senders.drained();
  loop.stop();
}

/// What is free beside what new mail would leave.
std::uint64_t room_for_bench(const Disk& disk) {
  return disk.free - std::min(disk.free, queue::kept_free(disk.size));
}

/// With a store of its own, which is empty.
Result<StoreSpeed> bench_store(const std::string& folder, bool delivers, milliseconds time,
                               const std::atomic<bool>& stop) {
  Result<std::unique_ptr<queue::Files>> files = queue::open_files(folder);
  if (!files) return fail(files.error());
  Result<std::unique_ptr<queue::History>> history = queue::open_history(folder + "/history.db", std::chrono::hours(24));
  if (!history) return fail(history.error());
  queue::StoreOptions options;
  options.data_dir = folder;
  Result<std::unique_ptr<queue::SqliteQueue>> queue = queue::SqliteQueue::open(options, **files, **history);
  if (!queue) return fail(queue.error());
  const std::unique_ptr<net::LoopRuntime> loop = net::LoopRuntime::create();
  const std::unique_ptr<queue::Store> store = (*queue)->store(*loop);
  // In queue.db and its WAL a message takes four times its body at most.
  const Disk disk = disk_of(folder);
  const std::size_t most = disk.size == 0 ? SIZE_MAX : room_for_bench(disk) / 2 / (4 * StoreSpeed::kBody);
  const std::chrono::nanoseconds used = processor_time();
  const steady_clock::time_point began = steady_clock::now();
  Run run{*store, *loop, stop, began + time, most, delivers, {}, {}};
  net::Scope scope(*loop, [&run](std::string_view what) { run.failure = Error(Errc::internal, std::string(what)); });
  loop->post([&] { scope.spawn(send_all(run, *loop)); });
  loop->run();
  const double took = seconds(steady_clock::now() - began);
  if (run.failure) return fail(*run.failure);
  if (stop) return fail(Errc::cancelled, kStopped);
  if (run.times.empty()) return fail(Errc::timed_out, "not one message was stored in time: give it more, by --time");
  const queue::SqliteQueue::Stats stats = (*queue)->stats();
  const auto count = static_cast<double>(run.times.size());
  const auto processor = static_cast<double>((processor_time() - used).count());
  StoreSpeed speed;
  speed.per_second = count / took;
  speed.batch = static_cast<double>(stats.operations) / static_cast<double>(std::max<std::uint64_t>(stats.commits, 1));
  speed.p50 = percentile(run.times, 0.5);
  speed.p99 = percentile(run.times, 0.99);
  speed.processor_each = std::chrono::nanoseconds(static_cast<std::int64_t>(processor / count));
  speed.processors = processor / 1e9 / took;
  return speed;
}

}  // namespace

Result<BenchReport> bench(const std::string& data_dir, milliseconds time, const std::atomic<bool>& stop) {
  const Disk disk_there = disk_of(data_dir);
  if (disk_there.size > 0 && room_for_bench(disk_there) < kBenchRoom)
    return fail(Errc::full, escape(data_dir) + " has less than 1 GB free beside what is kept for mail");
  const Result<std::unique_ptr<Scratch>> scratch = Scratch::make(data_dir + "/bench");
  if (!scratch) return fail(scratch.error());
  const std::string& folder = (*scratch)->path();
  BenchReport report;
  report.processors = processors();
  const Result<DiskSpeed> disk = bench_disk(folder, time, stop);
  if (!disk) return fail(disk.error());
  report.disk = *disk;
  for (const auto& [name, delivers, into] :
       {std::tuple{"/accept", false, &report.accept}, std::tuple{"/pass", true, &report.pass}}) {
    if (stop) return fail(Errc::cancelled, kStopped);
    const Result<StoreSpeed> speed = bench_store(folder + name, delivers, time, stop);
    if (!speed) return fail(speed.error());
    *into = *speed;
  }
  if (stop) return fail(Errc::cancelled, kStopped);
  return report;
}

BenchVerdict verdict(const BenchReport& report) {
  const double each = std::max(std::chrono::duration<double>(report.pass.processor_each).count(), 1e-9);
  const double by_processor = report.processors / (each * kWholeRelay);
  BenchVerdict out;
  // The storage thread is one: where it is busy all the time the processor is what it waits for.
  const bool is_busy = report.pass.processors >= kBusy * std::min(report.processors, 2U);
  if (by_processor < report.pass.per_second || is_busy) out.limit = BenchVerdict::Limit::processor;
  const double rate = std::max(std::min(by_processor, report.pass.per_second), 0.0);
  const double digits = rate < 10 ? 1 : std::pow(10, std::floor(std::log10(rate)) - 1);
  out.per_second = static_cast<std::uint64_t>(std::floor(rate / digits) * digits);
  return out;
}

}  // namespace waypost::mta
