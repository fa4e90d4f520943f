// mta/users.h: those who may log in, as their file says. Pure: text comes in, a value goes out.
//
//     # a comment
//     ann:$y$j9T$...:{SCRAM-SHA-256}100000,...,...,...:ann@b.example,@c.example
//     scanner@example.org:$6$...
//     bob:*:{SCRAM-SHA-256}...
//
// A user a line: the name, a hash of crypt(3) (`*`: none; `!` before it: locked), a verifier for SCRAM, and the
// senders that the user may be (smtp/sender_rule.h); the last two may lack. Blank lines and lines that begin with `#`
// count for nothing.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "mta/scram.h"

namespace waypost::mta {

/// What a password is compared with.
struct Credentials {
  std::string hash;  ///< of crypt(3), as in the file; no password matches one that begins with `*` or `!`
  std::optional<ScramVerifier> scram;
  bool has_hash() const { return !hash.empty() && hash.front() == '$'; }
  /// A locked user's verifier serves nobody either.
  bool is_locked() const { return !hash.empty() && hash.front() == '!'; }
  bool has_scram() const { return scram.has_value() && !is_locked(); }
  bool operator==(const Credentials&) const = default;
};

struct User : Credentials {
  std::vector<std::string> senders;  ///< besides the name itself, where that is an address
  bool operator==(const User&) const = default;
};

/// One state of the file.
class Users {
 public:
  struct Lookup {
    Credentials credentials;
    bool known = false;
  };
  /// Of a login without credentials: a decoy, those of some user, the same for the same login and `secret`, so that it
  /// takes as long to compare with. Not known then.
  Lookup find(const std::string& login, std::string_view secret) const;
  /// The same for an exchange of SCRAM; a decoy has a salt of its own.
  ScramLookup find_scram(const std::string& login, std::string_view secret) const;

  bool has_scram() const { return !with_scram_.empty(); }  ///< some user has a verifier
  const std::map<std::string, User>& all() const { return users_; }
  /// False: there is a user of that name.
  bool add(const std::string& name, const User& user);

 private:
  std::map<std::string, User> users_;
  std::vector<std::string> with_any_, with_scram_;  // whose credentials serve as decoys
};

struct ParsedUsers {
  Users users;
  std::vector<std::string> mistakes;  ///< `FILE:LINE: text` each; none quotes a hash
};
ParsedUsers parse_users(std::string_view text, const std::string& file);
/// The same of rows: name, hash ("" as `*`), verifier and senders each; a mistake names the user in place of a line.
ParsedUsers parse_users(const std::vector<std::vector<std::string>>& rows, const std::string& table);

/// A name fit for the file: a login (mta/sasl.h) without spaces and colons, and no `#` in front. Errors: invalid.
Result<> check_user_name(std::string_view name);
/// The line of a user, without its end.
std::string user_line(const std::string& name, const User& user);
/// `text` with the user's line in place of the one it has, or behind all others; nullopt: without the line. All other
/// lines stay as they are.
std::string with_user(std::string_view text, const std::string& name, const std::optional<User>& user);

}  // namespace waypost::mta
