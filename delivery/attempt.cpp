#include "delivery/attempt.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "base/text.h"
#include "delivery/disposition.h"
#include "delivery/reply_rules.h"
#include "delivery/stored_conversion.h"
#include "delivery/wire_body.h"
#include "smtp/parameters.h"

namespace waypost::delivery {

namespace {

/// Commands that go out before replies are read, where PIPELINING is offered. Both sides could wait for the other for
/// ever if we wrote a thousand commands while the host's replies pile up (RFC 2920 §3.1).
constexpr std::size_t kMaxPipelined = 100;
/// After a failed write: how long a reply may take that the host sent before it closed.
constexpr net::Duration kEarlyReply = std::chrono::seconds(5);

/// Values of the database are looked at like those of the network (RELIABILITY C1, C2): no path makes a second command.
bool fits_a_command(std::string_view line) {
  return line.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
}

bool has_utf8(const smtp::Path& path) {
  return !is_ascii(path.mailbox.local) || !is_ascii(path.mailbox.domain);
}

/// SMTPUTF8 has to be offered for an address that is not ASCII, and for a header section with UTF-8 (RFC 6531 §3.5).
bool needs_utf8(const queue::MessageInfo& message) {
  return message.smtputf8 || has_utf8(message.reverse_path);
}
bool needs_utf8(const queue::MessageInfo& message, const std::vector<queue::DueRecipient>& recipients) {
  if (needs_utf8(message)) return true;
  return std::any_of(recipients.begin(), recipients.end(),
                     [](const queue::DueRecipient& recipient) { return has_utf8(recipient.forward_path); });
}

/// No room for this recipient in this transaction, as opposed to in its mailbox (RFC 5321 §4.5.3.1.10).
bool is_too_many(const smtp::Reply& reply) {
  if (reply.code != 452 && reply.code != 552) return false;
  return !reply.enhanced || (reply.enhanced->subject == 5 && reply.enhanced->detail == 3);
}

/// BDAT says what it brings beforehand, so that nothing in it has to be looked at. By LMTP it goes without.
WireBody::Framing framing_of(const Connection& connection, const queue::MessageInfo& message) {
  const smtp::Extensions& offered = connection.extensions();
  const bool chunking = offered.chunking && connection.peer().protocol == Protocol::smtp;
  const bool binary = message.body == smtp::BodyType::binary_mime;
  if (chunking && binary && offered.binary_mime) return WireBody::Framing::binary;
  const bool as_it_is = !binary && (offered.eight_bit_mime || !message.eight_bit);
  if (chunking && as_it_is && connection.settings().chunking) return WireBody::Framing::counted;
  return WireBody::Framing::dots;
}

/// One transaction. Each recipient is open until its outcome is known, or accepted until the final reply.
class Transaction {
 public:
  Transaction(Connection& connection, const queue::MessageInfo& message,
              const std::vector<queue::DueRecipient>& recipients, const queue::Content& content,
              const queue::OpenBody& open_body);
  net::Task<AttemptResult> run();

 private:
  enum class Progress : std::uint8_t { open, accepted, settled };
  struct Step {
    Stage stage = Stage::mail;
    std::size_t recipient = 0;
  };

  std::optional<Outcome> obstacle() const;
  net::Task<std::optional<Outcome>> prepare_body();
  net::Task<Result<>> check_inline_body();
  bool takes_body() const;
  std::optional<Outcome> unfit_for_conversion() const;
  void settle_damaged();
  void settle_utf8();
  bool all_settled() const;
  std::vector<Step> steps() const;
  std::string mail_line() const;
  std::string rcpt_line(const queue::DueRecipient& recipient) const;
  std::string line_of(const Step& step) const;
  net::Task<bool> envelope();
  void on_reply(const Step& step, const smtp::Reply& reply);
  void on_rcpt_reply(std::size_t recipient, const smtp::Reply& reply);
  net::Task<> abandon();
  net::Task<> reset();
  net::Task<> send_message();
  net::Task<bool> send_file();
  void feed(std::string_view octets);
  void feed_all_but_last(std::string_view octets);
  net::Task<bool> send_pieces(bool last);
  net::Task<> lost_in_body(Error error);
  net::Task<> await_final_replies();

