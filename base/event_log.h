// base/event_log.h: the log: one function per event, one line per event, as text (Postfix's grammar) or JSON. Any
// thread.
//
// Text:  waypost/smtp[812]: 01JD8Q2M3XK7: to=<r@b.example>, relay=mx1.b.example[192.0.2.7]:25, ..., status=sent (250
// ok) JSON:  {"time":"...","level":"info","part":"smtp","event":"attempt","id":"01JD8Q2M3XK7","to":"r@b.example",...}
// Values are escaped and cut short here; callers hand over what peers said as it is. Lines are written in the
// background: a log that blocks never stops mail. What had to be dropped is counted and said when there is room again.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/line_ring.h"
#include "base/result.h"

namespace waypost::log {

enum class Level : std::uint8_t { debug, info, warning, error };
std::string_view to_text(Level level);
std::optional<Level> parse_level(std::string_view text);

struct Options {
  std::string target = "stderr";  ///< stderr | syslog | /dev/stderr | /dev/stdout | a file's path
  bool json = false;
  Level level = Level::info;
  std::string name = "waypost";  ///< before the slash of the tag
  std::string hostname;          ///< for lines in a file
};

/// False of syslog, and of the streams that the process was started with, which are not opened by their names: another
/// user might not.
bool is_file(std::string_view target);

/// Before the first event that shall be seen; again at a reload. Until then everything from `info` up goes to stderr.
/// Errors: io; the log is the former then.
Result<> open(const Options& options);
/// A file is closed and opened by its name again, after it was moved away. Errors: as open(); the log says so too.
Result<> reopen();
/// Writes what is waiting. At the end of the process, and before abandoning it.
void flush();
bool enabled(Level level);

using Clock = std::chrono::system_clock;
struct LevelInForce {
  Level level = Level::info;
  Level usual = Level::info;               ///< as the options say
  std::optional<Clock::time_point> until;  ///< when that one is back; nullopt: with the next open()
};
LevelInForce level();
/// Another level than the options say.
void set_level(Level level, std::optional<Clock::time_point> until);

/// A line that was written, wherever the log goes.
struct Line {
  std::uint64_t number = 0;
  Clock::time_point time;
  Level level = Level::info;
  std::string id;    ///< of a message; "": of none
  std::string text;  ///< from the tag on, or the JSON
};
constexpr std::size_t kKept = 2000;
using Page = LineRing<Line>::Page;
/// As LineRing: of the last kKept lines.
Page read(std::uint64_t from, std::size_t most, const std::function<bool(const Line&)>& wanted);
Page last(std::size_t most, const std::function<bool(const Line&)>& wanted);

/// Lines that no log took, since the start.
std::uint64_t dropped();

// The daemon's life.
void starting(std::string_view version, std::string_view config_file);
void confined(std::string_view by);
void ready(std::string_view listeners);
void stopping(std::string_view why);
void stopped();
void config_warning(std::string_view finding);
void config_error(std::string_view finding);
void reloaded(std::string_view config_file);
void reload_failed(std::string_view why);
void warning(std::string_view what);  ///< own trouble that mail survives; `what` says what to do
void failure(std::string_view what);  ///< own trouble that an administrator must look at

// Inbound. `client` is "unknown[192.0.2.1]".
void connected(std::string_view client);
void disconnected(std::string_view client, std::string_view why);
/// `session_ended(error)` of an unexpected kind: an exception came out of a session.
void session_failed(std::string_view client, std::string_view why);
void rejected(std::string_view client, std::string_view stage, std::string_view reply, std::string_view from,
              std::string_view to, std::string_view protocol, std::string_view helo);
/// A client that spoke HTTP or TLS to a plain port, and was sent away.
void foreign_protocol(std::string_view client, std::string_view protocol);
/// `server_name`: whom the client asked for, "" if nobody; `peer`: its certificate's subject, likewise.
void tls_established(std::string_view client, std::string_view version, std::string_view cipher, int bits,
                     std::string_view server_name, std::string_view peer);
void tls_failed(std::string_view client, std::string_view why);
/// Octets in clear behind STARTTLS: somebody's attempt to be heard as the client (RFC 3207 §6).
void injected(std::string_view client, std::size_t octets);
/// The connection ended before the session did. `how`: "lost connection", "timeout"; `after`: the last verb.
void connection_lost(std::string_view client, std::string_view how, std::string_view after);
/// The store did not take a message, so that its client was told to come again.
void storage_refused(std::string_view client, std::string_view why);
/// A client had mail of the queue tried at once.
void requested(std::string_view client, std::string_view command, std::uint64_t recipients);
/// `mechanism` and `user` of its login; "": there was none.
void accepted_from(std::string_view id, std::string_view client, std::string_view mechanism, std::string_view user);
void logged_in(std::string_view client, std::string_view mechanism, std::string_view user);
/// `user`: the login that was tried, as far as it was said.
void login_failed(std::string_view client, std::string_view mechanism, std::string_view why, std::string_view user);
void message_id(std::string_view id, std::string_view value);
void queued(std::string_view id, std::string_view from, std::uint64_t size, std::size_t recipients);

// Outbound.
struct Attempt {
  std::string_view id;
  std::string_view to;
  std::string_view relay;              ///< "mx1.b.example[192.0.2.7]:25", "maildir", "none"
  std::chrono::milliseconds delay{0};  ///< since arrival
  std::string_view dsn;
  std::string_view status;  ///< "sent", "deferred", "bounced", "expired"
  std::string_view reply;
  std::string_view tls{};  ///< what the session had; "": left out
};
void attempt(const Attempt& attempt);
/// A notification was queued because of `id`.
void notified(std::string_view id, std::string_view notification, std::string_view kind);
/// A null reverse-path or a notification of a notification: nobody is told (promise 4).
void not_notified(std::string_view id, std::string_view to, std::string_view why);
/// A digest for the postmaster was queued as `id`: so many messages of nobody could not be delivered.
void digest(std::string_view id, std::uint64_t messages);
void left_queue(std::string_view id);
void destination_deferred(std::string_view destination, std::uint32_t failures, std::chrono::seconds wait,
                          std::string_view host, std::string_view dsn, std::string_view reason);
/// TLS failed with this host, which gets mail in clear for so long.
void tls_given_up(std::string_view relay, std::string_view why, std::chrono::seconds time);
/// A host failed at an extension that it offers, and gets mail without it for so long.
void done_without(std::string_view relay, std::string_view extension, std::string_view why, std::chrono::seconds time);
/// A rule about replies wants a site to get less mail: so long between two messages, for such a time.
void site_slowed(std::string_view site, std::chrono::milliseconds spacing, std::chrono::seconds time,
                 std::string_view reason);
void destination_recovered(std::string_view destination);

// The administrator.
void changed(std::string_view verb, std::string_view filter, std::uint64_t messages, std::string_view reason,
             std::uint32_t uid);

}  // namespace waypost::log
