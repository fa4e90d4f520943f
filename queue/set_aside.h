// queue/set_aside.h: the row of a destination stays while recipients of it are held, or removed and kept for an undo.
#pragma once
#include <cstdint>

#include "base/result.h"
#include "queue/id.h"
#include "queue/sqlite.h"

/// Marks each destination by what stands in the table of recipients. SQL.
#define WAYPOST_MARK_ASIDE                                                                                           \
  "UPDATE destination SET aside_from = marks.low, aside_to = marks.high FROM "                                       \
  "(SELECT destination, min(message) AS low, max(message) AS high FROM (SELECT destination, message FROM recipient " \
  "WHERE state = 1 UNION ALL SELECT destination, message FROM recipient WHERE state = 6 AND change > 0) "            \
  "GROUP BY destination) AS marks WHERE marks.destination = destination.id"

/// On a destination: nothing of it is set aside, nor of others among the messages of its mark. A seek or two. SQL.
#define WAYPOST_NONE_ASIDE                                                           \
  "(aside_to = 0 OR (NOT EXISTS (SELECT 1 FROM recipient INDEXED BY recipient_held " \
  "WHERE state = 1 AND recipient.message BETWEEN aside_from AND aside_to) "          \
  "AND NOT EXISTS (SELECT 1 FROM recipient INDEXED BY recipient_kept "               \
  "WHERE state = 6 AND change > 0 AND recipient.message BETWEEN aside_from AND aside_to)))"

namespace waypost::queue {

/// In the transaction that holds or removes recipients of messages from one to the other.
Result<> set_aside(Database& db, std::int64_t destination, Id from, Id to);

}  // namespace waypost::queue
