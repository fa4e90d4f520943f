#include "conf/table.h"

#include <cerrno>
#include <cstring>
#include <string_view>

#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/escape.h"
#include "conf/values.h"

namespace waypost::conf {
namespace {

constexpr std::string_view kScheme = "sqlite:";

struct Finisher {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Statement = std::unique_ptr<sqlite3_stmt, Finisher>;

Errc errc_of(int code) {
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_NOMEM:
      return Errc::busy;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
      return Errc::damaged;
    case SQLITE_ERROR:
    case SQLITE_SCHEMA:
    case SQLITE_AUTH:
      return Errc::invalid;
    case SQLITE_PERM:
      return Errc::denied;
    case SQLITE_TOOBIG:
      return Errc::too_big;
    case SQLITE_INTERRUPT:
      return Errc::timed_out;
    default:
      return Errc::io;
  }
}

/// While it is there, statements are broken off at a moment.
class TimeLimit {
 public:
  TimeLimit(sqlite3* db, std::chrono::milliseconds longest) : db_(db), end_(Clock::now() + longest) {
    constexpr int kInstructions = 1000;
    sqlite3_progress_handler(db_, kInstructions, &is_over, this);
  }
  TimeLimit(const TimeLimit&) = delete;
  TimeLimit& operator=(const TimeLimit&) = delete;
  ~TimeLimit() { sqlite3_progress_handler(db_, 0, nullptr, nullptr); }

 private:
  using Clock = std::chrono::steady_clock;
  static int is_over(void* self) { return Clock::now() >= static_cast<TimeLimit*>(self)->end_ ? 1 : 0; }
  sqlite3* db_;
  Clock::time_point end_;
};

/// SQLite says of all of these that it cannot open the file.
Result<> check_file(const std::string& path) {
  struct stat file {};
  const bool there = ::stat(path.c_str(), &file) == 0;
  if (there && !S_ISREG(file.st_mode)) return fail(Errc::invalid, "it is no file");
  if (there && ::access(path.c_str(), R_OK) == 0) return {};
  const int code = errno;
  if (code == ENOENT || code == ENOTDIR) return fail(Errc::not_found, std::strerror(code));
  return fail(code == EACCES ? Errc::denied : Errc::io, std::strerror(code));
}

}  // namespace

std::optional<std::string> database_path(const std::string& value) {
  if (!value.starts_with(kScheme)) return std::nullopt;
  return value.substr(kScheme.size());
}

Result<std::string> parse_file_or_database(const std::string& text) {
  const std::optional<std::string> database = database_path(text);
  const Result<std::string> path = parse_path(database.value_or(text));
  if (!path) return fail(path.error());
  return text;
}

void Database::Closer::operator()(sqlite3* db) const {
  sqlite3_close_v2(db);
}

tl::unexpected<Error> Database::error(int code) const {
  // SQLite says no more than "interrupted".
  if (errc_of(code) == Errc::timed_out) return fail(Errc::timed_out, "it computes for too long");
  return fail(errc_of(code), escape(sqlite3_errmsg(db_.get()), 200));
}

Result<Database> Database::open(const std::string& path, std::chrono::milliseconds patience,
                                std::chrono::milliseconds longest) {
  const Result<> good = check_file(path);
  if (!good) return fail(good.error());
  sqlite3* raw = nullptr;
  const int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  const int code = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  if (raw == nullptr) return fail(Errc::busy, "out of memory");
  Database out(raw, longest);
  if (code != SQLITE_OK) return out.error(code);
  // The schema is another's: it may compute, and do nothing else.
  sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, nullptr);
  sqlite3_limit(raw, SQLITE_LIMIT_ATTACHED, 0);
  sqlite3_limit(raw, SQLITE_LIMIT_LENGTH, static_cast<int>(kMostOctets));
  sqlite3_busy_timeout(raw, static_cast<int>(patience.count()));
  // What is sorted: a confined daemon has no folder for temporary files.
  const int set = sqlite3_exec(raw, "PRAGMA temp_store=MEMORY", nullptr, nullptr, nullptr);
  if (set != SQLITE_OK) return out.error(set);
  return out;
}

Result<std::int64_t> Database::version() {
  const Result<std::vector<TableRow>> read = rows("PRAGMA data_version");
  if (!read) return fail(read.error());
  return read->empty() ? 0 : std::strtoll(read->front().front().c_str(), nullptr, 10);
}

Result<std::vector<TableRow>> Database::rows(const char* query, const std::string& domain) {
  const TimeLimit limit(db_.get(), longest_);
  sqlite3_stmt* raw = nullptr;
  int code = sqlite3_prepare_v2(db_.get(), query, -1, &raw, nullptr);
  const Statement statement(raw);
  if (code != SQLITE_OK) return error(code);
  if (sqlite3_bind_parameter_count(raw) > 0) {
    code = sqlite3_bind_text(raw, 1, domain.data(), static_cast<int>(domain.size()), SQLITE_STATIC);
    if (code != SQLITE_OK) return error(code);
  }
  std::vector<TableRow> out;
  std::size_t octets = 0;
  while ((code = sqlite3_step(raw)) == SQLITE_ROW) {
    TableRow& row = out.emplace_back();
    for (int column = 0; column < sqlite3_column_count(raw); ++column) {
      const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(raw, column));
      const auto length = static_cast<std::size_t>(sqlite3_column_bytes(raw, column));
      row.emplace_back(text == nullptr ? "" : text, text == nullptr ? 0 : length);
      octets += sizeof(std::string) + length;
    }
    if (octets > kMostOctets) return fail(Errc::too_big, "the table is larger than 64 MiB");
  }
  if (code != SQLITE_DONE) return error(code);
  return out;
}

std::string advice(Errc code, const char* query) {
  const std::string_view text = query;
  switch (code) {
    case Errc::invalid: {
      // "SELECT name, target FROM aliases WHERE domain = ..." is of aliases(name, target, domain).
      constexpr std::string_view kSelect = "SELECT ", kFrom = " FROM ";
      const std::size_t from = text.find(kFrom);
      const std::string_view columns = text.substr(kSelect.size(), from - kSelect.size());
      const std::string_view rest = text.substr(from + kFrom.size());
      const std::string domain = rest.find(" domain ") == std::string_view::npos ? "" : ", domain";
      return "it needs a table or view " + std::string(rest.substr(0, rest.find(' '))) + "(" + std::string(columns) +
             domain + ")";
    }
    case Errc::busy:
      return "another program holds it locked: let that end, and try again";
    case Errc::timed_out:
      return "a view that has no end, or a table that lacks an index";
    case Errc::damaged:
      return "see what sqlite3 says of it: PRAGMA integrity_check";
    case Errc::not_found:
      return "make it by sqlite3";
    case Errc::io:
      return "in WAL mode the daemon's user needs to write in its folder: PRAGMA journal_mode = DELETE needs less";
    default:
      return "";
  }
}

}  // namespace waypost::conf
