#include "mta/authenticator.h"

#include <array>
#include <coroutine>
#include <cstdlib>
#include <utility>

#include "base/base64.h"
#include "base/escape.h"
#include "base/event_log.h"
#include "base/text.h"
#include "conf/table.h"
#include "mta/dovecot_client.h"
#include "mta/password.h"
#include "net/secure_random.h"

namespace waypost::mta {
namespace {

constexpr net::Duration kLookEvery = std::chrono::seconds(1);
constexpr std::size_t kShownMistakes = 10;  // a line each in the log

/// Awaits work in the pool. Resumes on its loop; false: the pool did not take it.
class InPool {
 public:
  InPool(const Authenticator::Submit& submit, net::Runtime& loop, std::function<void()> work)
      : submit_(submit), loop_(loop), work_(std::move(work)) {}
  bool await_ready() const { return false; }
  bool await_suspend(std::coroutine_handle<> waiting) {
    // It may be done before this returns: its post is of a later turn of our loop.
    taken_ = true;
    const bool taken = submit_([this, waiting] {
      work_();
      loop_.post([waiting] { waiting.resume(); });
    });
    if (!taken) taken_ = false;
    return taken;
  }
  bool await_resume() const { return taken_; }

 private:
  const Authenticator::Submit& submit_;
  net::Runtime& loop_;
  std::function<void()> work_;
  bool taken_ = false;
};

/// Of those who ask at once, while it lives.
class Place {
 public:
  explicit Place(std::atomic<int>& taken) : taken_(taken), number_(++taken) {}
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() { --taken_; }
  int number() const { return number_; }

