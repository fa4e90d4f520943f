// queue/rows.h: rows of queue.db as values. What is read is checked like what comes from the network: Errc::damaged.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "queue/message.h"
#include "queue/sqlite.h"

namespace waypost::queue {

inline std::int64_t millis(WallTime time) {
  return time.time_since_epoch().count();
}
/// When it was handed out: of a message's id its arrival, nearly, and later than that where the clock was set back.
inline WallTime time_of(Id id) {
  return WallTime(std::chrono::milliseconds(id.value >> 18));
}
inline WallTime wall_time(std::int64_t millis) {
  return WallTime(net::Duration(millis));
}
inline std::int64_t number(Id id) {
  return static_cast<std::int64_t>(id.value);
}
inline Id id_of(std::int64_t number) {
  return Id{static_cast<std::uint64_t>(number)};
}

/// What an attempt needs of a message, and the way to its body.
struct StoredMessage {
  MessageInfo info;
  std::string trace;
  std::uint64_t body_size = 0;
  Checksum checksum{};
  bool in_file = false;
};

/// The columns of `message m` that read_message() takes, and how many these are.
#define WAYPOST_MESSAGE_COLUMNS                                                                        \
  "m.id, m.sum, m.reverse_path, m.arrival, m.expires, m.size, m.body_type, m.eight_bit, m.dot_lines, " \
  "m.smtputf8, m.require_tls, m.ret, m.envid, m.user, m.body_size, m.checksum, m.in_file, m.trace"
constexpr int kMessageColumns = 18;
Result<StoredMessage> read_message(const Run& row);
/// The same for a list, where a damaged row is to be seen too.
StoredMessage read_message_unchecked(const Run& row);

/// The columns of `recipient r` that read_recipient() takes.
#define WAYPOST_RECIPIENT_COLUMNS                                                                                 \
  "r.message, r.idx, r.sum, r.address, r.destination, r.notify, r.orcpt, r.attempts, r.status, r.reply, r.host, " \
  "r.delay_told"
constexpr int kRecipientColumns = 12;
/// `destination` is the name that belongs to the row.
Result<DueRecipient> read_recipient(const Run& row, std::string_view destination);

/// What is told of a recipient's last attempt: a destination that fails, or its site, was met since.
#define WAYPOST_LAST(recipient, destination)                     \
  "CASE WHEN r.state = 0 AND s.failures > 0 THEN s." destination \
  " WHEN r.state = 0 AND d.failures > 0 "                        \
  "THEN d." destination " ELSE r." recipient " END"

/// A recipient's destination, and the site that this waits with.
#define WAYPOST_DESTINATION_OF_RECIPIENT \
  "LEFT JOIN destination d ON d.id = r.destination LEFT JOIN destination s ON s.id = d.site"
/// The columns of one of these that read_destination() takes, from column `first` on, and how many these are.
#define WAYPOST_DESTINATION_COLUMNS(d)                                                                     \
  #d ".name, " #d ".kind, " #d ".failures, " #d ".next_attempt, " #d ".failing_since, " #d ".status, " #d  \
     ".reason, " #d ".host, " #d ".held_until, " #d ".held_reason, " #d ".spacing, " #d ".slow_until, " #d \
     ".slow_reason, " #d ".site_until, " #d ".asked"
constexpr int kDestinationColumns = 15;
DestinationState read_destination(const Run& row, int first);
/// The columns of both; what holds up the destination's mail is told of it, even if it is of its site.
#define WAYPOST_BOTH_COLUMNS WAYPOST_DESTINATION_COLUMNS(d) ", " WAYPOST_DESTINATION_COLUMNS(s)
DestinationState read_with_site(const Run& row, int first);
/// True where that is so at the moment of parameter `now`.
#define WAYPOST_WAITS(now)                                                                    \
  "(coalesce(d.failures > 0 AND d.next_attempt > " now ", 0) OR coalesce(d.held_until > " now \
  ", 0) "                                                                                     \
  "OR coalesce(s.failures > 0 AND s.next_attempt > " now ", 0) OR coalesce(s.held_until > " now ", 0))"

/// True of a recipient `r` for which its message stays: it has not ended, or was removed and may be restored.
#define WAYPOST_STAYS "(r.state IN (0, 1) OR (r.state = 6 AND r.change > 0))"

/// Over the columns that never change.
std::int64_t sum_of(const StoredMessage& message, std::string_view reverse_path);
std::int64_t sum_of_recipient(Id message, std::uint32_t index, std::string_view address, std::int64_t destination_id,
                              std::string_view destination, std::uint8_t notify, std::string_view orcpt);

/// "" is the null path. Errors: damaged.
Result<smtp::Path> stored_path(std::string_view text);
/// As stored_path(); what does not parse becomes a local part, to be shown.
smtp::Path shown_path(std::string_view text);

}  // namespace waypost::queue
