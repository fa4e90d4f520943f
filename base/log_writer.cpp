// base/log_writer.cpp: where lines go, and the last of them.
#include "base/log_writer.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/sinks/syslog_sink.h>
#include <unistd.h>

#include "base/escape.h"
#include "base/log_sink.h"
#include "base/thread_name.h"

namespace waypost::log {
namespace {

constexpr std::array<std::string_view, 4> kLevels{"debug", "info", "warning", "error"};
constexpr std::size_t kQueueLines = 8192;
constexpr std::size_t kMaxValue = 1000;
constexpr int kAppend = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
constexpr mode_t kReadableByGroup = 0640;

spdlog::level::level_enum spdlog_level(Level level) {
  switch (level) {
    case Level::debug:
      return spdlog::level::debug;
    case Level::info:
      return spdlog::level::info;
    case Level::warning:
      return spdlog::level::warn;
    case Level::error:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

// What stands before the tag: journald and syslog stamp lines themselves.
enum class Stamp : std::uint8_t { none, priority, time, time_and_host };

/// Instead of the options'.
struct OtherLevel {
  Level level;
  std::optional<Clock::time_point> until;
};

}  // namespace

struct Log {
  Options options;
  Stamp stamp = Stamp::time;
  std::string pid = std::to_string(getpid());
  std::shared_ptr<spdlog::details::thread_pool> pool;
  std::shared_ptr<LogSink> file;  // null: syslog
  std::shared_ptr<spdlog::logger> logger;
  std::atomic<std::size_t> reported_drops = 0;  // events of all threads look at it
  std::optional<OtherLevel> other;              // of `guard`
  std::atomic<bool> is_other = false;           // for a time: who logs looks whether it is over
  std::size_t drops() const { return pool->overrun_counter() + (file ? file->lost() : 0); }
};

namespace {

std::mutex changing;  // whoever replaces the log, or its level, one after the other
std::mutex guard;     // of what they change; events copy the pointer
std::shared_ptr<Log> current;
std::size_t drops_before = 0;  // of logs that were replaced

Result<std::shared_ptr<Log>> make(const Options& options) {
  auto log = std::make_shared<Log>();
  log->options = options;
  try {
    log->pool = std::make_shared<spdlog::details::thread_pool>(kQueueLines, 1, [] { name_thread("log"); });
    spdlog::sink_ptr sink;
    if (options.target == "syslog") {
      sink = std::make_shared<spdlog::sinks::syslog_sink_mt>("", 0, LOG_MAIL, true);
      sink->set_pattern("%v");
      log->stamp = Stamp::none;
    } else {
      const bool to_file = is_file(options.target);
      const int stream = options.target == "/dev/stdout" ? STDOUT_FILENO : STDERR_FILENO;
      const int fd = to_file ? ::open(options.target.c_str(), kAppend, kReadableByGroup) : stream;
      if (fd < 0) return fail(Errc::io, "opening the log " + options.target + ": " + std::strerror(errno));
      const bool to_journal = !to_file && std::getenv("JOURNAL_STREAM") != nullptr;
      log->stamp = to_journal ? Stamp::priority : to_file ? Stamp::time_and_host : Stamp::time;
      auto waiting = [pool = log->pool.get()] { return pool->queue_size(); };  // it runs on a thread of the pool's
      sink = log->file = std::make_shared<LogSink>(fd, to_file, waiting);
    }
    log->logger = std::make_shared<spdlog::async_logger>("waypost", sink, log->pool,
                                                         spdlog::async_overflow_policy::overrun_oldest);
    log->logger->set_level(spdlog_level(options.level));
  } catch (const spdlog::spdlog_ex& error) {
    return fail(Errc::io, "opening the log " + options.target + ": " + error.what());
  }
  return log;
}

/// With the guard.
void use_level(Log& log, std::optional<OtherLevel> other) {
  log.is_other.store(other && other->until, std::memory_order_relaxed);
  log.logger->set_level(spdlog_level(other ? other->level : log.options.level));
  log.other = std::move(other);
}

bool wants(Log& log, Level level) {
  if (log.is_other.load(std::memory_order_relaxed)) {
    std::lock_guard lock(guard);
    if (log.other && log.other->until && *log.other->until <= Clock::now()) use_level(log, std::nullopt);
  }
  return log.logger->should_log(spdlog_level(level));
}

/// Leaked: threads log to the end of the process.
LineRing<Line>& kept() {
  static auto* const lines = new LineRing<Line>(kKept);
  return *lines;
}

std::shared_ptr<Log> get() {
  std::lock_guard lock(guard);
  if (!current) {
    Result<std::shared_ptr<Log>> made = make(Options{});
    if (made) current = *made;
  }
  return current;
}

/// What stands around the milliseconds, for all lines of a second.
struct Second {
  std::chrono::sys_seconds of = std::chrono::sys_seconds::min();
  std::array<char, 20> date;  // without a destructor: threads log to their end
  std::array<char, 6> zone;
};

std::string time_text(Clock::time_point now) {
  thread_local Second second;
  const auto whole = std::chrono::floor<std::chrono::seconds>(now);
  if (whole != second.of) {
    const std::time_t time = Clock::to_time_t(whole);
    tm parts{};
    localtime_r(&time, &parts);
    const long offset = parts.tm_gmtoff / 60;
    fmt::format_to_n(second.date.data(), second.date.size(), "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.",
                     parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
    fmt::format_to_n(second.zone.data(), second.zone.size(), "{}{:02}:{:02}", offset < 0 ? '-' : '+',
                     std::abs(offset) / 60, std::abs(offset) % 60);
    second.of = whole;
  }
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now - whole).count();
  std::string out(second.date.data(), second.date.size());
  for (const auto unit : {100, 10, 1}) out += static_cast<char>('0' + milliseconds / unit % 10);
  return out.append(second.zone.data(), second.zone.size());
}

int priority(Level level) {
  switch (level) {
    case Level::debug:
      return 7;
    case Level::info:
      return 6;
    case Level::warning:
      return 4;
    case Level::error:
      return 3;
  }
  return 6;
}

}  // namespace

bool is_file(std::string_view target) {
  return target != "stderr" && target != "syslog" && target != "/dev/stderr" && target != "/dev/stdout";
}

std::string_view to_text(Level level) {
  return kLevels[static_cast<std::size_t>(level)];
}

std::optional<Level> parse_level(std::string_view text) {
  const auto* const found = std::find(kLevels.begin(), kLevels.end(), text);
  if (found == kLevels.end()) return std::nullopt;
  return static_cast<Level>(found - kLevels.begin());
}

namespace {

/// `before`: the log in the place of which it comes, which waits until what it has is written when it ends.
Result<> open_at(const Options& options, std::optional<OtherLevel> level, std::shared_ptr<Log>& before) {
  Result<std::shared_ptr<Log>> made = make(options);
  if (!made) return fail(made.error());
  {
    std::lock_guard lock(guard);
    use_level(**made, std::move(level));
    before = std::exchange(current, *made);
    if (before) drops_before += before->drops();
  }
  return {};
}

}  // namespace

Result<> open(const Options& options) {
  std::shared_ptr<Log> before;  // ends when others may change the log again
  const std::lock_guard one(changing);
  return open_at(options, std::nullopt, before);
}

Result<> reopen() {
  std::shared_ptr<Log> before;  // as in open()
  const std::lock_guard one(changing);
  const std::shared_ptr<Log> log = get();
  if (!log) return {};
  std::optional<OtherLevel> level;
  {
    std::lock_guard lock(guard);
    level = log->other;
  }
  Result<> opened = open_at(log->options, level, before);
  if (!opened) failure(opened.error().what);
  return opened;
}

void flush() {
  const std::lock_guard one(changing);
  // The pool's destructor waits for what is queued: the next event makes a new log.
  std::shared_ptr<Log> last;
  Options options;
  std::optional<OtherLevel> level;
  {
    std::lock_guard lock(guard);
    last = std::exchange(current, nullptr);
    if (last) options = last->options;
    if (last) level = last->other;
    if (last) drops_before += last->drops();
  }
  last.reset();
  (void)open_at(options, level, last);
}

bool enabled(Level level) {
  const std::shared_ptr<Log> log = get();
  return log && wants(*log, level);
}

LevelInForce level() {
  const std::shared_ptr<Log> log = get();
  if (!log) return {};
  (void)wants(*log, Level::error);  // if its time is over, it is over now
  std::lock_guard lock(guard);
  const Level usual = log->options.level;
  return log->other ? LevelInForce{log->other->level, usual, log->other->until}
                    : LevelInForce{usual, usual, std::nullopt};
}

void set_level(Level level, std::optional<Clock::time_point> until) {
  const std::lock_guard one(changing);
  const std::shared_ptr<Log> log = get();
  if (!log) return;
  std::lock_guard lock(guard);
  use_level(*log, OtherLevel{level, until});
}

Page read(std::uint64_t from, std::size_t most, const std::function<bool(const Line&)>& wanted) {
  return kept().read(from, most, wanted);
}

Page last(std::size_t most, const std::function<bool(const Line&)>& wanted) {
  return kept().last(most, wanted);
}

std::uint64_t dropped() {
  std::lock_guard lock(guard);
  return drops_before + (current ? current->drops() : 0);
}

Event::Event(Level level, std::string_view part, std::string_view name, std::string_view id)
    : log_(get()), level_(level), part_(part), id_(id) {
  on_ = log_ && wants(*log_, level);
  is_json_ = on_ && log_->options.json;
  if (!is_json_) return;
  json_["time"] = time_text(time_);
  json_["level"] = to_text(level);
  json_["part"] = part_;
  json_["event"] = name;
  if (!id_.empty()) json_["id"] = id_;
}

Event& Event::add(std::string_view key, std::string_view value, Form form) {
  if (!on_) return *this;
  const std::string safe = escape(value, kMaxValue);
  if (is_json_) {
    json_[std::string(key)] = safe;
    return *this;
  }
  if (form == Form::parens) {
    text_.append(" (").append(safe).append(")");
    return *this;
  }
  if (!text_.empty()) text_ += separator_;
  separator_ = ", ";
  switch (form) {
    case Form::plain:
      text_.append(key).append("=").append(safe);
      break;
    case Form::angle:
      text_.append(key).append("=<").append(safe).append(">");
      break;
    case Form::alone:
    case Form::parens:
      text_ += safe;
      break;
  }
  return *this;
}

Event& Event::words(std::string_view words, std::string_view separator_after) {
  if (!on_ || is_json_) return *this;
  text_ += words;
  separator_ = separator_after;
  return *this;
}

void Event::write() {
  if (!on_) return;
  const std::size_t drops = log_->drops();
  if (drops > log_->reported_drops.exchange(drops)) {
    put(Level::warning, "",
        line(fmt::format("warning: {} log lines were dropped since the start: the log did not take them fast enough",
                         drops)));
  }
  std::string text = is_json_ ? json_.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) : line(text_);
  put(level_, std::move(id_), std::move(text));
}

void Event::put(Level level, std::string id, std::string text) const {
  const std::string all = stamp(level) + text;
  log_->logger->log(spdlog_level(level), spdlog::string_view_t(all));
  kept().add({0, time_, level, std::move(id), std::move(text)});
}

std::string Event::stamp(Level level) const {
  if (is_json_) return "";
  switch (log_->stamp) {
    case Stamp::none:
      break;
    case Stamp::priority:
      return fmt::format("<{}>", priority(level));
    case Stamp::time:
      return time_text(time_) + " ";
    case Stamp::time_and_host:
      return time_text(time_) + " " + log_->options.hostname + " ";
  }
  return "";
}

std::string Event::line(std::string_view text) const {
  std::string out;
  out.reserve(log_->options.name.size() + part_.size() + log_->pid.size() + id_.size() + text.size() + 7);
  out.append(log_->options.name).append("/").append(part_).append("[").append(log_->pid).append("]: ");
  if (!id_.empty()) out.append(id_).append(": ");
  return out.append(text);
}

}  // namespace waypost::log
