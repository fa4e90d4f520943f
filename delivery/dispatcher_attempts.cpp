// delivery/dispatcher_attempts.cpp: one message at one destination, from the first host to the commit of its outcome.
#include <algorithm>
#include <set>
#include <utility>

#include "base/event_log.h"
#include "delivery/attempt.h"
#include "delivery/dispatcher.h"
#include "delivery/disposition.h"
#include "delivery/local.h"
#include "queue/retry.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMaxAddresses = 5;         // PROTOCOL, "order of addresses": that are tried in one attempt
constexpr int kMaxSessions = 2;                  // of these, those in which a transaction was begun
constexpr net::Duration kAvoidFailed = 60s;      // a host that failed comes last for so long
constexpr net::Duration kLongestSession = 300s;  // a connection is not kept for further messages after it

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

Outcome outcome(queue::Event event, std::string status, std::string reply) {
  Outcome out;
  out.event = event;
  out.status = std::move(status);
  out.reply = std::move(reply);
  return out;
}

ReportedRecipient reported(const smtp::Path& path, const std::string& orcpt, ReportedRecipient::Action action) {
  ReportedRecipient report;
  report.address = path.text();
  report.orcpt = orcpt;
  report.action = action;
  return report;
}

}  // namespace

net::Task<> Dispatcher::deliver(Site& site, queue::Due due, std::unique_ptr<Connection>& connection) {
  const std::string destination = due.destination;
  Tally tally(std::move(due));
  std::shared_ptr<const queue::Content> content = tally.due().content;
  if (!content) {
    Result<std::shared_ptr<const queue::Content>> read = co_await store_.content(tally.due().message->id);
    if (read) {
      content = *read;
    } else if (read.error().code == Errc::not_found || read.error().code == Errc::cancelled) {
      schedule_.finished(tally.due());  // an administrator removed it, or we stop
      co_return;
    } else {
      log::failure(tally.due().message->id.text() + ": reading the message: " + read.error().what);
      tally.close(of_local_error(read.error()));
    }
  }

  HostFailure failure;
  if (tally.any_open()) {
    switch (site.plan().kind) {
      case Plan::Kind::relay:
        failure = co_await relay(site, tally, content, connection);
        break;
      case Plan::Kind::maildir:
        co_await into_maildirs(site.plan().text, tally, content);
        break;
      case Plan::Kind::fail:
        tally.close(outcome(queue::Event::attempt_failed, site.plan().status, site.plan().text));
        break;
      case Plan::Kind::discard:
        tally.close(outcome(queue::Event::remove, "2.0.0", "discarded by a route"));
        break;
    }
  }

  if (tally.any_unlearnt()) {
    if (!failure.ours || !stopping_) {
      for (const queue::DueRecipient& recipient : tally.due().recipients) {
        const std::string to = recipient.forward_path.text();
        const std::string id = tally.due().message->id.text();
        log::Attempt line{id,
                          to,
                          failure.host,
                          runtime_.wall_now() - tally.due().message->arrival,
                          failure.status,
                          "deferred",
                          failure.reason};
        if (!tally.entries()[static_cast<std::size_t>(&recipient - tally.due().recipients.data())].learnt)
          log::attempt(line);
      }
      stats_.deferred += tally.due().recipients.size();
      co_await fail_destination(destination, failure);
    }
  } else if (site.plan().kind == Plan::Kind::relay) {
    co_await destination_reached(destination);
  }
  co_await finish(tally, content);
  schedule_.finished(tally.due());
  if (schedule_.wants_more()) wake();
}

