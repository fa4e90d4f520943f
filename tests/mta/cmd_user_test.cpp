#include "mta/cmd_user.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "mta/scram.h"
#include "mta/users.h"
#include "mta/users_file.h"
#include "tests/support/sqlite_file.h"
#include "tests/support/temporary_folder.h"

namespace waypost::mta {
namespace {

struct Terminal {
  tests::TemporaryFolder folder;
  std::ostringstream out, err;
  Result<std::string> secret = std::string("secret");
  int asked = 0;
  Console console{out,
                  err,
                  [this] { return folder.path() + "/waypost.toml"; },
                  [](const ControlRequest&) -> Result<ControlAnswer> { return fail(Errc::refused, "no daemon"); },
                  [] { return net::WallTime(); },
                  [] { return Result<std::string>(std::string()); }};

  Terminal() { configure("[auth]\nusers = \"" + users() + "\"\n"); }
  std::string users() const { return folder.path() + "/users"; }
  void configure(const std::string& text) const { std::ofstream(folder.path() + "/waypost.toml") << text; }
  void write(const std::string& text) const { std::ofstream(users()) << text; }
  std::string file() const {
    const Result<UsersText> read = read_users(users());
    return read ? read->text : "";
  }

  int run(std::vector<std::string> arguments) {
    CLI::App app("test", "waypost");
    app.require_subcommand(1);
    add_user(app, console, [this](const std::string&, bool) {
      ++asked;
      return secret;
    });
    out.str("");
    err.str("");
    console.exit_code = 0;
    arguments.insert(arguments.begin(), "user");
    std::reverse(arguments.begin(), arguments.end());
    try {
      app.parse(std::move(arguments));
    } catch (const CLI::ParseError& error) {
      return error.get_exit_code() == 0 ? 0 : 64;
    }
    return console.exit_code;
  }
};

TEST_SUITE("mta/cmd_user") {
  TEST_CASE("a user's life: add, check, another password, delete") {
    Terminal t;
    CHECK(t.run({"list"}) == 66);
    CHECK(t.run({"add", "ann"}) == 0);
    const std::string first = t.file();
    CHECK(first.starts_with("ann:$y$"));
    CHECK(first.find(":{SCRAM-SHA-256}") != std::string::npos);
    CHECK(first.find("secret") == std::string::npos);
    CHECK(t.run({"add", "ann"}) == 73);
    CHECK(t.err.str() == "waypost: there is a user ann already\n");
    CHECK(t.file() == first);

    CHECK(t.run({"check", "ann"}) == 0);
    t.secret = std::string("wrong");
    CHECK(t.run({"check", "ann"}) == 1);
    CHECK(t.run({"password", "ann"}) == 0);
    CHECK(t.file() != first);
    CHECK(t.run({"check", "ann"}) == 0);
    CHECK(t.run({"check", "bob"}) == 67);
    CHECK(t.run({"password", "bob"}) == 67);
    CHECK(t.run({"lock", "ann"}) == 0);
    CHECK(t.out.str() ==
          "locked ann; its sessions end within seconds. Mail of it that waits: "
          "waypost queue hold user:ann\n");
    const std::string locked = t.file();
    CHECK(t.run({"lock", "ann"}) == 0);
    CHECK(t.file() == locked);
    CHECK(t.run({"check", "ann"}) == 1);
    CHECK(t.run({"unlock", "ann"}) == 0);
    CHECK(t.run({"check", "ann"}) == 0);
    CHECK(t.run({"lock", "bob"}) == 67);
    CHECK(t.run({"delete", "bob"}) == 67);
    CHECK(t.run({"delete", "ann"}) == 0);
    CHECK(t.file().empty());
  }

  TEST_CASE("list: how each password is kept") {
    Terminal t;
    const std::string verifier = scram::text(scram::make_verifier("x", "salt", 1));
    t.write("# people\nann:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\nbob:*:" + verifier +
            "\neve:!$5$rounds=1000$saltsalt$eKLZU9t9OoPWrqOQsoTIKG0aYkZ5rGOoOQhiIvoSWX2\nnone:*\n");
    CHECK(t.run({"list"}) == 0);
    CHECK(t.out.str() ==
          "USER  PASSWORD       SENDERS\nann   bcrypt         -\nbob   SCRAM-SHA-256  -\neve   locked         -\n"
          "none  no password    -\n");
    CHECK(t.run({"list", "--json"}) == 0);
    CHECK(t.out.str().starts_with(
        "{\"schema\":1,\"name\":\"ann\",\"hash\":\"bcrypt\",\"scram\":false,\"locked\":false,\"senders\":[]}\n"));
    CHECK(t.out.str().find("salt") == std::string::npos);
  }

  TEST_CASE("senders are set, stay with another password, and are listed") {
    Terminal t;
    CHECK(t.run({"senders", "ann", "*"}) == 67);
    t.write("ann:*\n");
    CHECK(t.run({"senders", "ann", "ann@b.example", "@c.example", "<>"}) == 0);
    CHECK(t.file() == "ann:*::ann@b.example,@c.example,<>\n");
    CHECK(t.run({"list"}) == 0);
    CHECK(t.out.str() == "USER  PASSWORD     SENDERS\nann   no password  ann@b.example @c.example <>\n");
    CHECK(t.run({"password", "ann"}) == 0);
    CHECK(t.file().ends_with(":ann@b.example,@c.example,<>\n"));
    CHECK(t.run({"senders", "ann", "b.example"}) == 64);
    CHECK(t.run({"senders", "bob"}) == 67);
    CHECK(t.run({"senders", "ann"}) == 0);
    CHECK(t.file().find("example") == std::string::npos);
  }

  TEST_CASE("what cannot be: a reason, a code, and the file as it was") {
    Terminal t;
    CHECK(t.run({"add", "an n"}) == 64);
    CHECK(t.run({"add", "a:b"}) == 64);
    CHECK(t.run({"add", "#a"}) == 64);
    CHECK(t.run({"add"}) == 64);
    CHECK(t.asked == 0);
    for (const char* bad : {"", "a\tb"}) {
      t.secret = std::string(bad);
      CHECK(t.run({"add", "ann"}) == 65);
    }
    t.secret = fail(Errc::closed, "no password came");
    CHECK(t.run({"add", "ann"}) == 65);
    t.secret = fail(Errc::io, "reading");
    CHECK(t.run({"add", "ann"}) == 74);
    CHECK(t.file().empty());

    t.secret = std::string("secret");
    t.write("ann:*\nmistake\n");
    CHECK(t.run({"list"}) == 78);
    CHECK(t.err.str().find("users:2: ") != std::string::npos);
    CHECK(t.run({"add", "bob"}) == 78);
    CHECK(t.run({"delete", "ann"}) == 78);
    CHECK(t.file() == "ann:*\nmistake\n");

    t.configure("[auth]\n");
    CHECK(t.run({"add", "bob"}) == 78);
    CAPTURE(t.err.str());
    CHECK(t.err.str().find("auth.users names no file") != std::string::npos);
    t.configure("[auth]\nusers = \"/no/such/folder/users\"\n");
    CHECK(t.run({"add", "bob"}) == 66);
  }

  TEST_CASE("a table of users is read, and changed elsewhere; so are Dovecot's") {
    Terminal t;
    const std::string path = t.users() + ".db";
    const tests::SqliteFile other(path);
    other.run(
        "CREATE TABLE users(name TEXT, password TEXT, scram TEXT, senders TEXT);"
        "INSERT INTO users VALUES('ann', NULL, '" +
        scram::text(scram::make_verifier("secret", "salt", 1)) + "', 'ann@b.example')");
    t.configure("[auth]\nusers = \"sqlite:" + path + "\"\n");
    CHECK(t.run({"list"}) == 0);
    CHECK(t.out.str() == "USER  PASSWORD       SENDERS\nann   SCRAM-SHA-256  ann@b.example\n");
    CHECK(t.run({"check", "ann"}) == 0);
    CHECK(t.asked == 1);
    for (const char* verb : {"add", "password", "delete", "lock", "unlock", "senders"}) {
      CAPTURE(verb);
      CHECK(t.run({verb, "bob"}) == 78);
      CHECK(t.err.str().find("auth.users is the table users of " + path + ": change it by sqlite3(1)") !=
            std::string::npos);
    }
    other.run("INSERT INTO users VALUES('eve', 'secret', '', '')");
    CHECK(t.run({"list"}) == 78);
    CHECK(t.err.str().find("the user eve: the hash is of a method") != std::string::npos);
    other.run("DROP TABLE users");
    CHECK(t.run({"list"}) == 65);
    CHECK(t.err.str().find("no such table: users") != std::string::npos);

    t.configure("[auth]\ndovecot = \"/run/dovecot/auth-client\"\n");
    for (const char* verb : {"add", "password", "delete", "lock", "unlock", "check", "senders"}) {
      CAPTURE(verb);
      CHECK(t.run({verb, "bob"}) == 78);
      CHECK(t.err.str().find("by auth.dovecot") != std::string::npos);
    }
    CHECK(t.asked == 1);
  }
}

}  // namespace
}  // namespace waypost::mta
