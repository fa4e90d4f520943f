#include "queue/set_aside.h"

#include "queue/rows.h"

namespace waypost::queue {
namespace {

constexpr Sql kSetAside{
    "UPDATE destination SET aside_from = iif(aside_to = 0, ?2, min(aside_from, ?2)), aside_to = max(aside_to, ?3) "
    "WHERE id = ?1 AND (aside_to < ?3 OR aside_from > ?2)"};

}  // namespace

Result<> set_aside(Database& db, std::int64_t destination, Id from, Id to) {
  Run row(db, kSetAside);
  row << destination << number(from) << number(to);
  return row.done();
}

}  // namespace waypost::queue