/// Tries the site's hosts until no recipient is open. Returns the last host's failure, for those of which nothing was
/// learnt.
net::Task<HostFailure> Dispatcher::relay(Site& site, Tally& tally, std::shared_ptr<const queue::Content> content,
                                         std::unique_ptr<Connection>& connection) {
  const std::shared_ptr<const conf::Config> config = config_();
  const std::vector<Peer> candidates = site.candidates(runtime_.now(), runtime_.random());
  std::set<net::Address> tried;
  HostFailure last;
  int sessions = 0;
  while (tally.any_open()) {
    const bool kept = connection && connection->usable();
    if (!kept) {
      if (connection) open_.erase(connection.get());
      connection.reset();
      const auto next = std::find_if(candidates.begin(), candidates.end(),
                                     [&](const Peer& peer) { return !tried.contains(peer.address); });
      if (next == candidates.end() || tried.size() >= kMaxAddresses || sessions >= kMaxSessions || stopping_) break;
      tried.insert(next->address);
      Connection::Opened opened =
          co_await Connection::open(runtime_, *next, client_settings(*config), scope_.stop_token());
      if (!opened.connection) {
        last = std::move(opened.failure);
        if (last.ours) break;
        site.avoid(next->address, runtime_.now() + kAvoidFailed);
        site.host_failed();
        continue;
      }
      connection = std::move(opened.connection);
      open_.emplace(connection.get(), runtime_.now());
    }
    const net::Address address = connection->peer().address;
    tried.insert(address);
    ++sessions;
    const std::vector<std::size_t> positions = tally.open();
    const std::vector<queue::DueRecipient> recipients = tally.recipients(positions);
    queue::BodyReader body = store_.read_body(content);
    AttemptResult result = co_await attempt(*connection, *tally.due().message, recipients, *content, std::move(body));
    if (!result.host) {
      site.succeeded();
      tally.record(positions, result.outcomes);
      const bool too_old = runtime_.now() - open_.at(connection.get()) > kLongestSession;
      if (connection->usable() && (tally.any_open() || too_old)) {
        co_await connection->quit();
        connection->give_up();
      }
      continue;
    }
    last = *result.host;
    connection->give_up();
    if (result.in_doubt) {
      // It may have been taken: no other host is tried now, and the next attempt waits longer.
      tally.in_doubt = true;
      for (Outcome& one : result.outcomes) one.try_next_host = false;
      tally.record(positions, result.outcomes);
      break;
    }
    for (std::size_t i = 0; i < positions.size(); ++i) {
      const Outcome& one = result.outcomes[i];
      if (one.event != queue::Event::attempt_deferred || !one.try_next_host) tally.record({positions[i]}, {one});
    }
    if (kept) {
      // The host had closed a connection that was kept idle: that says nothing about it.
      --sessions;
      tried.erase(address);
      continue;
    }
    site.avoid(address, runtime_.now() + kAvoidFailed);
    site.host_failed();
  }
  tally.stop();
  if (tally.any_unlearnt()) site.all_failed();
  co_return last;
}

net::Task<> Dispatcher::into_maildirs(const std::string& path_template, Tally& tally,
                                      std::shared_ptr<const queue::Content> content) {
  const std::shared_ptr<const conf::Config> config = config_();
  for (const std::size_t at : tally.open()) {
    queue::BodyReader body = store_.read_body(content);
    Outcome one = co_await deliver_to_maildir(runtime_, path_template, *tally.due().message, tally.due().recipients[at],
                                              *content, std::move(body), config->hostname);
    one.try_next_host = false;
    tally.record({at}, {one});
  }
}

/// Commits what was learnt, with the notification that it causes, and logs it.
net::Task<> Dispatcher::finish(const Tally& tally, std::shared_ptr<const queue::Content> content) {
  const std::shared_ptr<const conf::Config> config = config_();
  const queue::MessageInfo& message = *tally.due().message;
  const queue::WallTime now = runtime_.wall_now();
  queue::Settlement settlement;
  settlement.message = message.id;
  std::vector<Subject> failed;
  for (std::size_t at = 0; at < tally.entries().size(); ++at) {
    const Tally::Entry& entry = tally.entries()[at];
    const queue::DueRecipient& recipient = tally.due().recipients[at];
    if (!entry.learnt) continue;
    queue::RecipientOutcome out;
    out.index = recipient.index;
    out.event = entry.outcome.event;
    out.status = entry.outcome.status;
    out.reply = entry.outcome.reply;
    out.host = entry.outcome.host;
    switch (out.event) {
      case queue::Event::attempt_deferred: {
        out.next_attempt = queue::next_attempt(config->queue.retry, recipient.attempts + 1, now, runtime_.random());
        if (tally.in_doubt) out.next_attempt += out.next_attempt - now;
        due_at(out.next_attempt);
        ++stats_.deferred;
        break;
      }
      case queue::Event::attempt_failed: {
        Subject subject{recipient.forward_path, recipient.notify,
                        reported(recipient.forward_path, recipient.orcpt, ReportedRecipient::Action::failed)};
        subject.report.status = out.status;
        subject.report.reply = out.reply;
        subject.report.host = out.host;
        subject.report.remote_said_it = !out.host.empty() && out.host != "maildir";
        failed.push_back(std::move(subject));
        ++stats_.bounced;
        break;
      }
      case queue::Event::attempt_relayed:
        ++stats_.relayed;
        break;
      case queue::Event::attempt_delivered:
        ++stats_.delivered;
        break;
      default:
        break;
    }
    settlement.recipients.push_back(std::move(out));
  }
  if (settlement.recipients.empty()) co_return;
  std::optional<queue::Notification> report = co_await notification(message, std::move(failed), content);
  const std::string id = message.id.text();
  std::string report_id;
  if (report) {
    report_id = report->message.id.text();
    settlement.notifications.push_back(std::move(*report));
  }
  const std::vector<queue::RecipientOutcome> outcomes = settlement.recipients;
  const Result<> settled = co_await settle(std::move(settlement));
  if (!settled) co_return;
  for (const queue::RecipientOutcome& out : outcomes) {
    const auto recipient = std::find_if(tally.due().recipients.begin(), tally.due().recipients.end(),
                                        [&](const queue::DueRecipient& one) { return one.index == out.index; });
    const std::string to = recipient->forward_path.text();
    log::attempt({id, to, out.host, now - message.arrival, out.status, status_word(out.event), out.reply});
  }
  if (!report_id.empty()) log::notified(id, report_id, "non-delivery");
}

