// delivery/dispatcher_outcomes.cpp: the outcome of an attempt, committed with the notification that it causes.
#include <algorithm>
#include <utility>

#include "base/event_log.h"
#include "delivery/dispatcher.h"
#include "delivery/notify.h"
#include "delivery/reply_rules.h"
#include "queue/retry.h"
#include "smtp/address.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;

std::string_view status_word(queue::Event event) {
  switch (event) {
    case queue::Event::attempt_delivered:
    case queue::Event::attempt_relayed:
    case queue::Event::remove:
      return "sent";
    case queue::Event::attempt_failed:
      return "bounced";
    case queue::Event::lifetime_over:
      return "expired";
    default:
      return "deferred";
  }
}

}  // namespace

void Dispatcher::Stats::count(queue::Event event) {
  switch (event) {
    case queue::Event::attempt_delivered:
      ++delivered;
      break;
    case queue::Event::attempt_relayed:
      ++relayed;
      break;
    case queue::Event::attempt_deferred:
      ++deferred;
      break;
    case queue::Event::attempt_failed:
      ++bounced;
      break;
    case queue::Event::lifetime_over:
      ++expired;
      break;
    default:
      break;
  }
}

/// Commits the outcomes of `positions`, with the notification that they cause, and logs them.
net::Task<Result<>> Dispatcher::settle(Tally& tally, std::vector<std::size_t> positions,
                                       std::shared_ptr<const queue::Content> content) {
  if (positions.empty()) co_return Result<>();
  const std::shared_ptr<const conf::Config> config = config_();
  const queue::MessageInfo& message = *tally.due().message;
  const queue::WallTime now = runtime_.wall_now();
  queue::Settlement settlement;
  settlement.message = message.id;
  std::vector<Subject> subjects;
  for (const std::size_t at : positions) {
    const Outcome& outcome = tally.entries()[at].outcome;
    const queue::DueRecipient& recipient = tally.due().recipients[at];
    queue::RecipientOutcome out;
    out.index = recipient.index;
    out.event = outcome.event;
    out.status = outcome.status;
    out.reply = outcome.reply;
    out.host = outcome.host;
    out.tls = outcome.tls;
    if (outcome.reaction) out.rule = outcome.reaction->rule;
    if (out.event == queue::Event::attempt_deferred) {
      out.asked = tally.entries()[at].asked.text();
      out.next_attempt = queue::next_attempt(config->queue.retry, recipient.attempts + 1, now, runtime_.random());
      if (tally.in_doubt) out.next_attempt += out.next_attempt - now;
      std::optional<std::chrono::seconds> time;
      if (outcome.reaction) time = retry_after(*outcome.reaction, recipient.attempts);
      if (time) out.next_attempt = queue::next_attempt(not_before(*time), 1, now, runtime_.random());
    }
    std::optional<Subject> subject = subject_of(recipient, outcome, config->queue.delay_over);
    if (subject && out.event == queue::Event::attempt_failed) subject->report.asked = tally.entries()[at].asked.lines();
    if (subject) subjects.push_back(*std::move(subject));
    settlement.recipients.push_back(std::move(out));
  }
  std::optional<queue::Notification> report = co_await notification(message, std::move(subjects), content);
  const std::string id = message.id.text();
  std::string report_id;
  if (report) {
    report_id = report->message.id.text();
    settlement.notifications.push_back(std::move(*report));
  }
  const std::vector<queue::RecipientOutcome> outcomes = settlement.recipients;
  const bool any_failed = std::any_of(outcomes.begin(), outcomes.end(), [](const queue::RecipientOutcome& each) {
    return each.event == queue::Event::attempt_failed;
  });
  settlement.for_digest = notes_for_digest(message);
  const Result<bool> left = co_await commit(std::move(settlement));
  // Not before: a full disk holds a commit up for long, and what was read meanwhile is not due again.
  for (const queue::RecipientOutcome& out : outcomes)
    if (out.event == queue::Event::attempt_deferred) due_at(out.next_attempt);
  if (!left) co_return fail(left.error());
  untold_ = untold_ || (any_failed && message.reverse_path.is_null());
  tally.settled(positions);
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    const queue::RecipientOutcome& out = outcomes[i];
    const std::string to = tally.due().recipients[positions[i]].forward_path.text();
    const std::string reply = queue::with_rule(out.reply, out.rule);
    log::attempt({id, to, out.host, now - message.arrival, out.status, status_word(out.event), reply, out.tls});
    stats_.count(out.event);
  }
  if (!report_id.empty()) log::notified(id, report_id, any_failed ? "non-delivery" : "delivery status");
  if (*left) log::left_queue(id);
  co_return Result<>();
}

/// Until it is committed, or cannot be: an outcome that is not would be attempted again.
net::Task<Result<bool>> Dispatcher::commit(queue::Settlement settlement) {
  for (;;) {
    Result<bool> settled = co_await store_.settle(settlement);
    if (settled || stopping_) co_return settled;
    const bool passes = settled.error().code == Errc::full || settled.error().code == Errc::busy;
    log::failure(settlement.message.text() + ": recording an outcome: " + settled.error().what +
                 (passes ? "; trying again" : ""));
    if (!passes) co_return settled;
    co_await runtime_.sleep_for(1s, scope_.stop_token());
  }
}

net::Task<std::optional<queue::Notification>> Dispatcher::notification(const queue::MessageInfo& message,
                                                                       std::vector<Subject> subjects,
                                                                       std::shared_ptr<const queue::Content> content) {
  if (subjects.empty()) co_return std::nullopt;
  if (message.reverse_path.is_null()) {
    const std::string id = message.id.text();
    for (const Subject& subject : subjects) log::not_notified(id, subject.report.address, "the reverse-path is null");
    co_return std::nullopt;
  }
  const std::shared_ptr<const conf::Config> config = config_();
  subjects = to_be_told(message, std::move(subjects));
  if (subjects.empty()) co_return std::nullopt;
  std::string original = co_await original_of(content, returns_whole(message, subjects));
  const queue::Id id = store_.draft().id();
  const Notifier notifier{config->hostname, config->queue.bounce_expire};
  std::optional<queue::Notification> report =
      compose_notification(notifier, message, subjects, std::move(original), id, runtime_.wall_now());
  if (report) assign_destinations(*config, report->message);
  co_return report;
}

/// The trace with the whole body, or with at least the header section; what cannot be read is left out of a report.
net::Task<std::string> Dispatcher::original_of(std::shared_ptr<const queue::Content> content, bool whole) {
  if (!content) co_return std::string();
  if (!content->in_file) co_return content->trace + content->octets;
  std::string original = content->trace;
  queue::BodyReader body = store_.read_body(content);
  do {
    Result<std::string_view> piece = co_await body.next();
    if (!piece || piece->empty()) break;
    original += *piece;
  } while (whole);
  co_return original;
}

}  // namespace waypost::delivery
