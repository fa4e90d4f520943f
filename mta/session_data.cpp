// DATA or BDAT (RFC 3030): the body, one durable commit, and only then 250.
#include <algorithm>
#include <utility>

#include "base/event_log.h"
#include "base/text.h"
#include "delivery/route.h"
#include "mta/client_class.h"
#include "mta/session.h"
#include "smtp/date.h"
#include "smtp/header_scan.h"
#include "smtp/trace.h"
#include "smtp/transparency.h"

namespace waypost::mta {
namespace {

queue::Priority priority_of(conf::Priority priority) {
  switch (priority) {
    case conf::Priority::high:
      return queue::Priority::high;
    case conf::Priority::normal:
      return queue::Priority::normal;
    case conf::Priority::bulk:
      return queue::Priority::bulk;
  }
  return queue::Priority::normal;
}

}  // namespace

struct Session::Reception {
  Reception(smtp::BodyDecoder body, queue::Draft place, const conf::Config& config, std::uint64_t most,
            bool refuse_bare, net::TimePoint now)
      : draft(std::move(place)),
        decoder(body),
        headers(config.hostname),
        max_octets(most),
        refuse_bare_line_end(refuse_bare),
        is_binary(body.framing() == smtp::BodyDecoder::Framing::binary),
        began(now) {}

  smtp::Envelope envelope;        ///< once it is the body's turn alone
  std::optional<RateHold> rates;  ///< likewise
  std::vector<delivery::Subject> expanded;
  std::optional<std::string> head;    ///< what `expanded` is told of it, once the draft is in a file
  std::optional<queue::Draft> draft;  ///< none once it is known that the message will be refused
  std::optional<Error> no_place;      ///< why the draft could not grow
  smtp::BodyDecoder decoder;
  smtp::HeaderScan headers;
  bool in_headers = true;
  std::string scratch;
  const std::uint64_t max_octets;
  const bool refuse_bare_line_end;
  const bool is_binary;
  const net::TimePoint began;

  bool is_too_big() const { return decoder.notes().octets > max_octets; }
  bool is_refused() const { return no_place || is_too_big() || has_bad_octets(); }
  bool has_nul() const { return decoder.notes().nul && !is_binary; }
  bool has_bare_line_end() const { return decoder.notes().bare_line_end && refuse_bare_line_end && !is_binary; }
  bool has_bad_octets() const { return has_nul() || has_bare_line_end(); }

  void take_over(Transaction transaction) {
    envelope = std::move(transaction.envelope);
    if (transaction.rates) rates.emplace(*std::move(transaction.rates));
    expanded = std::move(transaction.expanded);
  }
  /// Returns how much of the chunk belonged to the body.
  std::size_t take(std::string_view chunk) {
    std::string& out = draft ? draft->buffer() : scratch;
    std::size_t before = out.size();
    smtp::BodyDecoder::Step step = decoder.feed(chunk, out);
    took(std::string_view(out).substr(before), step.ended);
    return step.consumed;
  }
  /// The last chunk of a counted body was taken.
  void finish() {
    std::string& out = draft ? draft->buffer() : scratch;
    std::size_t before = out.size();
    decoder.finish(out);
    took(std::string_view(out).substr(before), true);
  }

