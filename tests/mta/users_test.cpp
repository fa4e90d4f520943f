#include "mta/users.h"

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "mta/password.h"
#include "mta/users_file.h"
#include "tests/support/temporary_folder.h"

namespace waypost::mta {
namespace {

// Of "secret": cheap ones.
const std::string kYescrypt = "$y$j75$saltsalt$0gBD67sgmJgRX3RZ6wHHO7sHimQEWGCWN85o4Twogh2";
const std::string kSha512 = "$6$rounds=1000$salt$";

std::string verifier(std::string_view password) {
  return scram::text(scram::make_verifier(password, "salt", 1));
}

std::string contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_SUITE("mta/users") {
  TEST_CASE("a file, line by line") {
    const ParsedUsers parsed =
        parse_users("# people\n\nann:" + kYescrypt + ":" + verifier("secret") + "\r\n  \nbob@b.example:" + kSha512 +
                        "\neve:*:" + verifier("x") + "\nold:!" + kSha512 + ":" + verifier("y") +
                        ":@c.example\nnone:*::ann@b.example,<>",
                    "users");
    CHECK(parsed.mistakes.empty());
    const Users& users = parsed.users;
    REQUIRE(users.all().size() == 5);
    CHECK(users.all().at("ann").hash == kYescrypt);
    CHECK(users.all().at("ann").has_scram());
    CHECK_FALSE(users.all().at("bob@b.example").has_scram());
    CHECK_FALSE(users.all().at("eve").has_hash());
    CHECK(users.all().at("eve").has_scram());
    CHECK(users.all().at("old").is_locked());
    CHECK_FALSE(users.all().at("old").has_scram());
    CHECK(users.all().at("old").senders == std::vector<std::string>{"@c.example"});
    CHECK(users.all().at("none").senders == std::vector<std::string>{"ann@b.example", "<>"});
    CHECK(parse_users(user_line("old", users.all().at("old")), "u").users.all().at("old") == users.all().at("old"));
    CHECK(user_line("none", users.all().at("none")) == "none:*::ann@b.example,<>");
    CHECK(users.has_scram());
    CHECK_FALSE(parse_users("bob:" + kSha512, "users").users.has_scram());
    CHECK(parse_users("", "users").users.all().empty());
  }

  TEST_CASE("mistakes have their line, and quote no hash") {
    struct {
      std::string line;
      std::string_view want;
    } const table[] = {
        {"ann", "no hash after the name"},
        {"ann:", "no hash after the name"},
        {":" + kSha512, "is no name"},
        {"an n:" + kSha512, "is no name"},
        {"ann:!x\r\r", "that no hash has"},
        {"ann:* ", "that no hash has"},
        {"ann:secret", "give the user a new password"},
        {"ann:$1$salt$qJH7.N4xYta3aEG/dfqo/0", "too weak"},
        {"ann:ab1XbLbQGFTmo", "give the user a new password"},
        {"ann:" + kSha512 + ":x", "no verifier"},
        {"ann:" + kSha512 + ":{SCRAM-SHA-256}4096,c2FsdA==", "a verifier has"},
        {"ann:" + kSha512 + "::a@b.example,", "is no sender"},
        {"ann:" + kSha512 + "::b.example", "is no sender"},
        {"ann:" + kSha512 + "::<>:x", "more fields"},
        {"first:" + kSha512, "stands in the file already"},
        {"\xFF:" + kSha512, "is no name"},
    };
    for (const auto& [line, want] : table) {
      CAPTURE(line);
      const ParsedUsers parsed = parse_users("first:*\n" + line + "\nlast:*\n", "/etc/users");
      REQUIRE(parsed.mistakes.size() == 1);
      CHECK(parsed.mistakes[0].starts_with("/etc/users:2: "));
      CHECK(parsed.mistakes[0].find(want) != std::string::npos);
      CHECK(parsed.mistakes[0].find('$') == std::string::npos);
      CHECK(parsed.mistakes[0].find("c2FsdA") == std::string::npos);
      CHECK(parsed.mistakes[0].find("secret") == std::string::npos);
      CHECK(parsed.users.all().contains("last"));
    }
  }

  TEST_CASE("an unknown login has a decoy: always the same one, of somebody's cost") {
    ParsedUsers parsed =
        parse_users("ann:" + kYescrypt + "\nbob:" + kSha512 + "\neve:*:" + verifier("x") + "\nnone:*\n", "u");
    std::set<std::string> hashes;
    for (int i = 0; i < 200; ++i) {
      const std::string login = "nobody" + std::to_string(i);
      const Users::Lookup found = parsed.users.find(login, "key");
      CHECK_FALSE(found.known);
      CHECK((found.credentials.has_hash() || found.credentials.has_scram()));
      CHECK(parsed.users.find(login, "key").credentials == found.credentials);
      hashes.insert(found.credentials.hash);
    }
    CHECK(hashes == std::set<std::string>{kYescrypt, kSha512, "*"});
    CHECK(parsed.users.find("ann", "key").known);
    CHECK_FALSE(parsed.users.find("none", "key").known);
    CHECK_FALSE(Users().find("ann", "key").known);
  }

  TEST_CASE("SCRAM with a login that has no verifier looks as with one that has") {
    const Users users = parse_users("ann:" + kSha512 + "\neve:*:" + verifier("x") + "\n", "u").users;
    const ScramLookup eve = users.find_scram("eve", "key");
    CHECK(eve.known);
    for (const char* login : {"ann", "nobody"}) {
      const ScramLookup found = users.find_scram(login, "key");
      CHECK_FALSE(found.known);
      CHECK(found.verifier.iterations == eve.verifier.iterations);
      CHECK(found.verifier.salt.size() == eve.verifier.salt.size());
      CHECK(found.verifier == users.find_scram(login, "key").verifier);
      CHECK(found.verifier.salt != users.find_scram(login, "another key").verifier.salt);
    }
    CHECK(users.find_scram("ann", "key").verifier.salt != users.find_scram("nobody", "key").verifier.salt);
  }

  TEST_CASE("which password is whose") {
    const Result<Credentials> made = make_credentials("secr\xC3\xA9t");
    REQUIRE(made.has_value());
    CHECK(made->hash.starts_with("$y$"));
    CHECK(matches(*made, "secr\xC3\xA9t"));
    CHECK_FALSE(matches(*made, "secret"));
    CHECK_FALSE(matches(*made, ""));
    CHECK(scram::matches(*made->scram, "secr\xC3\xA9t"));
    User ann;
    static_cast<Credentials&>(ann) = *made;
    CHECK(parse_users(user_line("ann", ann), "u").users.all().at("ann") == ann);

    Credentials verifier_alone;
    verifier_alone.hash = "*";
    verifier_alone.scram = scram::make_verifier("secret", "salt", 2);
    CHECK(matches(verifier_alone, "secret"));
    CHECK_FALSE(matches(verifier_alone, "Secret"));
    Credentials locked = *made;
    locked.hash = "!" + locked.hash;
    CHECK_FALSE(matches(locked, "secr\xC3\xA9t"));
    CHECK_FALSE(matches(Credentials(), ""));

    // What others made of "secret".
    for (const char* hash :
         {"$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1",
          "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
          "$5$rounds=1000$saltsalt$eKLZU9t9OoPWrqOQsoTIKG0aYkZ5rGOoOQhiIvoSWX2",
          "$y$j75$saltsalt$0gBD67sgmJgRX3RZ6wHHO7sHimQEWGCWN85o4Twogh2"}) {
      CAPTURE(hash);
      Credentials other;
      other.hash = hash;
      CHECK(matches(other, "secret"));
      CHECK_FALSE(matches(other, "Secret"));
      other.hash.pop_back();
      CHECK_FALSE(matches(other, "secret"));
    }
    for (std::string_view bad : {"", "a\nb", "a\x01", "\xFF"}) CHECK_FALSE(make_credentials(bad).has_value());
    CHECK_FALSE(make_credentials(std::string(256, 'x')).has_value());
  }

  TEST_CASE("a line is put, replaced and taken away, and all else stays") {
    User none;
    none.hash = "*";
    const std::string text = "# people\nann:" + kSha512 + "\n\n#ann: no\nbob:*";
    CHECK(with_user(text, "eve", none) == text + "\neve:*\n");
    CHECK(with_user(text, "ann", none) == "# people\nann:*\n\n#ann: no\nbob:*\n");
    CHECK(with_user(text, "ann", std::nullopt) == "# people\n\n#ann: no\nbob:*\n");
    CHECK(with_user(text, "bob", none) == text + "\n");
    CHECK(with_user("", "ann", none) == "ann:*\n");
    CHECK(with_user("ann:*\n", "ann", std::nullopt).empty());
  }

  TEST_CASE("the file is replaced whole, its mode stays, and an error leaves it") {
    tests::TemporaryFolder folder;
    const std::string path = folder.path() + "/users";
    CHECK(read_users(path).error().code == Errc::not_found);
    CHECK(file_stamp(path).error().code == Errc::not_found);
    const auto put = [](std::string text) { return [text](std::string_view) -> Result<std::string> { return text; }; };
    REQUIRE(change_users(path, std::nullopt, put("ann:*\n")).has_value());
    struct stat file {};
    REQUIRE(::stat(path.c_str(), &file) == 0);
    CHECK((file.st_mode & 0777) == 0640);
    const Result<FileStamp> before = file_stamp(path);
    REQUIRE(::chmod(path.c_str(), 0600) == 0);
    std::filesystem::create_symlink("users", folder.path() + "/link");
    std::string seen;
    const auto edit = [&](std::string_view text) -> Result<std::string> {
      seen = text;
      return "bob:*\n";
    };
    REQUIRE(change_users(folder.path() + "/link", std::nullopt, edit).has_value());
    CHECK(seen == "ann:*\n");
    CHECK(contents(path) == "bob:*\n");
    CHECK(std::filesystem::is_symlink(folder.path() + "/link"));
    REQUIRE(::stat(path.c_str(), &file) == 0);
    CHECK((file.st_mode & 0777) == 0600);
    CHECK(*file_stamp(path) != *before);
    CHECK(read_users(path)->stamp == *file_stamp(path));

    const auto refuse = [](std::string_view) -> Result<std::string> { return fail(Errc::exists, "no"); };
    CHECK(change_users(path, std::nullopt, refuse).error().code == Errc::exists);
    CHECK(contents(path) == "bob:*\n");
    CHECK(change_users(folder.path() + "/none/users", std::nullopt, put("")).error().code == Errc::not_found);
    CHECK(read_users(folder.path()).error().code == Errc::io);
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 2);
  }

