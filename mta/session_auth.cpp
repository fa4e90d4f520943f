// AUTH (RFC 4954): who may log in where, one exchange, and what comes of it.
#include <utility>

#include "base/base64.h"
#include "base/event_log.h"
#include "mta/client_class.h"
#include "mta/session.h"

namespace waypost::mta {

/// Nobody but the client reads what is said.
bool Session::is_private() const {
  return tls_.has_value() || peer_.user().has_value();
}

bool Session::takes_logins() const {
  return client_.local_user.empty() && context_.auth != nullptr && listener_.takes_logins() &&
         config_->auth.knows_somebody();
}

std::vector<std::string> Session::offered_mechanisms() const {
  if (!takes_logins() || (config_->auth.require_tls && !is_private())) return {};
  const bool external = !external_login(*config_, client_, listener_).empty();
  if (!config_->auth.dovecot.empty()) return sasl::mechanisms(false, false, external);
  context_.auth->look_soon(config_->auth.users, context_.runtime.now());
  const bool scram = context_.auth->offers_scram();
  return sasl::mechanisms(scram, scram && !bindings().empty(), external);
}

/// What ties an authentication to the TLS below it.
std::vector<sasl::Binding> Session::bindings() const {
  if (tls_stream_ == nullptr) return {};
  std::vector<sasl::Binding> all{
      {"tls-exporter", tls_stream_->channel_binding(net::ChannelBinding::tls_exporter)},
      {"tls-server-end-point", tls_stream_->channel_binding(net::ChannelBinding::tls_server_end_point)}};
  std::erase_if(all, [](const sasl::Binding& each) { return each.octets.empty(); });
  return all;
}

smtp::Reply Session::on(const smtp::Auth& auth) {
  // AUTH is the last of its group (RFC 4954 §4, RFC 2920 §3.1): what came behind it was not meant as a response.
  if (in_.buffered() > 0) {
    smtp::Reply refused = smtp::reply::protocol_error("Commands came before the reply to AUTH");
    log_rejected(last_verb_, nullptr, "", refused);
    return close_with(std::move(refused));
  }
  if (!takes_logins()) return smtp::reply::not_offered("AUTH");
  if (helo_.empty() || !esmtp_) return smtp::reply::bad_sequence("Send EHLO first");
  if (!client_.login.empty()) return smtp::reply::bad_sequence("You are logged in already");
  if (transaction_) return smtp::reply::bad_sequence("Not within a transaction");
  if (rules_.offered.auth.empty()) return smtp::reply::encryption_required();
  if (!rules_.offered.has_auth(auth.mechanism)) return smtp::reply::unknown_mechanism();
  ++junk_;
  return later(auth);
}

/// From AUTH to its reply. Errors: those of the connection.
net::Task<Result<smtp::Reply>> Session::authenticate(smtp::Auth command) {
  proof_.reset();
  sasl::Surroundings around;
  around.external = external_login(*config_, client_, listener_);
  const bool scram = command.mechanism.starts_with("SCRAM-");
  if (scram) {
    Result<std::shared_ptr<const Users>> users = co_await context_.auth->users(context_.runtime, config_->auth.users);
    if (!users) co_return put_off(command.mechanism, users.error());
    around.nonce = Authenticator::nonce();
    around.bindings = bindings();
    around.scram = [this, all = *std::move(users)](const std::string& login) {
      if (const auto known = all->all().find(login); known != all->all().end()) proof_ = known->second;
      return context_.auth->find_scram(*all, login);
    };
  }
  const std::unique_ptr<sasl::Exchange> exchange = sasl::make_exchange(command.mechanism, std::move(around));
  if (!exchange) co_return smtp::reply::unknown_mechanism();

  std::optional<std::string> response;
  if (command.initial_response) {
    const std::string& given = *command.initial_response;
    response = base64_decode(given == "=" ? "" : given);  // RFC 4954 §4: `=` is the empty one
    if (!response) co_return smtp::reply::bad_syntax("The initial response is not base64");
  }
  sasl::Step step = exchange->begin(response);
  bool waited = false;
  while (true) {
    const bool is_named = !exchange->login().empty();
    if (is_named && !waited) co_await await_turn(exchange->login());
    waited = is_named;
    const auto* challenge = std::get_if<sasl::Challenge>(&step);
    if (challenge == nullptr) break;
    Result<std::string> answered = co_await ask(challenge->octets);
    if (!answered && said_goodbye_) co_return fail(std::move(answered.error()));
    if (!answered && (answered.error().code == Errc::too_big || answered.error().code == Errc::timed_out))
      co_return unanswered(answered.error());
    if (!answered) co_return fail(std::move(answered.error()));
    if (*answered == "*") co_return smtp::reply::authentication_cancelled();
    response = base64_decode(*answered);
    if (!response) co_return smtp::reply::bad_syntax("The response is not base64");
    step = exchange->on_response(*response);
  }
  co_return co_await conclude(command.mechanism, std::move(step), exchange->login());
}

/// Sends a challenge; the line that comes back. Errors: those of read_line(), and too_big.
net::Task<Result<std::string>> Session::ask(std::string challenge) {
  say(smtp::reply::challenge(base64_encode(challenge)));
  Result<> sent = co_await flush();
  if (!sent) co_return fail(std::move(sent.error()));
  const net::TimePoint deadline = command_deadline();
  waiting_ = Waiting::command;
  Result<net::LineBuffer::Line> line = co_await in_.read_line(kMaxAuthLine, deadline);
  waiting_ = Waiting::nothing;
  if (said_goodbye_) co_return fail(Errc::cancelled, "stopped within AUTH");
  if (!line) co_return fail(std::move(line.error()));
  note(dialogue::Voice::peer, "(not shown)");
  if (line->end == net::LineBuffer::End::too_long) co_return fail(Errc::too_big, "a response is too long");
  co_return std::string(line->text);
}

/// Before anything is said that tells whether the login is good, those who guess have to wait (mta/login_guard.h).
net::Task<> Session::await_turn(std::string login) {
  const net::Duration delay = context_.auth->begin(login, peer_, context_.runtime.now());
  if (delay <= net::Duration(0)) co_return;
  bool slept = co_await context_.runtime.sleep_for(delay, stop_);
  (void)slept;  // a stop is seen at the next command
}

/// Whose password it is. Errors: nobody could look.
net::Task<Result<dovecot::Answer>> Session::look_at(sasl::Password password) {
  if (!config_->auth.dovecot.empty()) {
    dovecot::Question question;
    question.login = std::move(password.login);
    question.password = std::move(password.password);
    question.client = peer_;
    question.local = net::Address::parse(client_.local, stream_->local().port).value_or(stream_->local());
    question.secured = is_private();
    co_return co_await context_.auth->ask_dovecot(context_.runtime, config_->auth.dovecot, std::move(question), stop_);
  }
  Result<std::optional<Credentials>> good =
      co_await context_.auth->check(context_.runtime, config_->auth.users, password.login, password.password);
  if (!good) co_return fail(good.error());
  dovecot::Answer answer;
  if (*good) answer.login = std::move(password.login);
  proof_ = *std::move(good);
  answer.why = "bad credentials";
  co_return answer;
}

net::Task<smtp::Reply> Session::conclude(std::string mechanism, sasl::Step step, std::string login) {
  if (const auto* password = std::get_if<sasl::Password>(&step)) {
    const Result<dovecot::Answer> looked = co_await look_at(*password);
    if (!looked) context_.auth->put_off(login, peer_, context_.runtime.now());
    if (!looked) co_return put_off(mechanism, looked.error());
    if (looked->login.empty()) co_return refuse_login(mechanism, looked->why, login);
    co_return logged_in(mechanism, login, looked->login);
  }
  if (const auto* malformed = std::get_if<sasl::Malformed>(&step)) {
    log::login_failed(client_name_, mechanism, malformed->what, login);
    co_return smtp::reply::bad_syntax("The response is not of the mechanism");
  }
  if (const auto* refused = std::get_if<sasl::Refused>(&step)) co_return refuse_login(mechanism, refused->why, login);
  co_return logged_in(mechanism, login, login);
}

smtp::Reply Session::unanswered(const Error& error) {
  if (error.code == Errc::too_big) return smtp::reply::authentication_line_too_long();
  return close_with(smtp::reply::idle(config_->hostname));
}

smtp::Reply Session::put_off(const std::string& mechanism, const Error& error) const {
  log::login_failed(client_name_, mechanism, error.what, "");
  return smtp::reply::authentication_put_off();
}

/// `given` is what the client said, by which guesses are counted; `login` whom that is.
smtp::Reply Session::logged_in(const std::string& mechanism, const std::string& given, const std::string& login) {
  context_.auth->succeeded(given, peer_, context_.runtime.now());
  client_.login = login;
  client_.senders.clear();  // Dovecot tells none
  if (config_->auth.dovecot.empty()) client_.senders = context_.auth->senders(login);
  login_mechanism_ = mechanism;
  log::logged_in(client_name_, mechanism, login);
  classify();
  return smtp::reply::authenticated();
}

/// Before the login is used for one more message: whether what it was proved by still is its own, as it was a second
/// ago. Of Dovecot's users and of certificates that is not known.
bool Session::login_holds() const {
  if (client_.login.empty() || !proof_ || config_->auth.users.empty()) return true;
  context_.auth->look_soon(config_->auth.users, context_.runtime.now());
  return context_.auth->holds(client_.login, *proof_);
}

smtp::Reply Session::refuse_login(const std::string& mechanism, const std::string& why, const std::string& login) {
  log::login_failed(client_name_, mechanism, why, login);
  ++failed_logins_;
  if (failed_logins_ >= kMaxFailedLogins) return close_with(smtp::reply::too_many_logins(config_->hostname));
  return smtp::reply::authentication_failed();
}

}  // namespace waypost::mta
