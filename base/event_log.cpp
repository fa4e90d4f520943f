#include "base/event_log.h"

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
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/sinks/syslog_sink.h>
#include <unistd.h>

#include "base/escape.h"
#include "base/log_sink.h"
#include "base/metrics.h"
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

struct Log {
  Options options;
  Stamp stamp = Stamp::time;
  pid_t pid = getpid();
  std::shared_ptr<spdlog::details::thread_pool> pool;
  std::shared_ptr<LogSink> file;  // null: syslog
  std::shared_ptr<spdlog::logger> logger;
  std::atomic<std::size_t> reported_drops = 0;  // events of all threads look at it
  std::optional<OtherLevel> other;              // of `guard`
  std::atomic<bool> is_other = false;           // for a time: who logs looks whether it is over
  std::size_t drops() const { return pool->overrun_counter() + (file ? file->lost() : 0); }
};

std::mutex guard;  // open() and reopen() alone change what it guards; events copy the pointer
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

std::string time_text(Clock::time_point now) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(now - seconds).count();
  const std::time_t whole = Clock::to_time_t(seconds);
  tm parts{};
  localtime_r(&whole, &parts);
  const long offset = parts.tm_gmtoff / 60;
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}{}{:02}:{:02}", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, milliseconds, offset < 0 ? '-' : '+',
                     std::abs(offset) / 60, std::abs(offset) % 60);
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

// How a value stands in a text line: key=value, key=<value>, (value) behind the one before, or alone.
enum class Form : std::uint8_t { plain, angle, parens, alone };

class Event {
 public:
  Event(Level level, std::string_view part, std::string_view name, std::string_view id = {})
      : log_(get()), level_(level), part_(part), name_(name), id_(id) {
    on_ = log_ && wants(*log_, level);
    if (on_ && log_->options.json) {
      json_["time"] = time_text(time_);
      json_["level"] = to_text(level);
      json_["part"] = part_;
      json_["event"] = name_;
      if (!id_.empty()) json_["id"] = id_;
    }
  }

  Event& add(std::string_view key, std::string_view value, Form form = Form::plain) {
    if (!on_) return *this;
    const std::string safe = escape(value, kMaxValue);
    if (log_->options.json) {
      json_[std::string(key)] = safe;
      return *this;
    }
    if (form == Form::parens) {
      text_ += fmt::format(" ({})", safe);
      return *this;
    }
    if (!text_.empty()) text_ += separator_;
    separator_ = ", ";
    switch (form) {
      case Form::plain:
        text_ += fmt::format("{}={}", key, safe);
        break;
      case Form::angle:
        text_ += fmt::format("{}=<{}>", key, safe);
        break;
      case Form::alone:
      case Form::parens:
        text_ += safe;
        break;
    }
    return *this;
  }
  template <class Number>
  Event& number(std::string_view key, Number value) {
    if (!on_) return *this;
    if (log_->options.json) {
      json_[std::string(key)] = value;
      return *this;
    }
    return add(key, fmt::format("{}", value));
  }
  template <class Number>
  Event& number_alone(std::string_view key, Number value) {
    return on_ && log_->options.json ? number(key, value) : add(key, fmt::format("{}", value), Form::alone);
  }
  /// Words that only the text form has.
  Event& words(std::string_view words, std::string_view separator_after = ", ") {
    if (!on_ || log_->options.json) return *this;
    text_ += words;
    separator_ = separator_after;
    return *this;
  }

  void write() {
    if (!on_) return;
    const std::size_t drops = log_->drops();
    if (drops > log_->reported_drops.exchange(drops)) {
      put(Level::warning, "",
          line(fmt::format("warning: {} log lines were dropped since the start: the log did not take them fast enough",
                           drops)));
    }
    std::string text =
        log_->options.json ? json_.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) : line(text_);
    put(level_, std::move(id_), std::move(text));
  }

 private:
  void put(Level level, std::string id, std::string text) const {
    log_->logger->log(spdlog_level(level), "{}{}", stamp(level), text);
    kept().add({0, time_, level, std::move(id), std::move(text)});
  }
  std::string stamp(Level level) const {
    if (log_->options.json) return "";
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
  std::string line(std::string_view text) const {
    std::string out = fmt::format("{}/{}[{}]: ", log_->options.name, part_, log_->pid);
    if (!id_.empty()) out += fmt::format("{}: ", id_);
    out += text;
    return out;
  }

  std::shared_ptr<Log> log_;
  Clock::time_point time_ = Clock::now();
  Level level_;
  std::string part_;
  std::string name_;
  std::string id_;
  bool on_ = false;
  std::string text_;
  std::string_view separator_ = ", ";
  nlohmann::ordered_json json_;
};

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

