// mta/authenticator.h: who may log in, as sessions ask it: the users file (or table) and the pool that looks at
// passwords, or Dovecot in place of both, and the delays of those who guess. One for all loops; any thread.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "mta/dovecot_auth.h"
#include "mta/login_guard.h"
#include "mta/users.h"
#include "mta/users_file.h"
#include "mta/users_table.h"
#include "net/runtime.h"
#include "net/task.h"

namespace waypost::mta {

class Authenticator {
 public:
  /// Runs the work elsewhere soon, or returns false and never runs it: PasswordPool::submit().
  using Submit = std::function<bool(std::function<void()>)>;
  static constexpr int kMostAsking = 128;  ///< questions to Dovecot at once; who comes after these is sent away
  /// `secret`: of what nobodies are shown in the place of salts; the same at each start.
  explicit Authenticator(Submit submit, std::string secret = new_secret());
  static std::string new_secret();  ///< 32 octets

  /// Reads the file, or the table behind `sqlite:`, if it changed; what is wrong with it is logged, and the state
  /// before stays in force, as it does while a table is locked or damaged. Without a file nobody can log in. Blocks: at
  /// the start, at a reload, and in the pool.
  void look(const std::string& path);
  /// The same in the pool, unless that was done within a second. From a loop.
  void look_soon(const std::string& path, net::TimePoint now);
  bool offers_scram() const;  ///< by what was read last

  // For a session on `loop`, which awaits the pool; the file is looked at first. Errors: busy (too many wait), and
  // those of read_users() or invalid where there is no state of the file that is good.

  net::Task<Result<std::shared_ptr<const Users>>> users(net::Runtime& loop, std::string path);
  /// By what the password is right; nullopt: it is not this login's, or nobody has this login; which of them takes no
  /// less time.
  net::Task<Result<std::optional<Credentials>>> check(net::Runtime& loop, std::string path, std::string login,
                                                      std::string password);

  /// See ask_dovecot() (mta/dovecot_client.h), and busy: too many wait for it.
  net::Task<Result<dovecot::Answer>> ask_dovecot(net::Runtime& loop, std::string server, dovecot::Question question,
                                                 std::stop_token stop);

  ScramLookup find_scram(const Users& users, const std::string& login) const;
  /// The rules of a user's senders, by what was read last.
  std::vector<std::string> senders(const std::string& login) const;
  /// Whether what a login was proved by is still its own, by what was read last; also while nobody can tell.
  bool holds(const std::string& login, const Credentials& proof) const;
  /// For SCRAM: 24 printable characters that nobody foresees.
  static std::string nonce();

  /// See LoginGuard. Names that differ in case alone are one account: to Dovecot they are one user.
  net::Duration begin(const std::string& login, const net::Address& client, net::TimePoint now);
  void succeeded(const std::string& login, const net::Address& client, net::TimePoint now);
  void put_off(const std::string& login, const net::Address& client, net::TimePoint now);

 private:
  Result<std::shared_ptr<const Users>> current(const std::string& path);
  void refresh(const std::string& path);
  void read(const std::string& path);
  void read_table(const std::string& database);
  void take(ParsedUsers parsed, const std::string& path);

  const Submit submit_;
  const std::string secret_;  // of the decoys
  std::atomic<int> asking_ = 0;
  std::mutex looking_;  // one looks at a time
  std::string path_;    // of who looks, as is the next
  std::optional<UsersTable> table_;
  mutable std::mutex guard_;        // what follows; short sections, a few a login
  std::optional<FileStamp> stamp_;  // of what was read last, good or not
  std::shared_ptr<const Users> users_;
  std::optional<Error> trouble_;  // why there are no users
  std::optional<net::TimePoint> looked_;
  LoginGuard login_guard_;
};

}  // namespace waypost::mta
