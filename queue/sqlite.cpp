// queue/sqlite.cpp
#include "queue/sqlite.h"

#include <new>
#include <utility>

#include <sqlite3.h>

#include "base/escape.h"
#include "queue/regexp.h"
#include "queue/wal_writes.h"

namespace waypost::queue {
namespace {

constexpr Sql kBegin{"BEGIN IMMEDIATE"};
constexpr Sql kCommit{"COMMIT"};
constexpr Sql kRollback{"ROLLBACK"};

/// What the caller decides by. A page that cannot be read is that row's damage; a write or sync that failed puts in
/// doubt all that is on disk (RELIABILITY F11, F12).
Errc errc_of(int extended) {
  switch (extended) {
    case SQLITE_IOERR_READ:
    case SQLITE_IOERR_SHORT_READ:
    case SQLITE_IOERR_CORRUPTFS:
      return Errc::damaged;
    case SQLITE_IOERR_NOMEM:
      return Errc::busy;
    case SQLITE_CANTOPEN_SYMLINK:
      return Errc::denied;
    default:
      break;
  }
  switch (extended & 0xff) {
    case SQLITE_FULL:
      return Errc::full;
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return Errc::io;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Errc::damaged;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_NOMEM:
      return Errc::busy;
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return Errc::denied;
    case SQLITE_TOOBIG:
      return Errc::too_big;
    case SQLITE_CONSTRAINT:
      return Errc::exists;
    default:
      return Errc::internal;
  }
}

constexpr int kMostArguments = 8;

void call_function(sqlite3_context* context, int count, sqlite3_value** values) {
  std::int64_t arguments[kMostArguments] = {};
  for (int i = 0; i < count; ++i) arguments[i] = sqlite3_value_int64(values[i]);
  try {
    (*static_cast<std::function<void(const std::int64_t*)>*>(sqlite3_user_data(context)))(arguments);
  } catch (const std::bad_alloc&) {
    sqlite3_result_error_nomem(context);  // through SQLite, which is C, no exception goes
  }
}

void forget_function(void* function) {
  delete static_cast<std::function<void(const std::int64_t*)>*>(function);
}

int on_wal_commit(void* context, sqlite3*, const char*, int pages) {
  (*static_cast<std::function<void(int)>*>(context))(pages);
  return SQLITE_OK;
}

}  // namespace

void Database::Closer::operator()(sqlite3* db) const {
  sqlite3_close_v2(db);
}
void Database::Finisher::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

Database::Database(sqlite3* db) : db_(db) {}
Database::Database(Database&&) noexcept = default;
Database::~Database() = default;

Database& Database::operator=(Database&& other) noexcept {
  if (this == &other) return *this;
  statements_ = std::move(other.statements_);
  db_ = std::move(other.db_);
  on_commit_ = std::move(other.on_commit_);
  return *this;
}

tl::unexpected<Error> Database::error(int code, std::string_view doing) const {
  int extended = db_ ? sqlite3_extended_errcode(db_.get()) : code;
  if ((extended & 0xff) != (code & 0xff)) extended = code;
  std::string why = db_ ? sqlite3_errmsg(db_.get()) : sqlite3_errstr(code);
  return fail(errc_of(extended),
              "database: " + escape(doing.substr(0, 60)) + ": " + escape(why) + " (" + std::to_string(extended) + ")");
}

void Database::prepare_library() {
  sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

Result<Database> Database::open(const std::string& path, const std::string& vfs, Mode mode) {
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOFOLLOW;
  flags |= mode == Mode::read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  if (path.starts_with("file:")) flags |= SQLITE_OPEN_URI;
  sqlite3* raw = nullptr;
  int code = sqlite3_open_v2(path.c_str(), &raw, flags, vfs.empty() ? nullptr : vfs.c_str());
  if (!raw) return fail(Errc::busy, "database: out of memory");
  Database db(raw);
  if (code != SQLITE_OK) return db.error(code, "opening " + path);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, nullptr);
  sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_limit(raw, SQLITE_LIMIT_LENGTH, 256 << 20);
  sqlite3_limit(raw, SQLITE_LIMIT_SQL_LENGTH, 1 << 20);
  sqlite3_limit(raw, SQLITE_LIMIT_ATTACHED, 1);  // VACUUM INTO, before a migration, needs one
  code = add_regexp(raw);
  if (code != SQLITE_OK) return db.error(code, "opening " + path);
  return db;
}

Result<Database::Statement> Database::prepare(std::string_view sql, bool persistent) {
  sqlite3_stmt* statement = nullptr;
  unsigned flags = persistent ? SQLITE_PREPARE_PERSISTENT : 0;
  int code = sqlite3_prepare_v3(db_.get(), sql.data(), static_cast<int>(sql.size()), flags, &statement, nullptr);
  if (code != SQLITE_OK) return error(code, sql);
  return Statement(statement);
}

Result<sqlite3_stmt*> Database::kept(Sql sql) {
  auto found = statements_.find(sql.text);
  if (found != statements_.end()) return found->second.get();
  Result<Statement> made = prepare(sql.text, true);
  if (!made) return fail(made.error());
  sqlite3_stmt* statement = made->get();
  statements_.emplace(sql.text, *std::move(made));
  return statement;
}

Result<> Database::run(const char* sql) {
  int code = sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return error(code, sql);
  return {};
}

Result<std::int64_t> Database::value(const char* sql) {
  Run row(*this, std::string(sql));
  Result<bool> found = row.step();
  if (!found) return fail(found.error());
  return *found ? row.integer(0) : 0;
}

bool Database::in_transaction() const {
  return sqlite3_get_autocommit(db_.get()) == 0;
}

void Database::roll_back() {
  if (!db_ || !in_transaction()) return;
  Run run(*this, kRollback);
  // After an I/O error SQLite may have rolled back by itself, or be unable to: either way nothing was committed.
  Result<> done = run.done();
  (void)done;
}

std::int64_t Database::last_rowid() const {
  return sqlite3_last_insert_rowid(db_.get());
}
std::int64_t Database::changed_rows() const {
  return sqlite3_changes64(db_.get());
}

Result<Database::Checkpointed> Database::checkpoint() {
  Checkpointed done;
  int code = sqlite3_wal_checkpoint_v2(db_.get(), nullptr, SQLITE_CHECKPOINT_PASSIVE, &done.wal_pages, &done.moved);
  if (code != SQLITE_OK) return error(code, "checkpoint");
  return done;
}

void Database::watch_wal(std::function<void(int)> on_commit) {
  on_commit_ = std::make_unique<std::function<void(int)>>(std::move(on_commit));
  sqlite3_wal_hook(db_.get(), on_wal_commit, on_commit_.get());
}

Result<> Database::gather_wal_writes() {
  Result<> kept = run("PRAGMA cache_spill=OFF");
  if (!kept) return kept;
  sqlite3_file* wal = nullptr;
  const int code = sqlite3_file_control(db_.get(), "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal);
  if (code != SQLITE_OK) return error(code, "the WAL");
  if (wal == nullptr || wal->pMethods == nullptr) return fail(Errc::internal, "database: the WAL is not open");
  WalWrites::gather(*wal);
  return {};
}

Result<> Database::add_function(const char* name, int arguments, std::function<void(const std::int64_t*)> call) {
  if (arguments > kMostArguments) return fail(Errc::internal, "a function of too many arguments");
  const int code = sqlite3_create_function_v2(db_.get(), name, arguments, SQLITE_UTF8 | SQLITE_INNOCUOUS,
                                              new std::function<void(const std::int64_t*)>(std::move(call)),
                                              call_function, nullptr, nullptr, forget_function);
  if (code != SQLITE_OK) return error(code, name);
  return {};
}

void Database::interrupt() {
  sqlite3_interrupt(db_.get());
}

void Database::abandon() {
  sqlite3_db_config(db_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
}
void Database::checkpoint_on_close() {
  sqlite3_db_config(db_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr);
}

Run::Run(Database& db, Sql sql) : db_(db) {
  Result<sqlite3_stmt*> statement = db.kept(sql);
  if (statement)
    statement_ = *statement;
  else
    failed_ = statement.error();
}

Run::Run(Database& db, const std::string& sql) : db_(db) {
  Result<Database::Statement> statement = db.prepare(sql, false);
  if (statement) {
    own_ = *std::move(statement);
    statement_ = own_.get();
  } else {
    failed_ = statement.error();
  }
}

Run::~Run() {
  if (statement_) sqlite3_reset(statement_);
}

Run& Run::at(int number) {
  next_ = number;
  return *this;
}

Run& Run::operator<<(std::int64_t value) {
  if (failed_) return *this;
  int code = sqlite3_bind_int64(statement_, next_++, value);
  if (code != SQLITE_OK) failed_ = db_.error(code, "binding").value();
  return *this;
}

Run& Run::operator<<(std::string_view value) {
  if (failed_) return *this;
  // A null pointer would be bound as NULL, and no column of ours admits that.
  const char* data = value.data() ? value.data() : "";
  int code = sqlite3_bind_text64(statement_, next_++, data, value.size(), SQLITE_STATIC, SQLITE_UTF8);
  if (code != SQLITE_OK) failed_ = db_.error(code, "binding").value();
  return *this;
}

Run& Run::blob(std::string_view octets) {
  if (failed_) return *this;
  const char* data = octets.data() ? octets.data() : "";
  int code = sqlite3_bind_blob64(statement_, next_++, data, octets.size(), SQLITE_STATIC);
  if (code != SQLITE_OK) failed_ = db_.error(code, "binding").value();
  return *this;
}

Run& Run::null() {
  if (failed_) return *this;
  int code = sqlite3_bind_null(statement_, next_++);
  if (code != SQLITE_OK) failed_ = db_.error(code, "binding").value();
  return *this;
}

Result<bool> Run::step() {
  if (failed_) return fail(*failed_);
  int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return db_.error(code, sqlite3_sql(statement_));
}

Result<> Run::done() {
  while (true) {
    Result<bool> row = step();
    if (!row) return fail(row.error());
    if (!*row) return {};
  }
}

std::int64_t Run::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string_view Run::text(int column) const {
  const unsigned char* data = sqlite3_column_text(statement_, column);
  auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
  return data ? std::string_view(reinterpret_cast<const char*>(data), size) : std::string_view();
}

std::string_view Run::octets(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
  return data ? std::string_view(static_cast<const char*>(data), size) : std::string_view();
}

bool Run::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

int Run::full_scan_steps() const {
  return sqlite3_stmt_status(statement_, SQLITE_STMTSTATUS_FULLSCAN_STEP, 0);
}
int Run::machine_steps() const {
  return sqlite3_stmt_status(statement_, SQLITE_STMTSTATUS_VM_STEP, 0);
}

void PageCopy::Finisher::operator()(sqlite3_backup* backup) const {
  sqlite3_backup_finish(backup);
}

PageCopy::PageCopy(sqlite3_backup* backup) : backup_(backup) {}
PageCopy::PageCopy(PageCopy&&) noexcept = default;
PageCopy::~PageCopy() = default;

Result<PageCopy> PageCopy::begin(Database& from, Database& to) {
  sqlite3_backup* backup = sqlite3_backup_init(to.db_.get(), "main", from.db_.get(), "main");
  if (!backup) return to.error(sqlite3_errcode(to.db_.get()), "copying");
  return PageCopy(backup);
}

Result<bool> PageCopy::step(int pages) {
  int code = sqlite3_backup_step(backup_.get(), pages);
  if (code == SQLITE_OK) return true;
  if (code == SQLITE_DONE) return false;
  return fail(errc_of(code),
              std::string("database: copying: ") + sqlite3_errstr(code) + " (" + std::to_string(code) + ")");
}

Result<> Transaction::begin() {
  Run run(db_, kBegin);
  return run.done();
}

Result<> Transaction::commit() {
  Run run(db_, kCommit);
  return run.done();
}

}  // namespace waypost::queue