  TEST_CASE("rows of a table: each field is one, whatever is in it") {
    const ParsedUsers parsed = parse_users({{"ann", kYescrypt, verifier("secret"), "@c.example"},
                                            {"eve", "", verifier("x"), ""},
                                            {"old", "!" + kSha512, "", ""}},
                                           "users.db");
    CHECK(parsed.mistakes.empty());
    REQUIRE(parsed.users.all().size() == 3);
    CHECK(parsed.users.all().at("ann").senders == std::vector<std::string>{"@c.example"});
    CHECK(parsed.users.all().at("eve").hash == "*");
    CHECK(parsed.users.all().at("eve").has_scram());
    CHECK(parsed.users.all().at("old").is_locked());
    struct {
      std::vector<std::string> row;
      std::string_view want;
    } const table[] = {
        {{"", "*", "", ""}, "users.db: \"\" is no name"},
        {{"a b", "*", "", ""}, "users.db: \"a b\" is no name"},
        {{"ann\nbob", "*", "", ""}, "users.db: \"ann\\nbob\" is no name"},
        {{"ann", "secret", "", ""}, "users.db: the user ann: the hash is of a method"},
        {{"ann", "*:" + verifier("x"), "", ""}, "users.db: the user ann: "},
        {{"ann", "*", "secret", ""}, "users.db: the user ann: "},
        {{"ann", "*", "", "a b"}, "users.db: the user ann: "},
    };
    for (const auto& [row, want] : table) {
      CAPTURE(want);
      const ParsedUsers wrong = parse_users({row}, "users.db");
      REQUIRE(wrong.mistakes.size() == 1);
      CHECK(wrong.mistakes[0].starts_with(want));
      CHECK((row[1] == "*" || wrong.mistakes[0].find(row[1]) == std::string::npos));
    }
    CHECK(parse_users({{"ann", "", "", ""}, {"ann", "*", "", ""}}, "u").mistakes ==
          std::vector<std::string>{"u: the user ann: stands in the table twice"});
  }
}

}  // namespace
}  // namespace waypost::mta