  void settle(std::size_t recipient, Outcome outcome);
  void settle_rest(const Outcome& outcome);
  void host_failed(Stage stage, const smtp::Reply& reply);
  Outcome outcome_of(Stage stage, const smtp::Reply& reply) const;
  void host_failed(Stage stage, const Error& error);
  void host_failed(HostFailure failure);
  /// What stays on this machine crosses no net; a report goes on without (RFC 8689 §4.2.1, §5).
  bool requires_tls() const {
    return message_.require_tls && !message_.reverse_path.is_null() && !connection_.peer().address.is_local();
  }
  bool is_verified() const { return connection_.tls().verdict >= TlsEvidence::Verdict::verified; }
  bool is_lmtp() const { return connection_.peer().protocol == Protocol::lmtp; }
  net::Duration command_timeout() const { return connection_.settings().command_timeout; }

  Connection& connection_;
  const queue::MessageInfo& message_;
  const std::vector<queue::DueRecipient>& recipients_;
  const queue::Content& content_;
  const queue::OpenBody& open_body_;
  const std::string host_;
  bool utf8_;
  const WireBody::Framing framing_;
  WireBody wire_;
  Conversion conversion_;
  std::optional<Converter> converter_;  ///< where the message is converted
  std::string converted_;               ///< what is to go out next
  // Of a BDAT command (RFC 3030 §2), which says how many octets there will be.
  std::uint64_t announced_ = 0;
  std::uint64_t fed_ = 0;
  std::string command_;
  std::string going_, held_;  ///< the octet that was held back, and the one that is now

