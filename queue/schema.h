// queue/schema.h: the versions of a database of ours and the way from one to the next.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "base/result.h"
#include "queue/files.h"
#include "queue/sqlite.h"

namespace waypost::queue {

/// From version N-1 to N, where N is its place in the list, counted from 1. The first one makes the tables.
struct SchemaStep {
  const char* sql;
  bool changes_data = false;  ///< a copy of the file is made before it
};

struct Schema {
  std::uint32_t application_id;  ///< in the file's header: that it is ours
  std::span<const SchemaStep> steps;
  std::string name;  ///< for messages: "queue.db"
};

extern const Schema kQueueSchema;
extern const Schema kHistorySchema;

/// What each recipient has from its state and from its message. SQL.
#define WAYPOST_MARK_RECIPIENTS                 \
  "UPDATE recipient SET in_due = (state = 0), " \
  "size = ifnull((SELECT size FROM message WHERE id = recipient.message), 0)"

/// 0 for a new file. Errors as bring_up_to_date().
Result<int> version_of(Database& db, const Schema& schema);

/// Brings the database to the newest version, all steps in one transaction. `copy(version)` makes a copy of it before a
/// step that changes data; it is called once. Errors: unsupported (a newer version wrote it: the text says what to do),
/// damaged (not ours), and those of Database.
Result<> bring_up_to_date(Database& db, const Schema& schema, const std::function<Result<>(int version)>& copy);

/// A synced copy of the database as `name` in `files`, which is `folder`. One that was begun before is replaced.
Result<> copy_database(Database& db, Files& files, const std::string& folder, const std::string& name);

/// Without changing anything: the file is ours and of a version that this program reads.
Result<> check_version(Database& db, const Schema& schema);

}  // namespace waypost::queue
