// delivery/dispatcher_expiry.cpp: what is overdue: the end of a lifetime, a delay notification; and the clocks they go
// by.
#include <algorithm>
#include <utility>

#include "base/event_log.h"
#include "delivery/digest.h"
#include "delivery/dispatcher.h"
#include "delivery/disposition.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;

constexpr net::Duration kSweepAtLeast = 1s, kSweepAtMost = 60s;  // between looks at what is overdue
constexpr std::size_t kSweepLimit = 200;
constexpr std::chrono::minutes kLeap{60};          // of the wall clock, that is not taken for time
constexpr std::chrono::minutes kFirstAttempts{5};  // after a start, before what had expired until then leaves
constexpr std::chrono::minutes kNote{10};          // how often the wall clock is written down, and removed mail goes
constexpr net::Duration kForget = 60s;             // how often destinations without mail are looked for

/// Until what is overdue is looked for again: late by a tenth of the shortest lifetime, or by a minute.
net::Duration sweep_pause(const conf::Config::Queue& queue) {
  std::chrono::seconds shortest = std::min(queue.expire, queue.bounce_expire);
  if (queue.delay_warning > 0s) shortest = std::min(shortest, queue.delay_warning);
  if (queue.digest > 0s) shortest = std::min(shortest, queue.digest);
  return std::clamp<net::Duration>(shortest / 10, kSweepAtLeast, kSweepAtMost);
}

/// "421 busy [rule greedy]" without the rule, which is none of a sender's business.
std::string without_rule(const std::string& reason) {
  const std::size_t at = reason.rfind(" [rule ");
  return at == std::string::npos || !reason.ends_with(']') ? reason : reason.substr(0, at);
}

/// How far a moment is from another, whichever way the clock was set since.
net::Duration between(queue::WallTime one, queue::WallTime other) {
  return one < other ? other - one : one - other;
}

}  // namespace

net::Task<> Dispatcher::sweep() {
  net::TimePoint forget_at = runtime_.now() + kForget;
  began_ = runtime_.wall_now();
  first_attempts_until_ = runtime_.now() + kFirstAttempts;
  co_await recall_time();
  while (!stopping_) {
    if (runtime_.now() >= forget_at) {
      forget_destinations();
      forget_at = runtime_.now() + kForget;
    }
    co_await watch_clock();
    if (runtime_.now() >= expiry_from_) {
      // Not before: a start within the pause after a leap has the same reason for it.
      if (runtime_.now() >= note_at_) {
        note_at_ = runtime_.now() + kNote;
        co_await note_time();
        if (!std::exchange(forgetting_, true)) scope_.spawn(forget_removed());
      }
      co_await tell_postmaster();
      const bool more = co_await overdue_in_turn();
      if (more && !stopping_) continue;
    }
    const net::Duration pause = sweep_pause(config_()->queue);
    co_await runtime_.sleep_for(pause, scope_.stop_token());
  }
}

/// True if there is more to do at once.
net::Task<bool> Dispatcher::overdue_in_turn() {
  const std::uint64_t read_at = redirected_;
  Result<std::vector<queue::Overdue>> overdue = co_await store_.overdue(runtime_.wall_now(), kSweepLimit);
  if (!overdue) {
    if (!stopping_) log::failure("reading what is overdue: " + overdue.error().what);
    co_return false;
  }
  bool progress = false;
  for (queue::Overdue& one : *overdue) {
    if (stopping_) co_return false;
    if (redirected_ != read_at) co_return true;
    // What came to its end while nothing ran is tried once more (F22).
    const bool ended_before = one.expired && one.message->expires <= began_;
    if (ended_before && runtime_.now() < first_attempts_until_) continue;
    const bool done = co_await expire_or_warn(std::move(one));
    progress = progress || done;
  }
  co_return progress && overdue->size() == kSweepLimit;
}

