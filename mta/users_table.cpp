#include "mta/users_table.h"

#include <chrono>
#include <utility>
#include <vector>

#include "base/escape.h"

namespace waypost::mta {
namespace {

/// With who holds it locked: those who log in wait for one another meanwhile.
constexpr std::chrono::milliseconds kPatience(200);
/// Of all users, however many.
constexpr std::chrono::seconds kLongestRead(5);

bool is_same_file(const FileStamp& one, const FileStamp& other) {
  return one.device == other.device && one.inode == other.inode;
}

}  // namespace

Result<std::optional<ParsedUsers>> UsersTable::in_trouble(const Error& error) {
  open_.reset();
  return fail(error.code, escape(database_) + ": " + error.what);
}

Result<std::optional<ParsedUsers>> UsersTable::read_if_changed() {
  const Result<FileStamp> stamp = file_stamp(database_);
  const bool replaced = !stamp || !stamp_ || !is_same_file(*stamp, *stamp_);
  if (replaced) open_.reset();
  if (!open_) {
    version_.reset();
    Result<conf::Database> opened = conf::Database::open(database_, kPatience, kLongestRead);
    if (!opened) return in_trouble(opened.error());
    open_.emplace(*std::move(opened));
    stamp_ = stamp ? std::optional<FileStamp>(*stamp) : std::nullopt;
  }
  // Before the rows: what is written in between is another version at the next call.
  const Result<std::int64_t> version = open_->version();
  if (!version) return in_trouble(version.error());
  if (version_ == *version) return std::nullopt;
  const Result<std::vector<conf::TableRow>> rows = open_->rows(conf::kUsersQuery);
  if (!rows) return in_trouble(rows.error());
  version_ = *version;
  return parse_users(*rows, database_);
}

}  // namespace waypost::mta