  AttemptResult result_;
  std::vector<Progress> progress_;
  std::size_t accepted_ = 0;
  bool mail_answered_ = false;
  bool mail_accepted_ = false;
  bool start_input_ = false;  ///< 354 came
};

Transaction::Transaction(Connection& connection, const queue::MessageInfo& message,
                         const std::vector<queue::DueRecipient>& recipients, const queue::Content& content,
                         const queue::OpenBody& open_body)
    : connection_(connection),
      message_(message),
      recipients_(recipients),
      content_(content),
      open_body_(open_body),
      host_(connection.peer().text()),
      utf8_(needs_utf8(message, recipients)),
      framing_(framing_of(connection, message)),
      wire_(framing_, message.dot_lines),
      progress_(recipients.size(), Progress::open) {
  result_.outcomes.resize(recipients.size());
}

net::Task<AttemptResult> Transaction::run() {
  if (!connection_.usable()) {
    host_failed(Stage::mail, Error(Errc::closed, "session is over"));
    co_return std::move(result_);
  }
  std::optional<Outcome> in_the_way = obstacle();
  if (in_the_way) {
    settle_rest(*in_the_way);
    co_return std::move(result_);
  }
  in_the_way = co_await prepare_body();
  if (in_the_way) {
    settle_rest(*in_the_way);
    co_return std::move(result_);
  }

  settle_damaged();
  settle_utf8();
  if (all_settled()) co_return std::move(result_);
  connection_.began_transaction();
  bool go = co_await envelope();
  if (go) {
    co_await send_message();
  } else {
    co_await abandon();
  }
  co_return std::move(result_);
}

/// Why MAIL need not be said, if so.
std::optional<Outcome> Transaction::obstacle() const {
  const smtp::Extensions& offered = connection_.extensions();
  std::uint64_t limit = offered.size_limit.value_or(0);
  if (offered.size && limit > 0 && message_.size > limit) return too_big(message_.size, limit, host_);
  if (needs_utf8(message_) && !offered.smtputf8) return needs_smtputf8(host_);
  if (requires_tls() && !(is_verified() && offered.require_tls)) return needs_tls(is_verified(), host_);
  if (!fits_a_command(mail_line())) return of_local_error(Error(Errc::damaged, "stored reverse-path is damaged"));
  return std::nullopt;
}

/// Why the body cannot be sent, if so.
net::Task<std::optional<Outcome>> Transaction::prepare_body() {
  Result<> sound = co_await check_inline_body();
  if (!sound) co_return of_local_error(sound.error());
  if (takes_body()) co_return std::nullopt;
  Result<Conversion> learnt = co_await learn_conversion(content_, open_body_);
  if (!learnt) co_return of_local_error(learnt.error());
  conversion_ = *std::move(learnt);
  if (conversion_.verdict == Conversion::Verdict::convertible) converter_.emplace(conversion_);
  co_return unfit_for_conversion();
}

/// True if the host takes the body as it is stored.
bool Transaction::takes_body() const {
  const smtp::Extensions& offered = connection_.extensions();
  if (message_.body == smtp::BodyType::binary_mime) return framing_ == WireBody::Framing::binary;
  return offered.eight_bit_mime || !message_.eight_bit;
}

/// What cannot be converted may go as it is where the administrator says so; but no binary content without BDAT: what
/// is left after the conversion, or needs none, has to be text.
std::optional<Outcome> Transaction::unfit_for_conversion() const {
  using Verdict = Conversion::Verdict;
  const bool binary = message_.body == smtp::BodyType::binary_mime;
  const bool made = conversion_.verdict == Verdict::convertible || conversion_.verdict == Verdict::unneeded;
  if (made && !(binary && conversion_.octets_left)) return std::nullopt;
  if (!binary && connection_.settings().send_unconverted) return std::nullopt;
  const std::string missing = binary ? "BINARYMIME" : "8BITMIME";
  const bool is_signed = conversion_.verdict == Verdict::signed_content;
  return needs_conversion("the host does not offer " + missing + ", and the message cannot be converted" +
                              (is_signed ? ": it is signed or encrypted" : ""),
                          host_);
}

/// A body that is in memory is held against its checksum before anything is said; one in a file, while it is sent.
net::Task<Result<>> Transaction::check_inline_body() {
  if (content_.in_file) co_return Result<>();
  queue::BodyReader body = open_body_();
  while (true) {
    Result<std::string_view> piece = co_await body.next();
    if (!piece) co_return fail(piece.error());
    if (piece->empty()) co_return Result<>();
  }
}

void Transaction::settle_damaged() {
  for (std::size_t i = 0; i < recipients_.size(); ++i)
    if (!fits_a_command(rcpt_line(recipients_[i])))
      settle(i, of_local_error(Error(Errc::damaged, "stored forward-path is damaged")));
}

/// Recipients whose addresses the host does not understand; the others go without SMTPUTF8.
void Transaction::settle_utf8() {
  if (connection_.extensions().smtputf8) return;
  utf8_ = false;
  for (std::size_t i = 0; i < recipients_.size(); ++i) {
    if (has_utf8(recipients_[i].forward_path)) settle(i, needs_smtputf8(host_));
  }
}

bool Transaction::all_settled() const {
  return std::all_of(progress_.begin(), progress_.end(),
                     [](Progress progress) { return progress == Progress::settled; });
}

std::vector<Transaction::Step> Transaction::steps() const {
  std::vector<Step> steps = {Step{Stage::mail, 0}};
  for (std::size_t i = 0; i < recipients_.size(); ++i)
    if (progress_[i] == Progress::open) steps.push_back(Step{Stage::rcpt, i});
  if (framing_ == WireBody::Framing::dots) steps.push_back(Step{Stage::data, 0});
  return steps;
}

/// How large it is once it is converted is not known yet.
std::string Transaction::mail_line() const {
  const smtp::Extensions& offered = connection_.extensions();
  smtp::MailParameters parameters;
  if (offered.size && !converter_) parameters.size = message_.size;
  if (offered.eight_bit_mime && message_.eight_bit && !converter_) parameters.body = smtp::BodyType::eight_bit_mime;
  if (framing_ == WireBody::Framing::binary) parameters.body = smtp::BodyType::binary_mime;
  parameters.smtputf8 = utf8_;
  parameters.require_tls = message_.require_tls && offered.require_tls;
  if (offered.dsn) {
    parameters.ret = message_.ret;
    parameters.envid = message_.envid;
  }
  return "MAIL FROM:" + message_.reverse_path.bracketed() + smtp::text(parameters);
}

std::string Transaction::rcpt_line(const queue::DueRecipient& recipient) const {
  smtp::RcptParameters parameters;
  if (connection_.extensions().dsn) {
    parameters.notify = recipient.notify;
    parameters.orcpt = recipient.orcpt;
  }
  return "RCPT TO:" + recipient.forward_path.bracketed() + smtp::text(parameters);
}

std::string Transaction::line_of(const Step& step) const {
  switch (step.stage) {
    case Stage::mail:
      return mail_line();
    case Stage::rcpt:
      return rcpt_line(recipients_[step.recipient]);
    default:
      return "DATA";
  }
}

/// MAIL, RCPT and DATA, as many at a time as the host admits. True: somebody is to get the message, and 354 came where
/// it goes by DATA.
net::Task<bool> Transaction::envelope() {
  const std::vector<Step> all = steps();
  const std::size_t at_once = connection_.extensions().pipelining ? kMaxPipelined : 1;
  std::size_t next = 0;
  while (next < all.size()) {
    const std::size_t first = next;
    for (; next < all.size() && next - first < at_once; ++next) {
      // DATA goes out beside RCPTs that are not answered yet, but not after all of them were refused.
      bool for_nobody = all[next].stage == Stage::data && accepted_ == 0 && next == first;
      if (for_nobody) co_return false;
      connection_.queue_command(line_of(all[next]));
    }
    for (std::size_t i = first; i < next; ++i) {
      Result<smtp::Reply> reply = co_await connection_.next_reply(command_timeout());
      if (!reply) {
        HostFailure failure = of_error(all[i].stage, reply.error(), host_);
        if (next - first > 1 && !failure.ours) failure.suspect = HostFailure::Suspect::pipelining;
        host_failed(std::move(failure));
        co_return false;
      }
      if (is_host_failure(all[i].stage, *reply)) {
        host_failed(all[i].stage, *reply);
        co_return false;
      }
      if (all[i].stage == Stage::mail && connection_.peer().given && wants_login(*reply)) {
        host_failed(login_wanted(*reply, host_));
        co_return false;
      }
      on_reply(all[i], *reply);
    }
    if (!mail_accepted_) co_return false;
  }
  co_return (start_input_ || framing_ != WireBody::Framing::dots) && accepted_ > 0;
}

void Transaction::on_reply(const Step& step, const smtp::Reply& reply) {
  switch (step.stage) {
    case Stage::mail:
      mail_answered_ = true;
      mail_accepted_ = reply.positive();
      if (!mail_accepted_) settle_rest(outcome_of(Stage::mail, reply));
      return;
    case Stage::rcpt:
      // After a refused MAIL, the reply to a pipelined RCPT (503, mostly) says nothing of the recipient.
      if (mail_accepted_) on_rcpt_reply(step.recipient, reply);
      return;
    default:
      start_input_ = reply.intermediate();
      if (!start_input_) settle_rest(outcome_of(Stage::data, reply));
  }
}

void Transaction::on_rcpt_reply(std::size_t recipient, const smtp::Reply& reply) {
  if (reply.positive()) {
    progress_[recipient] = Progress::accepted;
    ++accepted_;
    return;
  }
  const bool is_full = accepted_ > 0 && is_too_many(reply);  // which is no matter for rules
  Outcome outcome = is_full ? of_reply(Stage::rcpt, reply, host_) : outcome_of(Stage::rcpt, reply);
  outcome.next_transaction = is_full;
  if (connection_.peer().given && wants_login(reply)) outcome = from_host_failure(login_wanted(reply, host_));
  settle(recipient, std::move(outcome));
}

/// Nobody is left to send the message to: leaves the session as it was before MAIL, if it can still be used.
net::Task<> Transaction::abandon() {
  if (!connection_.usable()) co_return;
  if (start_input_ && is_lmtp()) {
    connection_.close();  // there would be no reply to an empty message (RFC 2033 §4.2)
    co_return;
  }
  if (start_input_) {
    // It took pipelined DATA without a recipient. The way out is an empty message, whatever it says to that (RFC 2920
    // §3.1).
    const std::vector<std::string_view> dot = {smtp::kEndOfData};
    Result<> sent = co_await connection_.send_body(dot);
    if (!sent) co_return;
    Result<smtp::Reply> ignored = co_await connection_.next_reply(connection_.settings().data_timeout);
    if (!ignored) co_return;
    co_return;
  }
  if (mail_accepted_) co_await reset();
}

net::Task<> Transaction::reset() {
  connection_.queue_command("RSET");
  Result<smtp::Reply> reply = co_await connection_.next_reply(command_timeout());
  if (reply && !reply->positive()) connection_.give_up();
}

/// After 354, or by BDAT: trace, body, and the dot or the last octet only once the body is known to be whole.
net::Task<> Transaction::send_message() {
  if (framing_ != WireBody::Framing::dots) {
    announced_ = content_.trace.size() + (content_.in_file ? content_.body_size : content_.octets.size());
    command_ = "BDAT " + std::to_string(announced_) + " LAST\r\n";
  }
  feed(content_.trace);
  if (content_.in_file) {
    const bool sent = co_await send_file();
    if (!sent) co_return;
  } else {
    feed(content_.octets);
  }
  const bool sent = co_await send_pieces(true);
  if (sent) co_await await_final_replies();
}

/// All but the end. True if it went out.
net::Task<bool> Transaction::send_file() {
  queue::BodyReader body = open_body_();
  for (;;) {
    Result<std::string_view> piece = co_await body.next();
    if (!piece) {
      // Closing before the end is the only way to take it back (RFC 5321 §3.8).
      settle_rest(of_local_error(piece.error()));
      connection_.close();
      co_return false;
    }
    if (piece->empty()) break;
    feed_all_but_last(*piece);
    const bool sent = co_await send_pieces(false);
    if (!sent) co_return false;
  }
  feed(held_);
  co_return true;
}

/// The octets outlive the next send_pieces().
void Transaction::feed(std::string_view octets) {
  if (converter_) {
    converter_->feed(octets, converted_);
  } else {
    wire_.feed(octets);
  }
}

/// The last octet ends what BDAT announced, as the dot does after DATA: it waits until the body is known to be whole.
void Transaction::feed_all_but_last(std::string_view octets) {
  if (framing_ == WireBody::Framing::dots) return feed(octets);
  going_.swap(held_);
  held_.assign(1, octets.back());
  octets.remove_suffix(1);
  feed(going_);
  feed(octets);
}

/// True if they went out.
net::Task<bool> Transaction::send_pieces(bool last) {
  if (converter_ && last) converter_->finish(converted_);
  if (converter_) wire_.feed(converted_);
  if (last) wire_.finish();
  fed_ += wire_.octets();
  if (framing_ != WireBody::Framing::dots && (fed_ > announced_ || (last && fed_ != announced_))) {
    settle_rest(of_local_error(Error(Errc::damaged, "stored body is not in the form that goes over the wire")));
    connection_.close();
    co_return false;
  }
  if (!command_.empty()) wire_.put_first(command_);
  Result<> sent = co_await connection_.send_body(wire_.pieces());
  wire_.sent();
  converted_.clear();
  command_.clear();
  if (!sent) co_await lost_in_body(sent.error());
  co_return sent.has_value();
}

/// The end did not go out. A host that closes in the middle may have said why (552, mostly).
net::Task<> Transaction::lost_in_body(Error error) {
  bool ours = error.code == Errc::cancelled || error.code == Errc::protocol;
  if (!ours) {
    Result<smtp::Reply> early = co_await connection_.next_reply(kEarlyReply);
    const Stage stage = framing_ == WireBody::Framing::dots ? Stage::body : Stage::chunk;
    if (early && is_host_failure(stage, *early)) {
      host_failed(stage, *early);
      co_return;
    }
    if (early && !early->positive()) {
      connection_.give_up();
      settle_rest(outcome_of(Stage::body, *early));
      co_return;
    }
  }
  host_failed(Stage::body, error);
}

/// One for all; by LMTP one for each that was accepted, in their order (RFC 2033 §4.2).
net::Task<> Transaction::await_final_replies() {
  const Stage stage = framing_ == WireBody::Framing::dots ? Stage::final_dot : Stage::chunk;
  for (std::size_t i = 0; i < recipients_.size(); ++i) {
    if (progress_[i] != Progress::accepted) continue;
    Result<smtp::Reply> reply = co_await connection_.next_reply(connection_.settings().data_timeout);
    if (!reply) {
      result_.in_doubt = true;
      host_failed(in_doubt(reply.error(), host_));
      co_return;
    }
    if (is_host_failure(stage, *reply)) {
      host_failed(stage, *reply);
      co_return;
    }
    Outcome outcome = outcome_of(stage, *reply);
    outcome.reports = connection_.extensions().dsn && !is_lmtp();
    if (!is_lmtp()) {
      settle_rest(outcome);
      // Whether its transaction is over after it has refused a chunk is not said for certain (RFC 1830 §2).
      const bool unsure = framing_ != WireBody::Framing::dots && !reply->positive();
      if (unsure) co_await reset();
      co_return;
    }
    if (outcome.taken()) outcome.event = queue::Event::attempt_delivered;
    settle(i, std::move(outcome));
  }
}

void Transaction::settle(std::size_t recipient, Outcome outcome) {
  if (outcome.host.empty()) outcome.host = host_;
  outcome.tls = connection_.tls().text();
  result_.outcomes[recipient] = std::move(outcome);
  progress_[recipient] = Progress::settled;
}

/// All that have no outcome yet: those that were accepted, and those that were not asked about.
void Transaction::settle_rest(const Outcome& outcome) {
  for (std::size_t i = 0; i < recipients_.size(); ++i)
    if (progress_[i] != Progress::settled) settle(i, outcome);
  accepted_ = 0;
}

void Transaction::host_failed(Stage stage, const smtp::Reply& reply) {
  HostFailure failure = host_failure(stage, reply, host_);
  react(connection_.settings().rules.get(), stage, reply, connection_.peer(), failure);
  host_failed(std::move(failure));
}

Outcome Transaction::outcome_of(Stage stage, const smtp::Reply& reply) const {
  Outcome outcome = of_reply(stage, reply, host_);
  react(connection_.settings().rules.get(), stage, reply, connection_.peer(), outcome);
  return outcome;
}

void Transaction::host_failed(Stage stage, const Error& error) {
  host_failed(of_error(stage, error, host_));
}

void Transaction::host_failed(HostFailure failure) {
  connection_.give_up();
  failure.tls = connection_.tls().text();
  // Its envelope went well, or BDAT would not have been said.
  if (announced_ > 0 && !failure.ours) failure.suspect = HostFailure::Suspect::chunking;
  settle_rest(result_.in_doubt ? from_doubt(failure) : from_host_failure(failure));
  result_.before_mail = !mail_answered_;
  result_.host = std::move(failure);
}

}  // namespace

net::Task<AttemptResult> attempt(Connection& connection, const queue::MessageInfo& message,
                                 const std::vector<queue::DueRecipient>& recipients, const queue::Content& content,
                                 queue::OpenBody open_body) {
  Transaction transaction(connection, message, recipients, content, open_body);
  AttemptResult result = co_await transaction.run();
  co_return result;
}

}  // namespace waypost::delivery