/// A machine that was off for days and a clock that leapt while it was look alike, and are treated alike: as a leap.
net::Task<> Dispatcher::recall_time() {
  const Result<std::optional<queue::WallTime>> noted = co_await store_.note_time(std::nullopt);
  if (noted && *noted) wall_seen_ = **noted;
}

net::Task<> Dispatcher::note_time() {
  const Result<std::optional<queue::WallTime>> noted = co_await store_.note_time(runtime_.wall_now());
  if (!noted && !stopping_) log::failure("noting the time: " + noted.error().what);
}

/// What was removed stays for a while, so that the removal can be undone. Beside all else: it may be the whole queue.
net::Task<> Dispatcher::forget_removed() {
  const Result<> forgotten = co_await store_.forget_removed(runtime_.wall_now(), scope_.stop_token());
  forgetting_ = false;
  if (!forgotten && !stopping_) log::failure("forgetting what was removed: " + forgotten.error().what);
}

/// A clock that was set wrong does not return the whole queue to its senders (RELIABILITY F22), and one that is set
/// back does not postpone what waits (F23).
net::Task<> Dispatcher::watch_clock() {
  const net::Duration passed = runtime_.now() - std::exchange(clock_seen_, runtime_.now());
  const auto by_wall = runtime_.wall_now() - std::exchange(wall_seen_, runtime_.wall_now());
  const auto leapt = std::chrono::duration_cast<std::chrono::minutes>(by_wall - passed);
  if (leapt > kLeap) {
    log::warning("the clock is ahead of when it was last seen by " + std::to_string(leapt.count()) +
                 " minutes: nothing expires for an hour");
    expiry_from_ = runtime_.now() + kLeap;
  }
  if (leapt >= -kLeap) co_return;
  log::warning("the clock went back by " + std::to_string(-leapt.count()) + " minutes: what waits is tried now");
  queue::ChangeRequest request;
  request.change = queue::Change::retry;
  request.meant = "all";
  request.who = "waypostd";
  request.reason = "the clock went back";
  request.now = runtime_.wall_now();
  const Result<queue::Changed> changed = co_await store_.change(std::move(request));
  if (!changed) log::failure("after the clock went back: " + changed.error().what);
}

/// True if what fails of this message is for the postmaster's digest.
bool Dispatcher::notes_for_digest(const queue::MessageInfo& message) const {
  return message.reverse_path.is_null() && config_()->queue.digest > 0s;
}

/// The digest, where there is something to tell and the time has come: queue.digest after the first of it.
net::Task<> Dispatcher::tell_postmaster() {
  const std::shared_ptr<const conf::Config> config = config_();
  if (!untold_ || !postmasters_ || config->queue.digest <= 0s) co_return;
  untold_ = false;  // what is noted from here on may not be in what is read
  Result<queue::Undelivered> found = co_await store_.undelivered();
  if (!found) {
    untold_ = true;
    if (!stopping_) log::failure("reading what the postmaster is to be told: " + found.error().what);
    co_return;
  }
  if (found->entries.empty()) co_return;  // what was only counted waits for something to tell
  untold_ = true;
  const queue::WallTime now = runtime_.wall_now();
  if (!found->entries.empty() && between(found->entries.front().at, now) < config->queue.digest) co_return;
  const std::vector<smtp::Path> to = postmasters_();
  if (to.empty()) co_return;
  const Notifier notifier{config->hostname, config->queue.bounce_expire};
  queue::Notification digest = compose_digest(notifier, to, *found, store_.draft().id(), now);
  assign_destinations(*config, digest.message);
  const std::string id = digest.message.id.text();
  const std::size_t number = found->entries.size() + found->more;
  const Result<> committed = co_await store_.commit_digest(std::move(digest), *std::move(found));
  if (committed) log::digest(id, number);
  if (!committed && !stopping_) log::failure("a digest for the postmaster: " + committed.error().what);
}