Result<> open_at(const Options& options, std::optional<OtherLevel> level) {
  Result<std::shared_ptr<Log>> made = make(options);
  if (!made) return fail(made.error());
  std::shared_ptr<Log> before;
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
  return open_at(options, std::nullopt);
}

Result<> reopen() {
  const std::shared_ptr<Log> log = get();
  if (!log) return {};
  std::optional<OtherLevel> level;
  {
    std::lock_guard lock(guard);
    level = log->other;
  }
  Result<> opened = open_at(log->options, level);
  if (!opened) failure(opened.error().what);
  return opened;
}

void flush() {
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
  (void)open_at(options, level);
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

void starting(std::string_view version, std::string_view config_file) {
  Event(Level::info, "master", "starting")
      .words("daemon started -- ", "")
      .add("version", version)
      .add("configuration", config_file)
      .write();
}
void confined(std::string_view by) {
  Event(Level::info, "master", "confined").words("confined: ", "").add("by", by, Form::alone).write();
}
void ready(std::string_view listeners) {
  Event(Level::info, "master", "ready")
      .words("ready, listening on ", "")
      .add("listeners", listeners, Form::alone)
      .write();
}
void stopping(std::string_view why) {
  Event(Level::info, "master", "stopping").words("stopping: ", "").add("why", why, Form::alone).write();
}
void stopped() {
  Event(Level::info, "master", "stopped").words("stopped").write();
}
void config_warning(std::string_view finding) {
  Event(Level::warning, "master", "config_warning").words("warning: ", "").add("finding", finding, Form::alone).write();
}
void config_error(std::string_view finding) {
  Event(Level::error, "master", "config_error").words("error: ", "").add("finding", finding, Form::alone).write();
}
void reloaded(std::string_view config_file) {
  Event(Level::info, "master", "reloaded").words("reload -- ", "").add("configuration", config_file).write();
}
void reload_failed(std::string_view why) {
  Event(Level::error, "master", "reload_failed")
      .words("error: reload refused, the old configuration stays: ", "")
      .add("why", why, Form::alone)
      .write();
}
void warning(std::string_view what) {
  Event(Level::warning, "master", "warning").words("warning: ", "").add("what", what, Form::alone).write();
}
void failure(std::string_view what) {
  Event(Level::error, "master", "failure").words("error: ", "").add("what", what, Form::alone).write();
}

void connected(std::string_view client) {
  Event(Level::debug, "smtpd", "connected").words("connect from ", "").add("client", client, Form::alone).write();
}
void disconnected(std::string_view client, std::string_view why) {
  Event(Level::debug, "smtpd", "disconnected")
      .words("disconnect from ", "")
      .add("client", client, Form::alone)
      .add("why", why, Form::parens)
      .write();
}
void session_failed(std::string_view client, std::string_view why) {
  Event(Level::error, "smtpd", "session_failed")
      .words("error: session with ", "")
      .add("client", client, Form::alone)
      .add("why", why, Form::parens)
      .write();
}
void requested(std::string_view client, std::string_view command, std::uint64_t recipients) {
  Event(Level::info, "smtpd", "requested")
      .add("client", client)
      .add("command", command)
      .number("recipients", recipients)
      .write();
}
void rejected(std::string_view client, std::string_view stage, std::string_view reply, std::string_view from,
              std::string_view to, std::string_view protocol, std::string_view helo) {
  const bool is_for_good = !reply.empty() && reply.front() == '5';
  metrics::events().rejected.at(metrics::reject_reason(reply), is_for_good ? "5" : "4").add();
  Event event(Level::info, "smtpd", "rejected");
  event.words("NOQUEUE: reject: ", "")
      .add("stage", stage, Form::alone)
      .words(" from ", "")
      .add("client", client, Form::alone);
  event.words(": ", "").add("reply", reply, Form::alone).words("; ", "").add("from", from, Form::angle).words("", " ");
  event.add("to", to, Form::angle)
      .words("", " ")
      .add("proto", protocol)
      .words("", " ")
      .add("helo", helo, Form::angle)
      .write();
}
void foreign_protocol(std::string_view client, std::string_view protocol) {
  Event(Level::info, "smtpd", "foreign_protocol")
      .words("warning: non-SMTP command from ", "")
      .add("client", client, Form::alone)
      .words(": ", "")
      .add("protocol", protocol, Form::alone)
      .write();
}
void tls_established(std::string_view client, std::string_view version, std::string_view cipher, int bits,
                     std::string_view server_name, std::string_view peer) {
  metrics::events().handshakes_in.at(version, "success").add();
  Event event(Level::info, "smtpd", "tls_established");
  event.words(peer.empty() ? "Anonymous TLS connection established from " : "TLS connection established from ", "")
      .add("client", client, Form::alone);
  if (!server_name.empty()) event.words(" to ", "").add("server_name", server_name, Form::alone);
  event.words(": ", "").add("version", version, Form::alone).words(" with cipher ", "");
  event.add("cipher", cipher, Form::alone).words(" (", "").number_alone("bits", bits);
  event.words(fmt::format("/{} bits)", bits));
  if (!peer.empty()) event.words(", ", "").add("subject", peer);
  event.write();
}
void tls_failed(std::string_view client, std::string_view why) {
  metrics::events().handshakes_in.at("none", "failure").add();
  Event(Level::info, "smtpd", "tls_failed")
      .words("SSL_accept error from ", "")
      .add("client", client, Form::alone)
      .words(": ", "")
      .add("why", why, Form::alone)
      .write();
}
void injected(std::string_view client, std::size_t octets) {
  Event(Level::warning, "smtpd", "injected")
      .words("warning: ", "")
      .add("client", client, Form::alone)
      .words(" sent commands in clear behind STARTTLS, an attack or a broken client: ", "")
      .number("octets", octets)
      .write();
}
void connection_lost(std::string_view client, std::string_view how, std::string_view after) {
  Event(Level::info, "smtpd", "connection_lost")
      .add("how", how, Form::alone)
      .words(" after ", "")
      .add("after", after, Form::alone)
      .words(" from ", "")
      .add("client", client, Form::alone)
      .write();
}
void storage_refused(std::string_view client, std::string_view why) {
  metrics::events().rejected.at("system", "4").add();
  Event(Level::warning, "smtpd", "storage_refused")
      .words("warning: a message from ", "")
      .add("client", client, Form::alone)
      .words(" was put off: ", "")
      .add("why", why, Form::alone)
      .write();
}
void accepted_from(std::string_view id, std::string_view client, std::string_view mechanism, std::string_view user) {
  metrics::events().accepted.add();
  Event event(Level::info, "smtpd", "accepted_from", id);
  event.add("client", client);
  if (!user.empty()) event.add("sasl_method", mechanism).add("sasl_username", user);
  event.write();
}
void logged_in(std::string_view client, std::string_view mechanism, std::string_view user) {
  metrics::events().logins.at(mechanism, "success").add();
  Event(Level::debug, "smtpd", "logged_in")
      .words("login from ", "")
      .add("client", client, Form::alone)
      .words("", ", ")
      .add("sasl_method", mechanism)
      .add("sasl_username", user)
      .write();
}
void login_failed(std::string_view client, std::string_view mechanism, std::string_view why, std::string_view user) {
  metrics::events().logins.at(mechanism, "failure").add();
  Event event(Level::warning, "smtpd", "login_failed");
  event.words("warning: ", "")
      .add("client", client, Form::alone)
      .words(": SASL ", "")
      .add("sasl_method", mechanism, Form::alone)
      .words(" authentication failed: ", "")
      .add("why", why, Form::alone);
  if (!user.empty()) event.words("", ", ").add("sasl_username", user);
  event.write();
}
void message_id(std::string_view id, std::string_view value) {
  Event(Level::info, "cleanup", "message_id", id).add("message-id", value).write();
}
void queued(std::string_view id, std::string_view from, std::uint64_t size, std::size_t recipients) {
  Event(Level::info, "qmgr", "queued", id)
      .add("from", from, Form::angle)
      .number("size", size)
      .number("nrcpt", recipients)
      .words(" (queue active)")
      .write();
}

void attempt(const Attempt& attempt) {
  const double delay = static_cast<double>(attempt.delay.count()) / 1000.0;
  metrics::Events& count = metrics::events();
  count.deliveries.at(attempt.status, attempt.dsn.substr(0, 1)).add();
  if (attempt.status == "sent") count.delivery_delay.observe(attempt.delay);
  Event event(Level::info, "smtp", "attempt", attempt.id);
  event.add("to", attempt.to, Form::angle).add("relay", attempt.relay.empty() ? "none" : attempt.relay);
  event.add("delay", delay < 10 ? fmt::format("{:.2f}", delay) : fmt::format("{:.0f}", delay));
  event.add("dsn", attempt.dsn).add("status", attempt.status).add("reply", attempt.reply, Form::parens);
  // At the end: pflogsumm wants what stands before it to be there and in this order.
  if (!attempt.tls.empty()) event.add("tls", attempt.tls);
  event.write();
}
void notified(std::string_view id, std::string_view notification, std::string_view kind) {
  metrics::events().notifications.at(kind, "").add();
  Event(Level::info, "bounce", "notified", id)
      .words("sender ", "")
      .add("kind", kind, Form::alone)
      .words(" notification: ", "")
      .add("notification", notification, Form::alone)
      .write();
}
void not_notified(std::string_view id, std::string_view to, std::string_view why) {
  Event(Level::warning, "bounce", "not_notified", id)
      .words("warning: no notification, ", "")
      .add("why", why, Form::alone)
      .words(": ", "")
      .add("to", to, Form::angle)
      .write();
}
void digest(std::string_view id, std::uint64_t messages) {
  metrics::events().notifications.at("digest", "").add();
  Event(Level::info, "bounce", "digest", id)
      .words("digest for the postmaster: ", "")
      .number("undelivered", messages)
      .write();
}
void left_queue(std::string_view id) {
  Event(Level::info, "qmgr", "left_queue", id).words("removed").write();
}
void destination_deferred(std::string_view destination, std::uint32_t failures, std::chrono::seconds wait,
                          std::string_view host, std::string_view dsn, std::string_view reason) {
  Event event(Level::info, "qmgr", "destination_deferred");
  event.add("destination", destination).add("host", host.empty() ? "none" : host).number("failures", failures);
  event.number("next", wait.count()).add("dsn", dsn).add("reason", reason, Form::parens).write();
}
void tls_given_up(std::string_view relay, std::string_view why, std::chrono::seconds time) {
  Event event(Level::warning, "smtp", "tls_given_up");
  event.words("warning: TLS failed, mail goes there in clear: ", "")
      .add("relay", relay)
      .number("seconds", time.count());
  event.add("reason", why, Form::parens).write();
}
void done_without(std::string_view relay, std::string_view extension, std::string_view why, std::chrono::seconds time) {
  Event event(Level::warning, "smtp", "done_without");
  event.words("warning: mail goes there without what it may have failed at: ", "")
      .add("relay", relay)
      .add("extension", extension)
      .number("seconds", time.count());
  event.add("reason", why, Form::parens).write();
}
void site_slowed(std::string_view site, std::chrono::milliseconds spacing, std::chrono::seconds time,
                 std::string_view reason) {
  Event event(Level::info, "qmgr", "site_slowed");
  event.add("site", site).number("spacing_ms", spacing.count()).number("seconds", time.count());
  event.add("reason", reason, Form::parens).write();
}
void destination_recovered(std::string_view destination) {
  Event(Level::info, "qmgr", "destination_recovered")
      .add("destination", destination)
      .words(" (reachable again)")
      .write();
}

void changed(std::string_view verb, std::string_view filter, std::uint64_t messages, std::string_view reason,
             std::uint32_t uid) {
  Event(Level::info, "postsuper", "changed")
      .add("verb", verb)
      .add("filter", filter)
      .number("messages", messages)
      .add("reason", reason)
      .number("uid", uid)
      .write();
}

}  // namespace waypost::log