 private:
  void took(std::string_view decoded, bool ended) {
    if (in_headers) in_headers = !headers.feed(decoded);
    if (ended) headers.finish();
    // What will be refused is still read to its real end, but kept no longer.
    if (is_refused()) draft.reset();
    scratch.clear();
  }
};

net::Task<Result<smtp::Reply>> Session::receive() {
  // From here on nothing of the transaction is left in the session: the next MAIL begins anew, whatever comes.
  Transaction transaction = *std::move(transaction_);
  transaction_.reset();
  say(smtp::reply::start_input());
  Result<> sent = co_await flush();
  if (!sent) co_return fail(std::move(sent.error()));

  Reception reception(smtp::BodyDecoder(smtp::BodyDecoder::Framing::dot, after_crlf_), context_.store.draft(), *config_,
                      message_size(*config_, client_), listener_.reject_bare_newline, context_.runtime.now());
  reception.take_over(std::move(transaction));
  Result<> read = co_await read_body(reception);
  if (!read && read.error().code == Errc::timed_out) {
    smtp::Reply late = close_with(smtp::reply::idle(config_->hostname));
    log_rejected("DATA", &reception.envelope, "", late);
    co_return late;
  }
  if (!read) co_return fail(std::move(read.error()));
  co_return co_await finish_body(reception);
}

/// Its octets are read whatever the reply will be: what follows them is the next command (RFC 3030 §2).
net::Task<Result<smtp::Reply>> Session::receive_chunk(smtp::Bdat chunk) {
  std::optional<smtp::Reply> refused = chunk_refusal();
  std::shared_ptr<Reception> reception;
  if (!refused) reception = transaction_->reception;
  if (!reception) {
    using Framing = smtp::BodyDecoder::Framing;
    const bool binary = !refused && transaction_->envelope.body == smtp::BodyType::binary_mime;
    reception = std::make_shared<Reception>(smtp::BodyDecoder(binary ? Framing::binary : Framing::counted),
                                            context_.store.draft(), *config_, message_size(*config_, client_),
                                            listener_.reject_bare_newline, context_.runtime.now());
    if (refused) reception->draft.reset();
    if (!refused) transaction_->reception = reception;
  }
  Result<> read = co_await read_octets(*reception, chunk.octets);
  if (!read && read.error().code == Errc::timed_out) {
    smtp::Reply late = close_with(smtp::reply::idle(config_->hostname));
    log_rejected("BDAT", transaction_ ? &transaction_->envelope : nullptr, "", late);
    co_return late;
  }
  if (!read) co_return fail(std::move(read.error()));
  if (refused) {
    ++junk_;  // and no error: those that were sent behind a refused one are no fault of their own
    co_return *std::move(refused);
  }

  if (!chunk.last && !reception->is_refused()) co_return smtp::reply::chunk_received(chunk.octets);
  if (chunk.last) reception->finish();
  Transaction transaction = *std::move(transaction_);
  transaction_.reset();
  reception->take_over(std::move(transaction));
  co_return co_await finish_body(*reception);
}

/// Why these octets belong to no message.
std::optional<smtp::Reply> Session::chunk_refusal() const {
  if (!transaction_) return smtp::reply::bad_sequence("Send MAIL first");
  if (!transaction_->envelope.recipients.empty()) return std::nullopt;
  // As for DATA: in a group the client could not know yet.
  return out_.empty() ? smtp::reply::bad_sequence("Send RCPT first") : smtp::reply::no_valid_recipients();
}

/// The body is known as far as it has to be.
net::Task<Result<smtp::Reply>> Session::finish_body(Reception& reception) {
  last_verb_ = "END-OF-MESSAGE";
  if (dialogue::is_watched())
    note(dialogue::Voice::peer, "(body, " + std::to_string(reception.decoder.notes().octets) + " octets)");
  std::optional<smtp::Reply> refused = verdict(reception);
  if (reception.no_place) refused = storage_reply(*reception.no_place);
  if (refused) {
    log_rejected("END-OF-MESSAGE", &reception.envelope, "", *refused);
    co_return *std::move(refused);
  }
  co_return co_await store_message(reception);
}

net::Task<Result<>> Session::read_body(Reception& reception) {
  while (!reception.decoder.ended()) {
    Result<std::string_view> chunk = co_await body_octets(reception);
    if (!chunk) co_return fail(std::move(chunk.error()));
    in_.consume(reception.take(*chunk));
    if (reception.draft && reception.draft->full()) co_await spill(reception);
  }
  co_return Result<>();
}

net::Task<Result<>> Session::read_octets(Reception& reception, std::uint64_t octets) {
  if (body_deadline(reception) < context_.runtime.now()) co_return fail(Errc::timed_out, "the body came too slowly");
  while (octets > 0) {
    Result<std::string_view> chunk = co_await body_octets(reception);
    if (!chunk) co_return fail(std::move(chunk.error()));
    std::string_view ours = chunk->substr(0, std::min<std::uint64_t>(octets, chunk->size()));
    octets -= ours.size();
    in_.consume(reception.take(ours));
    if (reception.draft && reception.draft->full()) co_await spill(reception);
  }
  co_return Result<>();
}

/// At least one; they stay in the buffer until they are consumed.
net::Task<Result<std::string_view>> Session::body_octets(const Reception& reception) {
  net::TimePoint deadline = body_deadline(reception);
  if (deadline < context_.runtime.now()) co_return fail(Errc::timed_out, "the body came too slowly");
  if (in_.buffered() == 0 && !out_.empty()) {
    Result<> sent = co_await flush();
    if (!sent) co_return fail(std::move(sent.error()));
  }
  waiting_ = Waiting::body;
  Result<std::string_view> chunk = co_await in_.peek(deadline);
  waiting_ = Waiting::nothing;
  if (said_goodbye_) co_return fail(Errc::cancelled, "stopped within a body");
  co_return chunk;
}

net::Task<> Session::spill(Reception& reception) {
  if (!reception.head) reception.head = delivery::header_section(reception.draft->buffer());
  Result<> spilled = co_await reception.draft->spill();
  if (spilled) co_return;
  reception.no_place = std::move(spilled.error());
  reception.draft.reset();
}

/// One block may take as long as `limits.data_timeout`; but the time for the whole grows with its octets only, so that
/// one octet now and then holds no place for long (RELIABILITY F36). Octets over the size limit buy no time.
net::TimePoint Session::body_deadline(const Reception& reception) const {
  net::Duration block = config_->limits.data_timeout;
  std::uint64_t octets = std::min(reception.decoder.notes().octets, reception.max_octets);
  net::Duration earned = std::chrono::seconds(octets / kMinOctetsPerSecond);
  net::Duration whole = std::min(block + earned, kLongestBody);
  return std::min(context_.runtime.now() + block, reception.began + whole);
}

/// Why the message is refused, or nullopt. Nothing is refused before its real end was read.
std::optional<smtp::Reply> Session::verdict(const Reception& reception) const {
  const smtp::HeaderNotes& headers = reception.headers.notes();
  if (reception.is_too_big()) return smtp::reply::too_big(reception.max_octets);
  if (reception.has_nul()) return smtp::reply::bad_content("Message has a NUL");
  if (reception.has_bare_line_end()) return smtp::reply::bare_line_end();
  if (headers.not_text) return smtp::reply::bad_content("The header section is no text");
  if (headers.hops > config_->limits.hops || headers.own_hops >= kMaxOwnHops) return smtp::reply::loop(headers.hops);
  return std::nullopt;
}

smtp::Reply Session::storage_reply(const Error& error) {
  log::storage_refused(client_name_, error.what);
  if (error.code == Errc::cancelled) return close_with(smtp::reply::shutting_down(config_->hostname));
  return error.code == Errc::full ? smtp::reply::insufficient_storage() : smtp::reply::local_error();
}

net::Task<smtp::Reply> Session::store_message(Reception& reception) {
  queue::NewMessage message = describe(reception);
  queue::BodyNotes notes;
  notes.eight_bit = reception.decoder.notes().eight_bit;
  notes.dot_lines = reception.decoder.notes().has_dot_lines;

  // What the log says of it: the message itself goes to the store.
  std::string id = message.id.text();
  std::string from = message.envelope.reverse_path.text();
  std::string message_id = message.message_id;
  std::uint64_t size = message.trace.size() + reception.draft->size();
  std::size_t recipients = message.envelope.recipients.size();

  delivery::assign_destinations(*config_, message);
  std::optional<queue::Notification> report = expansion_report(reception, message);
  if (report) delivery::assign_destinations(*config_, report->message);
  std::string report_id = report ? report->message.id.text() : "";

  // 250 accepts responsibility for the message (RFC 5321 §6.1), so it waits for the disk.
  queue::Draft draft = *std::move(reception.draft);
  Result<> committed = co_await context_.store.commit(std::move(message), std::move(draft), notes, std::move(report));
  if (!committed) co_return storage_reply(committed.error());
  if (reception.rates) reception.rates->keep();

  log::accepted_from(id, client_name_, login_mechanism_, client_.login);
  log::message_id(id, message_id);
  log::queued(id, from, size, recipients);
  if (!report_id.empty()) log::notified(id, report_id, "delivery status");
  errors_ = unknown_recipients_ = junk_ = 0;
  co_return smtp::reply::queued(id);
}

/// The sender asked to be told of success, and named an alias: that it was expanded is what there is to tell.
std::optional<queue::Notification> Session::expansion_report(Reception& reception,
                                                             const queue::NewMessage& message) const {
  if (reception.expanded.empty()) return std::nullopt;
  queue::MessageInfo info;
  info.id = message.id;
  info.reverse_path = message.envelope.reverse_path;
  info.arrival = message.arrival;
  info.expires = message.expires;
  info.envid = message.envelope.envid;
  const std::vector<delivery::Subject> subjects = delivery::to_be_told(info, reception.expanded);
  if (subjects.empty()) return std::nullopt;
  const std::string& head = reception.head ? *reception.head : reception.draft->buffer();
  const delivery::Notifier notifier{config_->hostname, config_->queue.bounce_expire};
  return delivery::compose_notification(notifier, info, subjects, message.trace + delivery::header_section(head),
                                        context_.store.draft().id(), message.arrival);
}

queue::NewMessage Session::describe(Reception& reception) const {
  bool is_null = reception.envelope.reverse_path.is_null();
  queue::NewMessage message;
  message.id = reception.draft->id();
  message.arrival = context_.runtime.wall_now();
  message.expires = message.arrival + (is_null ? config_->queue.bounce_expire : config_->queue.expire);
  // Nobody is told about a message with a null reverse-path.
  bool warns = !is_null && config_->queue.delay_warning > std::chrono::seconds(0);
  if (warns) message.warn_at = message.arrival + config_->queue.delay_warning;
  message.envelope = std::move(reception.envelope);
  message.message_id = reception.headers.notes().message_id;

  smtp::Protocol protocol;
  protocol.esmtp = esmtp_;
  protocol.tls = tls_.has_value();
  protocol.authenticated = !client_.login.empty();
  protocol.utf8 = message.envelope.smtputf8;
  message.origin.client = client_.local_user.empty() ? client_.address : client_name_;
  message.origin.helo = helo_;
  message.origin.user = client_.login;
  message.origin.protocol = smtp::protocol_name(protocol);
  message.origin.epoch = config_->epoch;
  message.origin.listener = listener_.role == conf::Role::submission ? "submission" : "mx";
  if (!client_.local_user.empty()) message.origin.listener = "local";
  if (client_.client_class != nullptr) message.priority = priority_of(client_.client_class->priority);
  bool completes = listener_.role == conf::Role::submission;
  if (completes && !reception.headers.notes().has_message_id) {
    message.message_id = "<" + message.id.text() + "@" + config_->hostname + ">";
  }
  message.trace = trace(reception, message, protocol);
  // Of binary content only what is no text needs a host that takes it, or a conversion.
  if (reception.is_binary && reception.decoder.notes().is_text())
    message.envelope.body = smtp::BodyType::eight_bit_mime;
  // What is ASCII needs no host that knows more, whatever the client said (RFC 6531 §3.5).
  const smtp::HeaderNotes& headers = reception.headers.notes();
  const bool unread = headers.cut_short && reception.decoder.notes().eight_bit;
  const bool ascii = !headers.non_ascii && !unread && is_ascii(message.trace);
  message.envelope.smtputf8 = message.envelope.smtputf8 && !ascii;
  return message;
}

/// Received, and on submission what an author's program left out (RFC 6409 §8); a relay for others adds nothing.
std::string Session::trace(const Reception& reception, const queue::NewMessage& message,
                           const smtp::Protocol& protocol) const {
  smtp::Received received;
  const bool hidden = client_.client_class != nullptr && client_.client_class->hide_client;
  received.helo = hidden ? config_->hostname : helo_;
  if (!hidden) received.client_address = client_.address;
  if (!hidden) received.client_name = peer_name_;
  if (!client_.local_user.empty()) received.user = hidden ? "somebody" : client_.local_user;
  received.by = config_->hostname;
  received.software = "Waypost";
  received.protocol = protocol;
  if (tls_) {
    received.tls = "using " + tls_->version + " with cipher " + tls_->cipher;
    received.tls_bits = tls_->bits;
  }
  received.id = message.id.text();
  // FOR would tell each recipient of the others (RFC 5321 §7.6).
  const std::vector<smtp::EnvelopeRecipient>& recipients = message.envelope.recipients;
  if (recipients.size() == 1) received.recipient = recipients.front().forward_path.text();
  received.at = message.arrival;
  std::string fields = smtp::received_field(received);
  if (listener_.role != conf::Role::submission) return fields;

  const smtp::HeaderNotes& headers = reception.headers.notes();
  if (!headers.has_message_id) fields += "Message-ID: " + message.message_id + "\r\n";
  const smtp::Path& author = message.envelope.reverse_path;
  if (!headers.has_from && !author.is_null()) fields += "From: " + author.bracketed() + "\r\n";
  if (!headers.has_date) fields += "Date: " + smtp::rfc5322_date(message.arrival) + "\r\n";
  return fields;
}

}  // namespace waypost::mta
