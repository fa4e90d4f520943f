#include "delivery/attempt.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "base/text.h"
#include "delivery/disposition.h"
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
  return !is_ascii(path.text());
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

/// One transaction. Each recipient is open until its outcome is known, or accepted until the final reply.
class Transaction {
 public:
  Transaction(Connection& connection, const queue::MessageInfo& message,
              const std::vector<queue::DueRecipient>& recipients, const queue::Content& content,
              queue::BodyReader& body);
  net::Task<AttemptResult> run();

 private:
  enum class Progress : std::uint8_t { open, accepted, settled };
  struct Step {
    Stage stage = Stage::mail;
    std::size_t recipient = 0;
  };

  std::optional<Outcome> obstacle() const;
  net::Task<Result<>> check_inline_body();
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
  net::Task<> send_message();
  net::Task<Result<>> send_pieces();
  net::Task<> lost_in_body(Error error);
  net::Task<> await_final_replies();

  void settle(std::size_t recipient, Outcome outcome);
  void settle_rest(const Outcome& outcome);
  void host_failed(Stage stage, const smtp::Reply& reply);
  void host_failed(Stage stage, const Error& error);
  void host_failed(HostFailure failure);
  /// What stays on this machine crosses no net.
  bool requires_tls() const { return message_.require_tls && !connection_.peer().address.is_local(); }
  bool is_verified() const { return connection_.tls().verdict >= TlsEvidence::Verdict::verified; }
  bool is_lmtp() const { return connection_.peer().protocol == Protocol::lmtp; }
  net::Duration command_timeout() const { return connection_.settings().command_timeout; }

  Connection& connection_;
  const queue::MessageInfo& message_;
  const std::vector<queue::DueRecipient>& recipients_;
  const queue::Content& content_;
  queue::BodyReader& body_;
  const std::string host_;
  bool utf8_;
  WireBody wire_;

  AttemptResult result_;
  std::vector<Progress> progress_;
  std::size_t accepted_ = 0;
  bool mail_answered_ = false;
  bool mail_accepted_ = false;
  bool start_input_ = false;  ///< 354 came
};

Transaction::Transaction(Connection& connection, const queue::MessageInfo& message,
                         const std::vector<queue::DueRecipient>& recipients, const queue::Content& content,
                         queue::BodyReader& body)
    : connection_(connection),
      message_(message),
      recipients_(recipients),
      content_(content),
      body_(body),
      host_(connection.peer().text()),
      utf8_(needs_utf8(message, recipients)),
      wire_(message.dot_lines),
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
  Result<> sound = co_await check_inline_body();
  if (!sound) {
    settle_rest(of_local_error(sound.error()));
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

/// A body that is in memory is held against its checksum before anything is said; one in a file, while it is sent.
net::Task<Result<>> Transaction::check_inline_body() {
  if (content_.in_file) co_return Result<>();
  while (true) {
    Result<std::string_view> piece = co_await body_.next();
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
  steps.push_back(Step{Stage::data, 0});
  return steps;
}

/// An 8-bit body goes to a host without 8BITMIME as it is: there is no conversion in this version.
std::string Transaction::mail_line() const {
  const smtp::Extensions& offered = connection_.extensions();
  smtp::MailParameters parameters;
  if (offered.size) parameters.size = message_.size;
  if (offered.eight_bit_mime && message_.eight_bit) parameters.body = smtp::BodyType::eight_bit_mime;
  parameters.smtputf8 = utf8_;
  parameters.require_tls = requires_tls();
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

/// MAIL, RCPT and DATA, as many at a time as the host admits. True: 354 came and somebody is to get the message.
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
        host_failed(all[i].stage, reply.error());
        co_return false;
      }
      if (is_host_failure(all[i].stage, *reply)) {
        host_failed(all[i].stage, *reply);
        co_return false;
      }
      on_reply(all[i], *reply);
    }
    if (!mail_accepted_) co_return false;
  }
  co_return start_input_&& accepted_ > 0;
}

void Transaction::on_reply(const Step& step, const smtp::Reply& reply) {
  switch (step.stage) {
    case Stage::mail:
      mail_answered_ = true;
      mail_accepted_ = reply.positive();
      if (!mail_accepted_) settle_rest(of_reply(Stage::mail, reply, host_));
      return;
    case Stage::rcpt:
      // After a refused MAIL, the reply to a pipelined RCPT (503, mostly) says nothing of the recipient.
      if (mail_accepted_) on_rcpt_reply(step.recipient, reply);
      return;
    default:
      start_input_ = reply.intermediate();
      if (!start_input_) settle_rest(of_reply(Stage::data, reply, host_));
  }
}