 private:
  std::atomic<int>& taken_;
  const int number_;
};

tl::unexpected<Error> too_many() {
  return fail(Errc::busy, "too many log in at once");
}

}  // namespace

Authenticator::Authenticator(Submit submit, std::string secret)
    : submit_(std::move(submit)), secret_(std::move(secret)) {}

std::string Authenticator::new_secret() {
  return net::secure_random(32);
}

void Authenticator::look(const std::string& path) {
  const Result<std::shared_ptr<const Users>> users = current(path);
  (void)users;  // what is wrong is in the log
}

/// Another thread may look at another file at once, around a reload: what this one has is of its own.
Result<std::shared_ptr<const Users>> Authenticator::current(const std::string& path) {
  std::lock_guard one(looking_);
  refresh(path);
  std::lock_guard lock(guard_);
  if (users_) return users_;
  return fail(trouble_.value_or(Error(Errc::invalid, "the users were not read")));
}

void Authenticator::refresh(const std::string& path) {
  if (path != path_) {
    std::lock_guard lock(guard_);
    path_ = path;
    table_.reset();
    stamp_.reset();
    users_.reset();
    trouble_.reset();
  }
  if (const std::optional<std::string> database = conf::database_path(path)) return read_table(*database);
  const Result<FileStamp> stamp = file_stamp(path);
  {
    std::lock_guard lock(guard_);
    const bool same = stamp ? stamp_ == *stamp : !stamp_ && trouble_ && trouble_->code == stamp.error().code;
    if (same) return;
  }
  read(path);
  std::lock_guard lock(guard_);
  // What the file itself has to change for is not tried again, nor told, before it does.
  const bool lasts = trouble_ && (trouble_->code == Errc::denied || trouble_->code == Errc::too_big);
  if (lasts && stamp) stamp_ = *stamp;
}

void Authenticator::read(const std::string& path) {
  Result<UsersText> text = read_users(path);
  if (!text) {
    log::failure("nobody can log in: " + text.error().what);
    std::lock_guard lock(guard_);
    stamp_.reset();
    users_.reset();
    trouble_ = text.error();
    return;
  }
  {
    std::lock_guard lock(guard_);
    stamp_ = text->stamp;
  }
  take(parse_users(text->text, path), path);
}

void Authenticator::read_table(const std::string& database) {
  if (!table_) table_.emplace(database);
  Result<std::optional<ParsedUsers>> read = table_->read_if_changed();
  if (read) {
    if (*read) take(**std::move(read), database);
    return;
  }
  const Error& error = read.error();
  std::lock_guard lock(guard_);
  // A file that is gone is as one of text that is gone. What else is wrong may pass.
  if (error.code == Errc::not_found || error.code == Errc::denied) users_.reset();
  const bool told = trouble_ && trouble_->what == error.what;
  trouble_ = error;
  if (told) return;
  log::failure(error.what + (users_ ? ": who could log in before still can" : ": nobody can log in"));
}

/// Users without a mistake are those from now on.
void Authenticator::take(ParsedUsers parsed, const std::string& path) {
  for (std::size_t i = 0; i < parsed.mistakes.size() && i < kShownMistakes; ++i) log::config_error(parsed.mistakes[i]);
  std::lock_guard lock(guard_);
  if (parsed.mistakes.empty()) {
    users_ = std::make_shared<const Users>(std::move(parsed.users));
    trouble_.reset();
    return;
  }
  const std::string count = escape(path) + " has " + std::to_string(parsed.mistakes.size()) + " mistakes";
  if (!users_) trouble_ = Error(Errc::invalid, count);
  log::failure(count + (users_ ? ": who could log in before still can" : ": nobody can log in"));
}

void Authenticator::look_soon(const std::string& path, net::TimePoint now) {
  {
    std::lock_guard lock(guard_);
    if (looked_ && now - *looked_ < kLookEvery) return;
    looked_ = now;
  }
  if (submit_([this, path] { look(path); })) return;
  std::lock_guard lock(guard_);
  looked_.reset();  // the next one will
}

bool Authenticator::offers_scram() const {
  std::lock_guard lock(guard_);
  return users_ && users_->has_scram();
}

net::Task<Result<std::shared_ptr<const Users>>> Authenticator::users(net::Runtime& loop, std::string path) {
  Result<std::shared_ptr<const Users>> found;
  const auto work = [this, &found, &path] { found = current(path); };
  InPool in_pool(submit_, loop, work);
  const bool done = co_await in_pool;
  if (!done) co_return too_many();
  co_return found;
}

net::Task<Result<std::optional<Credentials>>> Authenticator::check(net::Runtime& loop, std::string path,
                                                                   std::string login, std::string password) {
  Result<std::optional<Credentials>> good;
  const auto work = [this, &good, &path, &login, &password] {
    const Result<std::shared_ptr<const Users>> users = current(path);
    if (!users) {
      good = fail(users.error());
      return;
    }
    Users::Lookup found = (*users)->find(login, secret_);
    const bool matched = matches(found.credentials, password);  // of a decoy, too: it takes as long
    if (matched && found.known) good = std::move(found.credentials);
  };
  InPool in_pool(submit_, loop, work);
  const bool done = co_await in_pool;
  if (!done) co_return too_many();
  co_return good;
}

net::Task<Result<dovecot::Answer>> Authenticator::ask_dovecot(net::Runtime& loop, std::string server,
                                                              dovecot::Question question, std::stop_token stop) {
  const Place place(asking_);
  if (place.number() > kMostAsking) co_return too_many();
  co_return co_await mta::ask_dovecot(loop, std::move(server), std::move(question), std::move(stop));
}

ScramLookup Authenticator::find_scram(const Users& users, const std::string& login) const {
  return users.find_scram(login, secret_);
}

std::vector<std::string> Authenticator::senders(const std::string& login) const {
  std::lock_guard lock(guard_);
  if (!users_) return {};
  const auto found = users_->all().find(login);
  return found == users_->all().end() ? std::vector<std::string>() : found->second.senders;
}

bool Authenticator::holds(const std::string& login, const Credentials& proof) const {
  std::lock_guard lock(guard_);
  if (!users_) return true;
  const auto found = users_->all().find(login);
  return found != users_->all().end() && !found->second.is_locked() &&
         static_cast<const Credentials&>(found->second) == proof;
}

std::string Authenticator::nonce() {
  return base64_encode(net::secure_random(18));
}

net::Duration Authenticator::begin(const std::string& login, const net::Address& client, net::TimePoint now) {
  std::lock_guard lock(guard_);
  return login_guard_.begin(to_lower(login), LoginGuard::network(client), now);
}

void Authenticator::succeeded(const std::string& login, const net::Address& client, net::TimePoint now) {
  std::lock_guard lock(guard_);
  login_guard_.succeeded(to_lower(login), LoginGuard::network(client), now);
}

void Authenticator::put_off(const std::string& login, const net::Address& client, net::TimePoint now) {
  std::lock_guard lock(guard_);
  login_guard_.put_off(to_lower(login), LoginGuard::network(client), now);
}

}  // namespace waypost::mta
