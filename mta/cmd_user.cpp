#include "mta/cmd_user.h"

#include <memory>
#include <optional>
#include <utility>

#include <pwd.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/escape.h"
#include "base/text.h"
#include "conf/load.h"
#include "conf/table.h"
#include "mta/output.h"
#include "mta/password.h"
#include "mta/users.h"
#include "mta/users_file.h"
#include "mta/users_table.h"
#include "smtp/sender_rule.h"

namespace waypost::mta {
namespace {

int exit_of(Errc code) {
  switch (code) {
    case Errc::denied:
      return EX_NOPERM;
    case Errc::not_found:
      return EX_NOINPUT;
    case Errc::full:
      return EX_TEMPFAIL;
    case Errc::internal:
      return EX_SOFTWARE;
    case Errc::closed:
    case Errc::invalid:
    case Errc::too_big:
      return EX_DATAERR;
    default:
      return EX_IOERR;
  }
}

int give_up(Console& console, const Error& error) {
  console.give_up(exit_of(error.code), error.what);
  return console.exit_code;
}

int no_such_user(Console& console, const std::string& name) {
  console.give_up(EX_NOUSER, "there is no user " + name);
  return console.exit_code;
}

struct Place {
  std::string path;
  std::optional<gid_t> group;  ///< the daemon's, for a new file
};

/// nullopt: said, and the exit code is set.
std::optional<Place> find_place(Console& console) {
  const std::string file = console.config_file();
  const conf::Loaded loaded = conf::load(file);
  Place place;
  place.path = loaded.config.auth.users;
  if (!loaded.config.auth.dovecot.empty()) {
    console.give_up(EX_CONFIG, file + ": Dovecot knows who may log in, by auth.dovecot: doveadm(1) is its tool");
    return std::nullopt;
  }
  if (place.path.empty()) {
    const bool unreadable =
        !loaded.errors.empty() && loaded.errors.front().line == 0 && loaded.errors.front().key.empty();
    console.give_up(EX_CONFIG, unreadable ? loaded.errors.front().text() : file + ": auth.users names no file");
    return std::nullopt;
  }
  if (geteuid() == 0 && !loaded.config.user.empty()) {
    const passwd* account = getpwnam(loaded.config.user.c_str());  // this program has one thread
    if (account != nullptr) place.group = account->pw_gid;
  }
  return place;
}

/// nullopt: as find_place(); also where the place is no file.
std::optional<Place> find_file(Console& console) {
  std::optional<Place> place = find_place(console);
  if (!place) return std::nullopt;
  const std::optional<std::string> database = conf::database_path(place->path);
  if (!database) return place;
  console.give_up(EX_CONFIG, "auth.users is the table users of " + *database + ": change it by sqlite3(1)");
  return std::nullopt;
}

/// nullopt: as find_place().
std::optional<Users> whole(ParsedUsers parsed, const std::string& path, Console& console) {
  if (parsed.mistakes.empty()) return std::move(parsed.users);
  for (const std::string& mistake : parsed.mistakes) console.err << "error: " << mistake << "\n";
  console.give_up(EX_CONFIG, path + " has mistakes, and the daemon does not take it");
  return std::nullopt;
}

std::optional<Users> read_all(Console& console) {
  const std::optional<Place> place = find_place(console);
  if (!place) return std::nullopt;
  if (const std::optional<std::string> database = conf::database_path(place->path)) {
    Result<std::optional<ParsedUsers>> table = UsersTable(*database).read_if_changed();
    if (table) return whole(**std::move(table), *database, console);
    give_up(console, table.error());
    return std::nullopt;
  }
  const Result<UsersText> read = read_users(place->path);
  if (!read) {
    give_up(console, read.error());
    return std::nullopt;
  }
  return whole(parse_users(read->text, place->path), place->path, console);
}

/// What becomes of a user; nullopt: nothing.
using Change = std::function<std::optional<User>(User before)>;

/// Writes the user's line, or takes it away; `wanted`: must the user be there before?
int change(const std::string& name, bool wanted, const Change& to, Console& console) {
  const std::optional<Place> place = find_file(console);
  if (!place) return console.exit_code;
  console.exit_code = 0;
  const auto edit = [&](std::string_view text) -> Result<std::string> {
    const std::optional<Users> users = whole(parse_users(text, place->path), place->path, console);
    if (!users) return fail(Errc::invalid, "");
    const auto found = users->all().find(name);
    const bool exists = found != users->all().end();
    if (exists && !wanted) console.give_up(EX_CANTCREAT, "there is a user " + name + " already");
    if (!exists && wanted) no_such_user(console, name);
    if (exists != wanted) return fail(Errc::invalid, "");
    return with_user(text, name, to(exists ? found->second : User()));
  };
  const Result<> changed = change_users(place->path, place->group, edit);
  if (!changed && console.exit_code == 0) return give_up(console, changed.error());
  return console.exit_code;
}

/// The name, and where it would stand, are looked at before anyone has to think of a password.
int set_password(const std::string& name, bool wanted, const AskSecret& ask, Console& console) {
  const Result<> good = check_user_name(name);
  if (!good) {
    console.give_up(EX_USAGE, good.error().what);
    return console.exit_code;
  }
  if (!find_file(console)) return console.exit_code;
  const Result<std::string> password = ask("New password for " + escape(name), true);
  if (!password) return give_up(console, password.error());
  const Result<Credentials> credentials = make_credentials(*password);
  if (!credentials) return give_up(console, credentials.error());
  const auto to = [&](User user) {
    static_cast<Credentials&>(user) = *credentials;
    return std::optional<User>(std::move(user));
  };
  return change(name, wanted, to, console);
}

constexpr const char* kSessionsEnd = "; its sessions end within seconds";

std::string mail_of(const std::string& name) {
  return ". Mail of it that waits: waypost queue hold user:" + escape(name);
}

std::string method(const std::string& hash) {
  if (hash.starts_with("$y$")) return "yescrypt";
  if (hash.starts_with("$gy$")) return "gost-yescrypt";
  if (hash.starts_with("$7$")) return "scrypt";
  if (hash.starts_with("$6$")) return "sha512crypt";
  if (hash.starts_with("$5$")) return "sha256crypt";
  if (hash.starts_with("$2")) return "bcrypt";
  return hash.starts_with('$') ? "crypt" : "";
}

}  // namespace

int user_add(const std::string& name, const AskSecret& ask, Console& console) {
  if (set_password(name, false, ask, console) == 0) console.out << "added " << escape(name) << "\n";
  return console.exit_code;
}

int user_password(const std::string& name, const AskSecret& ask, Console& console) {
  if (set_password(name, true, ask, console) == 0)
    console.out << "changed the password of " << escape(name) << kSessionsEnd << "\n";
  return console.exit_code;
}

int user_delete(const std::string& name, Console& console) {
  const auto to = [](const User&) { return std::optional<User>(); };
  if (change(name, true, to, console) == 0)
    console.out << "deleted " << escape(name) << kSessionsEnd << mail_of(name) << "\n";
  return console.exit_code;
}

int user_lock(const std::string& name, Console& console) {
  const auto to = [](User user) {
    if (!user.is_locked()) user.hash = "!" + user.hash;
    return std::optional<User>(std::move(user));
  };
  if (change(name, true, to, console) == 0)
    console.out << "locked " << escape(name) << kSessionsEnd << mail_of(name) << "\n";
  return console.exit_code;
}

int user_unlock(const std::string& name, Console& console) {
  const auto to = [](User user) {
    if (user.is_locked()) user.hash.erase(0, 1);
    if (user.hash.empty()) user.hash = "*";
    return std::optional<User>(std::move(user));
  };
  if (change(name, true, to, console) == 0) console.out << "unlocked " << escape(name) << "\n";
  return console.exit_code;
}

int user_senders(const std::string& name, const std::vector<std::string>& senders, Console& console) {
  for (const std::string& rule : senders) {
    const Result<> good = smtp::check_sender_rule(rule);
    if (good) continue;
    console.give_up(EX_USAGE, good.error().what);
    return console.exit_code;
  }
  const auto to = [&](User user) {
    user.senders = senders;
    return std::optional<User>(std::move(user));
  };
  if (change(name, true, to, console) == 0)
    console.out << "senders of " << escape(name) << ": the name" << (senders.empty() ? " alone" : ", ")
                << escape(join(senders, " ")) << "\n";
  return console.exit_code;
}

int user_list(bool json, Console& console) {
  const std::optional<Users> users = read_all(console);
  if (!users) return console.exit_code;
  Table table;
  for (const auto& [name, user] : users->all()) {
    const std::string hash = user.has_hash() ? method(user.hash) : "";
    if (json) {
      Json line;
      line["name"] = name;
      line["hash"] = hash;
      line["scram"] = user.scram.has_value();
      line["locked"] = user.is_locked();
      line["senders"] = user.senders;
      console.print(line);
      continue;
    }
    std::string by = hash;
    if (user.has_scram()) by += (by.empty() ? "" : ", ") + std::string("SCRAM-SHA-256");
    if (by.empty()) by = user.is_locked() ? "locked" : "no password";
    if (table.empty()) table.add({"USER", "PASSWORD", "SENDERS"});
    table.add({escape(name), by, user.senders.empty() ? "-" : escape(join(user.senders, " "))});
  }
  console.out << table.text();
  return 0;
}

int user_check(const std::string& name, const AskSecret& ask, Console& console) {
  const std::optional<Users> users = read_all(console);
  if (!users) return console.exit_code;
  const auto found = users->all().find(name);
  if (found == users->all().end()) return no_such_user(console, name);
  const Result<std::string> password = ask("Password of " + escape(name), false);
  if (!password) return give_up(console, password.error());
  const bool good = matches(found->second, *password);
  const bool proves = found->second.has_scram() && scram::matches(*found->second.scram, *password);
  if (good && found->second.has_scram() && !proves) {
    console.give_up(1, "the password is that of the hash, and not of the verifier: set it anew");
    return console.exit_code;
  }
  console.out << (good ? "the password is right\n" : "the password is wrong\n");
  return good ? 0 : 1;
}

void add_user(CLI::App& app, Console& console, AskSecret ask) {
  CLI::App* user = app.add_subcommand("user", "Who may log in: the file that auth.users names");
  user->require_subcommand(1);
  user->footer("Example: waypost user add ann");

  const auto verb = [&](const char* name, const char* help, const char* example,
                        const std::function<int(const std::string&)>& run) {
    auto given = std::make_shared<std::string>();
    CLI::App* sub = user->add_subcommand(name, help);
    sub->add_option("name", *given, "As the client says it")->type_name("NAME")->required();
    sub->footer(example);
    sub->callback([given, run, &console] { console.exit_code = run(*given); });
  };
  verb("add", "A new user; the password comes from the terminal, or is the first line of standard input",
       "Example: waypost user add ann",
       [ask, &console](const std::string& name) { return user_add(name, ask, console); });
  verb("password", "Another password for a user", "Example: waypost user password ann",
       [ask, &console](const std::string& name) { return user_password(name, ask, console); });
  verb("delete", "The user can log in no more", "Example: waypost user delete ann",
       [&console](const std::string& name) { return user_delete(name, console); });
  verb("lock", "The user cannot log in until it is unlocked; the password stays", "Example: waypost user lock ann",
       [&console](const std::string& name) { return user_lock(name, console); });
  verb("unlock", "The user can log in again, as before", "Example: waypost user unlock ann",
       [&console](const std::string& name) { return user_unlock(name, console); });
  verb("check", "Is a password the user's?", "Example: waypost user check ann",
       [ask, &console](const std::string& name) { return user_check(name, ask, console); });

  struct Senders {
    std::string name;
    std::vector<std::string> rules;
  };
  auto given = std::make_shared<Senders>();
  CLI::App* senders =
      user->add_subcommand("senders", "Which senders a user may be, besides the name, where they are held");
  senders->add_option("name", given->name, "The user")->type_name("NAME")->required();
  senders->add_option("sender", given->rules, "An address, @domain, <> or *; none: the name alone")
      ->type_name("SENDER");
  senders->footer("Example: waypost user senders ann ann@example.org @sales.example.org");
  senders->callback([given, &console] { console.exit_code = user_senders(given->name, given->rules, console); });

  auto json = std::make_shared<bool>(false);
  CLI::App* list = user->add_subcommand("list", "One line per user, and how the password is kept");
  list->add_flag("--json", *json, "JSON Lines, keys stable");
  list->footer("Example: waypost user list");
  list->callback([json, &console] { console.exit_code = user_list(*json, console); });
}

}  // namespace waypost::mta