void Transaction::on_rcpt_reply(std::size_t recipient, const smtp::Reply& reply) {
  if (reply.positive()) {
    progress_[recipient] = Progress::accepted;
    ++accepted_;
    return;
  }
  Outcome outcome = of_reply(Stage::rcpt, reply, host_);
  outcome.next_transaction = accepted_ > 0 && is_too_many(reply);
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
  if (!mail_accepted_) co_return;
  connection_.queue_command("RSET");
  Result<smtp::Reply> reply = co_await connection_.next_reply(command_timeout());
  if (reply && !reply->positive()) connection_.give_up();
}

/// After 354: trace, body, and the dot only once the body is known to be whole.
net::Task<> Transaction::send_message() {
  wire_.feed(content_.trace);
  if (!content_.in_file) wire_.feed(content_.octets);
  while (content_.in_file) {
    Result<std::string_view> piece = co_await body_.next();
    if (!piece) {
      // Closing without the dot is the only way to take it back (RFC 5321 §3.8).
      settle_rest(of_local_error(piece.error()));
      connection_.close();
      co_return;
    }
    if (piece->empty()) break;
    wire_.feed(*piece);
    Result<> sent = co_await send_pieces();
    if (!sent) {
      co_await lost_in_body(sent.error());
      co_return;
    }
  }
  wire_.finish();
  Result<> sent = co_await send_pieces();
  if (!sent) {
    co_await lost_in_body(sent.error());
    co_return;
  }
  co_await await_final_replies();
}

net::Task<Result<>> Transaction::send_pieces() {
  Result<> sent = co_await connection_.send_body(wire_.pieces());
  wire_.sent();
  co_return sent;
}

/// The dot, the last octets, did not go out. A host that closes in the middle may have said why (552, mostly).
net::Task<> Transaction::lost_in_body(Error error) {
  bool ours = error.code == Errc::cancelled || error.code == Errc::protocol;
  if (!ours) {
    Result<smtp::Reply> early = co_await connection_.next_reply(kEarlyReply);
    if (early && is_host_failure(Stage::body, *early)) {
      host_failed(Stage::body, *early);
      co_return;
    }
    if (early && !early->positive()) {
      connection_.give_up();
      settle_rest(of_reply(Stage::body, *early, host_));
      co_return;
    }
  }
  host_failed(Stage::body, error);
}

/// One for all; by LMTP one for each that was accepted, in their order (RFC 2033 §4.2).
net::Task<> Transaction::await_final_replies() {
  for (std::size_t i = 0; i < recipients_.size(); ++i) {
    if (progress_[i] != Progress::accepted) continue;
    Result<smtp::Reply> reply = co_await connection_.next_reply(connection_.settings().data_timeout);
    if (!reply) {
      result_.in_doubt = true;
      host_failed(in_doubt(reply.error(), host_));
      co_return;
    }
    if (is_host_failure(Stage::final_dot, *reply)) {
      host_failed(Stage::final_dot, *reply);
      co_return;
    }
    Outcome outcome = of_reply(Stage::final_dot, *reply, host_);
    outcome.reports = connection_.extensions().dsn && !is_lmtp();
    if (!is_lmtp()) {
      settle_rest(outcome);
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
  host_failed(host_failure(stage, reply, host_));
}

void Transaction::host_failed(Stage stage, const Error& error) {
  host_failed(of_error(stage, error, host_));
}

void Transaction::host_failed(HostFailure failure) {
  connection_.give_up();
  failure.tls = connection_.tls().text();
  settle_rest(result_.in_doubt ? from_doubt(failure) : from_host_failure(failure));
  result_.before_mail = !mail_answered_;
  result_.host = std::move(failure);
}

}  // namespace

net::Task<AttemptResult> attempt(Connection& connection, const queue::MessageInfo& message,
                                 const std::vector<queue::DueRecipient>& recipients, const queue::Content& content,
                                 queue::BodyReader body) {
  Transaction transaction(connection, message, recipients, content, body);
  AttemptResult result = co_await transaction.run();
  co_return result;
}

}  // namespace waypost::delivery
