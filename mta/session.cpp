#include "mta/session.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/event_log.h"
#include "base/metrics.h"
#include "base/text.h"
#include "mta/client_class.h"
#include "mta/login_name.h"
#include "smtp/extensions.h"

namespace waypost::mta {
namespace {

constexpr std::size_t kMaxGathered = 4096;  // replies that wait: a client that never reads costs no more
constexpr conf::Rate kEtrnRate{1, std::chrono::minutes(1)};  // of one domain
constexpr net::Duration kGoodbyeTimeout = std::chrono::seconds(5);
constexpr net::Duration kTarpitStep = std::chrono::seconds(1);
constexpr net::Duration kLongestTarpit = std::chrono::seconds(10);

bool has_enhanced(const smtp::Reply& reply, const smtp::EnhancedCode& code) {
  return reply.enhanced && *reply.enhanced == code;
}

/// A recipient's domain that is not there, or takes no mail: no fault of one who has a list.
bool is_dead_domain(const smtp::Reply& reply) {
  return has_enhanced(reply, {5, 1, 2}) || has_enhanced(reply, {5, 1, 10});
}

}  // namespace

Session::Session(std::unique_ptr<net::Stream> stream, ServerContext& context, const conf::Listener& listener,
                 Limits::Token place, std::stop_token stop)
    : stream_(std::move(stream)),
      context_(context),
      listener_(listener),
      place_(std::move(place)),
      stop_(std::move(stop)),
      in_(*stream_) {
  client_.local = stream_->local().host();
  rules_.bare_path = rules_.path_without_domain = listener_.role == conf::Role::submission;
  rules_.offered.pipelining = true;
  rules_.offered.size = true;
  rules_.offered.eight_bit_mime = true;
  rules_.offered.enhanced_status_codes = true;
  rules_.offered.dsn = true;
  rules_.offered.smtputf8 = listener_.smtputf8;
  rules_.offered.binary_mime = true;
  rules_.offered.chunking = true;
  config_ = context_.config();
  become(stream_->remote(), "");
}

void Session::use(std::shared_ptr<const conf::Config> config) {
  if (config == config_) return;
  config_ = std::move(config);
  client_.trusted = is_trusted(*config_, client_.address);
  classify();
}

/// Something is known of the client that was not.
void Session::classify() {
  client_.is_private = is_private();
  client_.client_class = class_of(*config_, client_, listener_);
  rules_.offered.etrn = client_.may_send() && client_.local_user.empty();  // the queue is the administrator's
  rules_.offered.size_limit = message_size(*config_, client_);
  rules_.offered.limits.rcpt_max = most_recipients(*config_, client_);
}

net::Task<Result<>> Session::run() {
  Result<> ended;
  std::exception_ptr thrown;
  {
    auto on_stop = [this] { begin_wind_up(); };
    std::stop_callback<decltype(on_stop)> callback(stop_, on_stop);
    try {
      ended = co_await converse();
    } catch (...) {
      thrown = std::current_exception();
    }
  }
  if (winding_up_) {
    winding_up_->stop();
    co_await winding_up_->drained();
  }
  stream_->close();
  if (looking_) co_await looking_->drained();  // a client that is gone does not hear what is late
  if (thrown) std::rethrow_exception(thrown);
  co_return ended;
}

net::Task<Result<>> Session::converse() {
  if (is_behind_proxy()) {
    Result<> known = co_await read_proxy_header();
    if (!known) co_return known;
  }
  if (peer_.user()) co_await recognise_user();
  may_xclient_ = conf::any_contains(listener_.xclient, client_.address);
  log::connected(client_name_);
  if (dialogue::is_watched()) note(dialogue::Voice::event, "connected to " + stream_->local().text());
  if (closing_) co_return co_await flush();
  if (listener_.tls == conf::ListenerTls::implicit) {
    Result<> secured = co_await secure(tls_server());
    if (!secured) co_return secured;
  }
  Result<> quiet = co_await wait_for_early_talk();
  if (!quiet) co_return quiet;
  if (said_goodbye_ || closing_) co_return co_await flush();
  bool accepting = context_.accepting.load(std::memory_order_relaxed);
  say(accepting ? smtp::reply::greeting(config_->hostname) : close_with(smtp::reply::not_accepting(config_->hostname)));
  while (!closing_) {
    // One write for all replies to what was asked in one group (RFC 2920 §3.2), and none is held back while we wait.
    if (!in_.has_line() || out_.size() > kMaxGathered) {
      Result<> sent = co_await flush();
      if (!sent) co_return fail(std::move(sent.error()));
    }
    if (stop_.stop_requested() && !is_receiving()) {
      say(close_with(smtp::reply::shutting_down(config_->hostname)));
      break;
    }
    Result<net::LineBuffer::Line> line = co_await next_line();
    if (said_goodbye_) co_return Result<>();
    if (!line) {
      if (line.error().code == Errc::timed_out) say(smtp::reply::idle(config_->hostname));
      Result<> last_words = co_await flush();
      (void)last_words;  // why there are last words is what is told
      co_return fail(std::move(line.error()));
    }

    if (dialogue::is_watched()) note(dialogue::Voice::peer, smtp::shown_command(line->text));
    std::optional<smtp::Reply> reply = answer(*line);
    if (!reply) {
      Result<smtp::Reply> done = co_await carry_out();
      if (!done) co_return fail(std::move(done.error()));
      reply = *std::move(done);
    }
    reply = weigh(*std::move(reply));
    if (tarpit_ > net::Duration(0)) {
      // The 250 to a message may be among the replies that wait: its client would send it again if it came too late.
      Result<> sent = co_await flush();
      if (!sent) co_return fail(std::move(sent.error()));
      bool slept = co_await context_.runtime.sleep_for(tarpit_, stop_);
      (void)slept;  // a stop is seen at the next command
    }
    say(*reply);
    if (closing_) starting_tls_.reset();  // 421 took the place of 220
    if (starting_tls_) {
      Result<> secured = co_await secure(std::move(starting_tls_));
      if (!secured) co_return secured;
    }
  }
  co_return co_await flush();
}

/// Who of this machine it is: the system vouches for the number (net::Address::of_user), its files for the name.
net::Task<> Session::recognise_user() {
  const std::uint32_t uid = *peer_.user();
  auto name = std::make_shared<std::string>();
  const auto look = [name, uid] { *name = login_name(uid); };
  co_await context_.runtime.offload(look);
  client_.local_user = name->empty() ? peer_.host() : *name;
  set_peer_name(*name);
  classify();
}

/// Those who cannot wait for a greeting wait for no reply either (RFC 5321 §4.3.1).
net::Task<Result<>> Session::wait_for_early_talk() {
  const net::Duration delay = config_->checks.greeting_delay;
  if (delay <= net::Duration(0) || !is_stranger() || tls_) co_return Result<>();
  waiting_ = Waiting::command;
  Result<std::string_view> early = co_await in_.peek(context_.runtime.now() + delay);
  waiting_ = Waiting::nothing;
  if (!early && early.error().code == Errc::timed_out) co_return Result<>();
  if (!early) co_return fail(std::move(early.error()));
  smtp::Reply refused = smtp::reply::talked_too_early();
  log_rejected(last_verb_, nullptr, "", refused);
  say(close_with(std::move(refused)));
  co_return Result<>();
}

net::Task<Result<net::LineBuffer::Line>> Session::next_line() {
  net::TimePoint deadline = command_deadline();
  waiting_ = is_receiving() ? Waiting::body : Waiting::command;
  if (look_for_tls_ && !in_.has_line()) {
    // A ClientHello need not have a line feed, and its sender would wait for us as we for one.
    Result<std::string_view> front = co_await in_.peek(deadline);
    bool tls = front && smtp::foreign_protocol(*front).has_value();
    if (!front || tls) waiting_ = Waiting::nothing;
    if (!front) co_return fail(std::move(front.error()));
    if (tls) {
      net::LineBuffer::Line whole;
      whole.text = *front;
      co_return whole;
    }
  }
  const std::size_t longest = rules_.offered.auth.empty() ? kMaxCommand : kMaxAuthLine;
  Result<net::LineBuffer::Line> line = co_await in_.read_line(longest, deadline);
  waiting_ = Waiting::nothing;
  co_return line;
}

net::TimePoint Session::command_deadline() const {
  net::Duration timeout = config_->limits.command_timeout;
  bool crowded = context_.limits.crowded(static_cast<std::size_t>(config_->limits.connections));
  if (crowded) timeout = std::min(timeout, kCrowdedTimeout);
  return context_.runtime.now() + timeout;
}

net::Task<Result<>> Session::flush() {
  if (out_.empty()) co_return Result<>();
  std::string_view all = out_;
  std::span<const std::string_view> pieces(&all, 1);
  net::TimePoint deadline = context_.runtime.now() + config_->limits.command_timeout;
  Result<> sent = co_await stream_->write(pieces, deadline);
  out_.clear();
  co_return sent;
}

void Session::say(const smtp::Reply& reply) {
  const std::string wire = reply.wire();
  out_ += wire;
  if (!dialogue::is_watched()) return;
  // A challenge is half of a proof of the password.
  if (reply.code == 334) return note(dialogue::Voice::ours, "334 (not shown)");
  std::string_view rest = wire;
  while (!rest.empty()) {
    const std::size_t end = rest.find("\r\n");
    note(dialogue::Voice::ours, rest.substr(0, end));
    rest.remove_prefix(end + 2);
  }
}

void Session::note(dialogue::Voice voice, std::string_view text) const {
  if (!dialogue::is_watched()) return;
  dialogue::Line line;
  line.connection = connection_;
  line.inbound = true;
  line.peer = client_name_;
  line.address = client_.address;
  line.voice = voice;
  line.text = text;
  dialogue::note(std::move(line));
}

smtp::Reply Session::close_with(smtp::Reply reply) {
  closing_ = true;
  return reply;
}

/// The reply to a command; nullopt where there is none before it was carried out.
std::optional<smtp::Reply> Session::answer(const net::LineBuffer::Line& line) {
  look_for_tls_ = false;
  after_crlf_ = line.end == net::LineBuffer::End::crlf;
  std::optional<std::string_view> foreign = smtp::foreign_protocol(line.text);
  if (foreign) {
    log::foreign_protocol(client_name_, *foreign);
    return close_with(smtp::reply::protocol_error("This is SMTP"));
  }
  bool too_long = line.text.size() + 2 > kMaxCommand && !starts_with_no_case(line.text, "AUTH ");
  too_long = too_long || line.end == net::LineBuffer::End::too_long;
  const bool bare = line.end == net::LineBuffer::End::lf && listener_.reject_bare_newline;
  if (too_long || bare) {
    smtp::Reply refused = too_long ? smtp::reply::line_too_long() : smtp::reply::bad_syntax("Lines end with CR LF");
    // As below: its octets are no commands.
    return starts_with_no_case(line.text, "BDAT") ? close_with(refused) : refused;
  }

  rules_.utf8_transaction = transaction_ && transaction_->envelope.smtputf8;
  tl::expected<smtp::Command, smtp::Reply> command = smtp::parse_command(line.text, rules_);
  if (!command) {
    std::string_view rest = line.text;
    std::string verb = to_upper(take_word(rest));
    log_rejected(verb, transaction_ ? &transaction_->envelope : nullptr, "", command.error());
    // It is not known how many octets follow: none of them is to be taken for a command.
    if (verb == "BDAT") return close_with(command.error());
    return command.error();
  }
  // What is no command may be a password that came too late: it has no place in the log.
  last_verb_ = std::holds_alternative<smtp::Unknown>(*command) ? "UNKNOWN" : smtp::verb(*command);
  smtp::Reply reply = std::visit([this](const auto& known) { return on(known); }, *command);
  if (pending_) return std::nullopt;
  return reply;
}

/// What `later()` left to be done. Errors: those of the connection.
net::Task<Result<smtp::Reply>> Session::carry_out() {
  const smtp::Command command = *std::exchange(pending_, std::nullopt);
  if (const auto* auth = std::get_if<smtp::Auth>(&command)) co_return co_await authenticate(*auth);
  if (const auto* bdat = std::get_if<smtp::Bdat>(&command)) co_return co_await receive_chunk(*bdat);
  if (const auto* rcpt = std::get_if<smtp::Rcpt>(&command)) {
    const smtp::Path given = completed_recipient(*rcpt);
    const Decision<smtp::Path> path = admit_recipient(*config_, client_, listener_.role, given);
    if (!path) co_return path.error();
    co_return co_await ask_and_take(*rcpt, *path);
  }
  if (const auto* etrn = std::get_if<smtp::Etrn>(&command)) co_return co_await send_now(*etrn);
  co_return co_await receive();
}

/// The command is one that has to be waited for.
smtp::Reply Session::later(smtp::Command command) {
  pending_ = std::move(command);
  return smtp::Reply();
}

/// Counts what a reply says about its client. What is too much becomes the last reply.
smtp::Reply Session::weigh(smtp::Reply reply) {
  tarpit_ = net::Duration(0);
  if (closing_) return reply;

  bool unknown_recipient = reply.code == 550 && has_enhanced(reply, {5, 1, 1});
  // A size over the limit is no mistake, and DATA behind refused recipients is what PIPELINING is for.
  bool innocent = reply.code == 552 || (reply.code == 554 && has_enhanced(reply, {5, 5, 1})) ||
                  (reply.code == 503 && last_verb_ == "BDAT") || (client_.may_send() && is_dead_domain(reply));
  // A user's program goes through its whole list, and is to hear of each: closed on, it could only begin again.
  const bool counts = client_.local_user.empty();
  if (counts && unknown_recipient) {
    ++unknown_recipients_;
  } else if (counts && reply.permanent() && !innocent) {
    ++errors_;
    if (errors_ >= kTarpitFrom) tarpit_ = std::min(kTarpitStep * (errors_ - kTarpitFrom + 1), kLongestTarpit);
  }

  if (reply.transient() && last_verb_ == "MAIL") ++junk_;
  bool too_much =
      errors_ >= config_->limits.errors || unknown_recipients_ >= kMaxUnknownRecipients || junk_ >= kMaxJunk;
  if (!too_much) return reply;
  smtp::Reply last = close_with(smtp::reply::too_many_errors(config_->hostname));
  log_rejected(last_verb_, nullptr, "", last);
  return last;
}

smtp::Reply Session::greet(const std::string& name, bool esmtp) {
  // The client is to wait for this reply (RFC 2920 §3.1): one that does not is no mail client, or what it sends was
  // made for another's eyes.
  if (in_.buffered() > 0) {
    smtp::Reply refused = smtp::reply::protocol_error("Commands came before the reply to EHLO");
    log_rejected(last_verb_, nullptr, "", refused);
    return close_with(std::move(refused));
  }
  ++junk_;
  transaction_.reset();  // RFC 5321 §4.1.4
  helo_ = name;
  esmtp_ = esmtp;
  client_verdict_.reset();
  rules_.offered.auth = esmtp ? offered_mechanisms() : std::vector<std::string>();
  if (!esmtp) return smtp::reply::helo(config_->hostname);
  rules_.offered.starttls = can_start_tls();
  rules_.offered.xclient = may_xclient_;
  rules_.offered.require_tls = is_private();  // RFC 8689 §2
  return smtp::reply::ehlo(config_->hostname, smtp::ehlo_keywords(rules_.offered));
}

smtp::Reply Session::on(const smtp::Helo& helo) {
  return greet(helo.name, false);
}

smtp::Reply Session::on(const smtp::Ehlo& ehlo) {
  return greet(ehlo.name, true);
}

smtp::Reply Session::on(const smtp::Data& data) {
  // What came behind DATA was not meant as the answer to our 354, whether we would have sent it or not: a body that
  // was pushed through blindly, or a message that hides in another (RFC 2920 §3.1).
  if (in_.buffered() > 0) {
    smtp::Reply refused = smtp::reply::protocol_error("Data came before the reply to DATA");
    log_rejected("DATA", transaction_ ? &transaction_->envelope : nullptr, "", refused);
    return close_with(std::move(refused));
  }
  if (!transaction_) return smtp::reply::bad_sequence("Send MAIL first");
  if (transaction_->reception) return smtp::reply::bad_sequence("The message came by BDAT so far");
  if (transaction_->envelope.body == smtp::BodyType::binary_mime)
    return smtp::reply::bad_sequence("Binary content comes by BDAT");  // RFC 3030 §3
  if (transaction_->envelope.recipients.empty()) {
    // In a group the client could not know yet that no recipient was taken (RFC 2920 §3.1).
    bool grouped = !out_.empty();
    return grouped ? smtp::reply::no_valid_recipients() : smtp::reply::bad_sequence("Send RCPT first");
  }
  return later(data);
}

/// A message has begun, and its next chunk may come.
bool Session::is_receiving() const {
  return transaction_ && transaction_->reception;
}

smtp::Reply Session::on(const smtp::Bdat& bdat) {
  if (bdat.octets == 0 && !bdat.last) ++junk_;
  return later(bdat);
}

smtp::Reply Session::on(const smtp::Rset&) {
  ++junk_;
  transaction_.reset();
  return smtp::reply::ok();
}

// NOOP, VRFY and HELP should be the last of their group too (RFC 2920 §3.1). That spares clients a wrong guess about
// what comes back; nothing here depends on it, so what follows them is read as usual.
smtp::Reply Session::on(const smtp::Noop&) {
  ++junk_;
  return smtp::reply::ok();
}

smtp::Reply Session::on(const smtp::Vrfy& vrfy) {
  ++junk_;
  return verify(*config_, client_, vrfy.text);
}

smtp::Reply Session::on(const smtp::Help&) {
  ++junk_;
  return smtp::reply::help(
      {"EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT", "Mail to postmaster reaches a person"});
}

smtp::Reply Session::on(const smtp::Etrn& etrn) {
  if (!rules_.offered.etrn) return smtp::reply::not_offered("ETRN");
  if (helo_.empty()) return smtp::reply::bad_sequence("Send EHLO first");
  if (transaction_) return smtp::reply::bad_sequence("Not within a transaction");
  junk_ += kEtrnWeight;
  if (!is_served(*config_, etrn.domain)) return smtp::reply::not_served(etrn.domain);
  return later(etrn);
}

/// What waits for the domain is tried at once (RFC 1985). Its back-off is for nothing then: not again for a while.
net::Task<smtp::Reply> Session::send_now(smtp::Etrn etrn) {
  const Rates::Key key{"(ETRN)", smtp::domain_key(etrn.domain)};
  const bool too_soon = context_.rates != nullptr &&
                        context_.rates->take(key, Rates::Kind::messages, kEtrnRate, context_.runtime.wall_now()).wait;
  if (too_soon) co_return smtp::reply::cannot_send(etrn.domain);
  queue::ChangeRequest request;
  request.change = queue::Change::retry;
  request.reason = "ETRN";
  request.now = context_.runtime.wall_now();
  queue::Term term;
  term.field = queue::Term::Field::to;
  term.text = "@" + etrn.domain;
  request.filter.terms.push_back(term);
  term.text = "*." + etrn.domain;
  if (etrn.below) request.filter.terms.push_back(term);
  const Result<queue::Changed> changed = co_await context_.store.change(std::move(request));
  if (!changed) {
    log::warning("ETRN " + etrn.domain + " by " + client_name_ + ": " + changed.error().what);
    co_return smtp::reply::cannot_send(etrn.domain);
  }
  log::requested(client_name_, "ETRN " + etrn.domain, changed->recipients);
  co_return changed->recipients == 0 ? smtp::reply::nothing_waits(etrn.domain)
                                     : smtp::reply::sending(changed->recipients, etrn.domain);
}

smtp::Reply Session::on(const smtp::Quit&) {
  return close_with(smtp::reply::closing(config_->hostname));
}

smtp::Reply Session::on(const smtp::Unknown&) {
  return smtp::reply::unknown_command();
}

template <class NotOffered>
smtp::Reply Session::on(const NotOffered& command) {
  return smtp::reply::not_offered(smtp::verb(smtp::Command(command)));
}

void Session::log_rejected(std::string_view stage, const smtp::Envelope* envelope, std::string_view to,
                           const smtp::Reply& reply) const {
  // The address stands in the text as well: log readers look for it there.
  smtp::Reply logged = reply;
  if (!to.empty() && !logged.lines.empty()) logged.lines.front() = "<" + std::string(to) + ">: " + logged.lines.front();
  std::string from = envelope != nullptr ? envelope->reverse_path.text() : std::string();
  log::rejected(client_name_, stage, logged.text(), from, to, esmtp_ ? "ESMTP" : "SMTP", helo_);
}

/// Runs inside request_stop(), on this loop.
void Session::begin_wind_up() {
  std::string client = client_name_;
  auto on_exception = [client](std::string_view what) { log::session_failed(client, what); };
  winding_up_.emplace(context_.runtime, on_exception);
  winding_up_->spawn(wind_up());
}

/// A client that waits is told; one that is sending, or that we owe a reply, has until the grace is over.
net::Task<> Session::wind_up() {
  if (waiting_ == Waiting::nothing || waiting_ == Waiting::body) {
    bool late = co_await context_.runtime.sleep_for(kGrace, winding_up_->stop_token());
    if (!late) co_return;
  }
  if (waiting_ == Waiting::command || waiting_ == Waiting::body) {
    said_goodbye_ = true;
    std::string reply = smtp::reply::shutting_down(config_->hostname).wire();
    std::string_view whole = reply;
    std::span<const std::string_view> pieces(&whole, 1);
    net::TimePoint deadline = context_.runtime.now() + kGoodbyeTimeout;
    Result<> told = co_await stream_->write(pieces, deadline);
    (void)told;
  }
  stream_->close();
}

namespace {

/// As waypost-metrics(7) calls it.
std::string_view kind_of(const conf::Listener& listener) {
  if (listener.address.host.empty()) return "local";
  if (listener.role == conf::Role::mx) return "mx";
  return listener.tls == conf::ListenerTls::implicit ? "submissions" : "submission";
}

/// A session among those that are open, until its end.
struct Counted {
  explicit Counted(std::string_view of) : kind(of) { metrics::events().open_sessions.at(kind, "").add(); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() {
    metrics::events().open_sessions.at(kind, "").take();
    metrics::events().sessions.at(kind, end).add();
  }
  std::string_view kind, end = "done";
};

}  // namespace

net::Task<> serve(std::unique_ptr<net::Stream> stream, ServerContext& context, const conf::Listener& listener,
                  Limits::Token place, std::stop_token stop) {
  Counted counted(kind_of(listener));
  Session session(std::move(stream), context, listener, std::move(place), std::move(stop));
  Result<> ended;
  std::string thrown;
  try {
    ended = co_await session.run();
  } catch (const std::exception& exception) {
    thrown = exception.what();
  } catch (...) {
    thrown = "an exception of unknown type";
  }
  if (!thrown.empty()) {
    counted.end = "failed";
    log::session_failed(session.client_name(), thrown);
  }
  std::string why = "done";
  if (!ended) {
    why = ended.error().what;
    bool timeout = ended.error().code == Errc::timed_out;
    counted.end = timeout ? "timeout" : "lost";
    log::connection_lost(session.client_name(), timeout ? "timeout" : "lost connection", session.last_verb());
  }
  log::disconnected(session.client_name(), why);
  if (dialogue::is_watched()) session.note(dialogue::Voice::event, "closed: " + why);
}

}  // namespace waypost::mta