/// The end of a lifetime, or a delay notification. False if nothing could be done now.
net::Task<bool> Dispatcher::expire_or_warn(queue::Overdue overdue) {
  const queue::MessageInfo& message = *overdue.message;
  const std::string id = message.id.text();
  queue::Settlement settlement;
  settlement.message = message.id;
  settlement.warned = !overdue.expired;
  std::vector<Subject> subjects;
  std::vector<std::string> claimed;
  for (std::size_t at = 0; at < overdue.recipients.size(); ++at) {
    const queue::DueRecipient& recipient = overdue.recipients[at];
    const queue::DestinationState& destination = overdue.destinations[at];
    // One in an attempt has its outcome first; another is not attempted from here on.
    if (std::find(claimed.begin(), claimed.end(), destination.name) == claimed.end()) {
      if (!schedule_.claim(message.id, destination.name)) continue;
      claimed.push_back(destination.name);
    }
    const bool of_destination = destination.failures > 0;
    Subject subject =
        subject_of(recipient, overdue.expired ? ReportedRecipient::Action::failed : ReportedRecipient::Action::delayed);
    const std::string& why = of_destination ? destination.reason : recipient.last_reply;
    const std::string& status = of_destination ? destination.status : recipient.last_status;
    subject.report.status = overdue.expired ? "5.4.7" : (status.empty() ? "4.4.7" : status);
    subject.report.words = overdue.expired ? "delivery time expired" : "delivery is delayed";
    subject.report.reply = for_senders(of_destination ? without_rule(why) : why);
    subject.report.host = of_destination ? destination.host : recipient.last_host;
    subject.report.remote_said_it = !subject.report.host.empty() && is_reply(subject.report.reply);
    subject.report.asked = Asked::lines_of(of_destination ? destination.asked : recipient.last_asked);
    if (!overdue.expired && !to_be_told(message, {subject}).empty()) settlement.delay_told.push_back(recipient.index);
    if (overdue.expired) {
      queue::RecipientOutcome out;
      out.index = recipient.index;
      out.event = queue::Event::lifetime_over;
      out.status = subject.report.status;
      out.reply = subject.report.words + (why.empty() ? "" : ": " + why);
      out.host = subject.report.host;
      settlement.recipients.push_back(std::move(out));
    }
    subjects.push_back(std::move(subject));
  }
  if (subjects.empty()) co_return false;
  std::shared_ptr<const queue::Content> content;
  if (!message.reverse_path.is_null()) {
    Result<std::shared_ptr<const queue::Content>> read = co_await store_.content(message.id);
    if (read) content = *read;
  }
  settlement.for_digest = notes_for_digest(message);
  const std::vector<queue::RecipientOutcome> ended = settlement.recipients;
  const std::vector<Subject> told = subjects;
  std::optional<queue::Notification> report;
  if (overdue.expired || !message.reverse_path.is_null())
    report = co_await notification(message, std::move(subjects), content);
  std::string report_id;
  if (report) {
    report_id = report->message.id.text();
    settlement.notifications.push_back(std::move(*report));
  }
  const Result<bool> settled = co_await commit(std::move(settlement));
  if (!overdue.expired) read_store_ = true;  // what was claimed from the window is in the store
  for (const std::string& destination : claimed) {
    schedule_.release(message.id, destination);
    read_unread(destination);
  }
  if (!settled) co_return false;
  untold_ = untold_ || (overdue.expired && message.reverse_path.is_null());
  for (std::size_t i = 0; i < ended.size(); ++i) {
    stats_.count(queue::Event::lifetime_over);
    const std::string to = told[i].forward_path.text();
    log::attempt(
        {id, to, ended[i].host, runtime_.wall_now() - message.arrival, ended[i].status, "expired", ended[i].reply});
  }
  if (!report_id.empty()) log::notified(id, report_id, overdue.expired ? "non-delivery" : "delay");
  if (*settled) log::left_queue(id);
  co_return true;
}

}  // namespace waypost::delivery
