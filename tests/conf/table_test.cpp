#include "conf/table.h"

#include <chrono>
#include <fstream>
#include <string>

#include <doctest/doctest.h>

#include "conf/load.h"
#include "tests/support/sqlite_file.h"
#include "tests/support/temporary_folder.h"

namespace waypost::conf {
namespace {

using namespace std::chrono_literals;
using tests::SqliteFile;

struct Tables {
  tests::TemporaryFolder folder;
  std::string path = folder.path() + "/mail.db";
  SqliteFile db{path};
  Tables() {
    db.run(
        "CREATE TABLE recipients(name TEXT, domain TEXT); CREATE TABLE aliases(name TEXT, domain TEXT, target TEXT);"
        "CREATE TABLE relocated(name TEXT, domain TEXT, target TEXT);"
        "CREATE TABLE users(name TEXT, password TEXT, scram TEXT, senders TEXT)");
  }
  /// A domain whose names all stand in tables.
  Loaded load_names(const std::string& more = "") const {
    return load_text("hostname = \"relay.example.net\"\n[[listener]]\naddress = \"127.0.0.1:25\"\n" + more +
                         "[[domain]]\nname = \"A.example\"\ndeliver = \"maildir:/m\"\nrecipients = \"sqlite:" + path +
                         "\"\naliases = \"sqlite:" + path + "\"\nrelocated = [\"sqlite:" + path + "\"]\n",
                     "t.toml");
  }
};

std::string texts(const std::vector<Finding>& findings) {
  std::string out;
  for (const Finding& finding : findings) out += finding.text() + "\n";
  return out;
}

std::string shown(const Aliases& aliases) {
  std::string out;
  for (const auto& [local, targets] : aliases) {
    out += local + ":";
    for (const AliasTarget& target : targets) out += (target.final ? " \\" : " ") + target.address;
    out += "\n";
  }
  return out;
}

TEST_SUITE("conf/table") {
  TEST_CASE("a domain's rows become what files of theirs would") {
    const Tables t;
    t.db.run(
        "INSERT INTO recipients VALUES('Info','a.example'),('sales','A.EXAMPLE'),('info','a.example'),"
        "('other','b.example')");
    t.db.run(
        "INSERT INTO aliases VALUES('Staff','a.example','ann, carl@B.example'),('staff','a.example','eve'),"
        "('staff','a.example','ann'),('@','a.example','info'),('root','a.example','\\root'),"
        "('a b','a.example','info'),('staff','b.example','nobody')");
    t.db.run("INSERT INTO relocated VALUES('old','a.example','new@c.example'),('old','b.example','x@c.example')");
    const Loaded loaded = t.load_names();
    // "a b" is no local part: the row is wrong, and is told by its name.
    REQUIRE(loaded.errors.size() == 1);
    CHECK(loaded.errors[0].text().starts_with("sqlite:" + t.path + ": domain[1].aliases: \"a b\""));
    const Domain& domain = loaded.config.domains.at(0);
    CHECK(domain.recipients == std::vector<std::string>{"info", "sales"});
    CHECK(shown(domain.aliases) ==
          "@: info@a.example\nroot: \\root@a.example\nstaff: ann@a.example carl@b.example eve@a.example\n");
    CHECK(domain.relocated == std::map<std::string, std::string>{{"old", "new@c.example"}});
    t.db.run("DELETE FROM aliases WHERE name = 'a b'");
    CHECK(texts(t.load_names().errors).empty());
  }

  TEST_CASE("sorting needs no temporary file") {
    const Tables t;
    Result<Database> db = Database::open(t.path, 0ms, 10s);
    REQUIRE(db);
    const Result<std::vector<TableRow>> store = db->rows("PRAGMA temp_store");
    REQUIRE(store);
    CHECK(*store == std::vector<TableRow>{{"2"}});  // memory
  }

  TEST_CASE("a view serves as a table") {
    const Tables t;
    t.db.run(
        "DROP TABLE recipients; CREATE TABLE people(address TEXT); INSERT INTO people VALUES('ann@a.example');"
        "CREATE VIEW recipients AS SELECT substr(address, 1, instr(address, '@') - 1) AS name,"
        " substr(address, instr(address, '@') + 1) AS domain FROM people");
    const Loaded loaded = t.load_names();
    CHECK(texts(loaded.errors).empty());
    CHECK(loaded.config.domains.at(0).recipients == std::vector<std::string>{"ann"});
  }

  TEST_CASE("what is wrong with a row is told by its name") {
    struct {
      const char* row;
      const char* what;
    } const table[] = {
        {"INSERT INTO aliases VALUES('robot','a.example','|robot')",
         "domain[1].aliases: \"robot\": \"|robot\" is a program"},
        {"INSERT INTO aliases VALUES('robot','a.example','/var/robot')", "\"robot\": \"/var/robot\" is a file"},
        {"INSERT INTO aliases VALUES('robot','a.example','')", "\"robot\" has no target"},
        {"INSERT INTO aliases VALUES('robot','a.example',NULL)", "\"robot\" has no target"},
        {"INSERT INTO aliases VALUES('robot@c.example','a.example','x')", "is no address at a.example"},
        {"INSERT INTO aliases VALUES('a','a.example','b'),('b','a.example','a')", "go round"},
        {"INSERT INTO relocated VALUES('x','a.example','a@b.example,c@b.example')",
         "\"x\" has not moved to one address"},
        {"INSERT INTO recipients VALUES('ann@a.example','a.example')", "domain[1].recipients: \"ann@a.example\""},
        {"INSERT INTO recipients VALUES(NULL,'a.example')", "domain[1].recipients: \"\""},
        {"INSERT INTO aliases VALUES('ann' || char(10) || 'bob','a.example','x')", "domain[1].aliases: \"ann\\nbob\""},
    };
    for (const auto& [row, what] : table) {
      CAPTURE(row);
      const Tables t;
      t.db.run(row);
      const Loaded loaded = t.load_names();
      CAPTURE(texts(loaded.errors));
      CHECK(loaded.errors.size() == 1);
      CHECK(texts(loaded.errors).find(what) != std::string::npos);
    }
  }

  TEST_CASE("a database that cannot be read is an error with advice, of the users a warning") {
    struct {
      const char* what;
      void (*damage)(const Tables& t);
      const char* want;
    } const table[] = {
        {"no table", [](const Tables& t) { t.db.run("DROP TABLE aliases"); },
         "no such table: aliases (it needs a table or view aliases(name, target, domain))"},
        {"no column", [](const Tables& t) { t.db.run("ALTER TABLE recipients RENAME COLUMN name TO local"); },
         "no such column: name (it needs a table or view recipients(name, domain))"},
        {"locked", [](const Tables& t) { t.db.run("BEGIN EXCLUSIVE"); },
         "database is locked (another program holds it locked: let that end, and try again)"},
        {"no database", [](const Tables& t) { std::ofstream(t.path) << std::string(8192, 'x'); },
         "file is not a database (see what sqlite3 says of it: PRAGMA integrity_check)"},
        {"gone", [](const Tables& t) { std::remove(t.path.c_str()); },
         "No such file or directory (make it by sqlite3)"},
    };
    for (const auto& [what, damage, want] : table) {
      CAPTURE(what);
      const Tables t;
      damage(t);
      const Loaded loaded = t.load_names();
      CAPTURE(texts(loaded.errors));
      REQUIRE_FALSE(loaded.errors.empty());
      CHECK(texts(loaded.errors).find("\"sqlite:" + t.path + "\" cannot be read: " + want) != std::string::npos);
      CHECK(loaded.errors.front().line > 0);
    }
    const Tables t;
    t.db.run("DROP TABLE users");
    const Loaded loaded = t.load_names("[auth]\nusers = \"sqlite:" + t.path + "\"\n");
    CHECK(texts(loaded.errors).empty());
    CHECK(texts(loaded.warnings)
              .find("t.toml:5:9: auth.users: \"sqlite:" + t.path +
                    "\" cannot be read, nobody could log in: no such table: users (it needs a table or view "
                    "users(name, password, scram, senders))") != std::string::npos);
  }

  TEST_CASE("the path behind sqlite: is absolute") {
    for (const char* key : {"recipients", "aliases", "relocated"}) {
      const Loaded loaded = load_text(
          "hostname = \"r.example\"\n[[listener]]\naddress = \"127.0.0.1:25\"\n[[domain]]\n"
          "name = \"a.example\"\ndeliver = \"maildir:/m\"\n" +
              std::string(key) + " = \"sqlite:mail.db\"\n",
          "t.toml");
      CHECK(texts(loaded.errors).find("not an absolute path") != std::string::npos);
    }
    const Loaded loaded = load_text(
        "hostname = \"r.example\"\n[[listener]]\naddress = \"127.0.0.1:25\"\n[auth]\nusers = \"sqlite:u\"", "t");
    CHECK(texts(loaded.errors).find("auth.users: \"u\" is not an absolute path") != std::string::npos);
  }

  TEST_CASE("nothing is written, and a change is another version") {
    const Tables t;
    for (const char* mode : {"DELETE", "WAL"}) {
      CAPTURE(mode);
      t.db.run("PRAGMA journal_mode = " + std::string(mode));
      Result<Database> database = Database::open(t.path, 10ms, 10s);
      REQUIRE(database);
      const Result<std::int64_t> before = database->version();
      REQUIRE(before);
      CHECK(*database->version() == *before);
      t.db.run("INSERT INTO users VALUES('ann','*','','')");
      CHECK(*database->version() != *before);
      CHECK_FALSE(database->rows("DELETE FROM users"));
      CHECK_FALSE(database->rows("ATTACH '/tmp/x.db' AS x"));
      CHECK(database->rows(kUsersQuery)->size() == 1);
      t.db.run("DELETE FROM users");
    }
  }

  TEST_CASE("a view that computes without end is broken off, and the others are read as before") {
    const Tables t;
    t.db.run(
        "DROP TABLE users; CREATE VIEW users AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
        " SELECT i AS name, '*' AS password, '' AS scram, '' AS senders FROM n WHERE i < 0;"
        "INSERT INTO recipients VALUES('ann','a.example')");
    Result<Database> database = Database::open(t.path, 10ms, 50ms);
    REQUIRE(database);
    const Result<std::vector<TableRow>> rows = database->rows(kUsersQuery);
    REQUIRE_FALSE(rows);
    CHECK(rows.error().code == Errc::timed_out);
    CHECK(rows.error().what == "it computes for too long");
    CHECK(advice(rows.error().code, kUsersQuery) == "a view that has no end, or a table that lacks an index");
    CHECK(database->rows(kRecipientsQuery, "a.example") == std::vector<TableRow>{{"ann"}});
  }

  TEST_CASE("a table that is too large is not taken") {
    const Tables t;
    t.db.run(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 65)"
        " INSERT INTO recipients SELECT hex(zeroblob(524288)), 'a.example' FROM n");
    Result<Database> database = Database::open(t.path, 10ms, 10s);
    REQUIRE(database);
    CHECK(database->rows(kRecipientsQuery, "b.example")->empty());
    CHECK(database->rows(kRecipientsQuery, "a.example").error().code == Errc::too_big);
  }
}

}  // namespace
}  // namespace waypost::conf