/// Until it is committed: an outcome that is not would be attempted again.
net::Task<Result<>> Dispatcher::settle(queue::Settlement settlement) {
  for (;;) {
    Result<> settled = co_await store_.settle(settlement);
    if (settled || settled.error().code != Errc::full || stopping_) {
      if (!settled && !stopping_)
        log::failure(settlement.message.text() + ": recording an outcome: " + settled.error().what);
      co_return settled;
    }
    log::failure(settlement.message.text() + ": recording an outcome: " + settled.error().what + "; trying again");
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
  std::string header = co_await header_of(content);
  const queue::Id id = store_.draft().id();
  const Notifier notifier{config->hostname, config->queue.bounce_expire};
  co_return compose_notification(notifier, message, subjects, std::move(header), id, runtime_.wall_now());
}

/// The trace and the header section; what cannot be read is left out of a report.
net::Task<std::string> Dispatcher::header_of(std::shared_ptr<const queue::Content> content) {
  if (!content) co_return std::string();
  if (!content->in_file) co_return header_section(content->trace + content->octets);
  queue::BodyReader body = store_.read_body(content);
  Result<std::string_view> front = co_await body.next();
  if (!front) co_return content->trace;
  co_return header_section(content->trace + std::string(*front));
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
    Subject subject{recipient.forward_path, recipient.notify,
                    reported(recipient.forward_path, recipient.orcpt,
                             overdue.expired ? ReportedRecipient::Action::failed : ReportedRecipient::Action::delayed)};
    const std::string& why = of_destination ? destination.reason : recipient.last_reply;
    const std::string& status = of_destination ? destination.status : recipient.last_status;
    subject.report.status = overdue.expired ? "5.4.7" : (status.empty() ? "4.4.7" : status);
    subject.report.reply = (overdue.expired ? "delivery time expired" : "delivery is delayed") +
                           (why.empty() ? std::string() : ": " + why);
    subject.report.host = of_destination ? destination.host : recipient.last_host;
    if (overdue.expired) {
      queue::RecipientOutcome out;
      out.index = recipient.index;
      out.event = queue::Event::lifetime_over;
      out.status = subject.report.status;
      out.reply = subject.report.reply;
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
  const std::vector<Subject> told = subjects;
  std::optional<queue::Notification> report;
  if (overdue.expired || !message.reverse_path.is_null())
    report = co_await notification(message, std::move(subjects), content);
  std::string report_id;
  if (report) {
    report_id = report->message.id.text();
    settlement.notifications.push_back(std::move(*report));
  }
  const Result<> settled = co_await settle(std::move(settlement));
  for (const std::string& destination : claimed) schedule_.release(message.id, destination);
  if (!overdue.expired) read_store_ = true;  // what was claimed from the window is in the store
  if (!settled) co_return false;
  if (overdue.expired) {
    stats_.expired += told.size();
    for (const Subject& subject : told) {
      log::attempt({id, subject.report.address, subject.report.host, runtime_.wall_now() - message.arrival,
                    subject.report.status, "expired", subject.report.reply});
    }
  }
  if (!report_id.empty()) log::notified(id, report_id, overdue.expired ? "non-delivery" : "delay");
  co_return true;
}

}  // namespace waypost::delivery
