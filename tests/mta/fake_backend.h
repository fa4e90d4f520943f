// tests/mta/fake_backend.h: a mta::ControlBackend in memory: two messages, and a note of what was asked.
#pragma once
#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "mta/control_api.h"
#include "tests/support/fake_store.h"

namespace waypost::tests {

/// 2026-11-22T10:00:00Z.
inline const net::WallTime kNow{std::chrono::seconds(1795341600)};

/// The messages that a FakeBackend has.
inline const std::string kFirst = queue::Id{1000}.text(), kSecond = queue::Id{2000}.text();

class FakeBackend : public mta::ControlBackend {
 public:
  FakeBackend() {
    add(queue::Id{1000}, "a@example.org", {"b@b.example", "c@c.example"});
    add(queue::Id{2000}, "", {"d@d.example"});
  }

  std::vector<queue::MessageRow> messages;
  std::vector<queue::HistoryEvent> history;
  MemoryFiles memory;
  std::string body = "Subject: x\r\n\r\nline \x1b[31m\r\n";
  std::optional<Error> failure;  ///< of every call
  mta::ConfigEpochs configurations;
  mta::ReloadReport report;            ///< what a reload gives
  queue::CheckReport checked;          ///< what a check finds
  std::vector<queue::Filter> changed;  ///< filters of the changes that were made
  std::string reason;                  ///< of the last one
  bool for_good = false;               ///< likewise
  std::vector<delivery::HandOrder> orders;
  std::uint64_t busy = 0;                              ///< messages that an order finds under way
  std::optional<Error> cut_short;                      ///< of an order
  std::size_t largest_page = 0;                        ///< that was asked for
  std::function<void(const queue::Watched&)> watched;  ///< what else happens while long work is done

  void add(queue::Id id, const std::string& from, const std::vector<std::string>& to) {
    queue::MessageRow message;
    message.info.id = id;
    const auto [local, domain] = split_once(from, '@');
    message.info.reverse_path.mailbox = {std::string(local), std::string(domain)};
    message.info.arrival = kNow - std::chrono::hours(3);
    message.info.expires = kNow + std::chrono::hours(24 * 5);
    message.info.size = 2143;
    message.origin = {"192.0.2.1", "client.example", "ESMTP", "mx", ""};
    message.message_id = "<" + id.text() + "@example.org>";
    for (const std::string& address : to) {
      queue::RecipientRow recipient;
      recipient.index = static_cast<std::uint32_t>(message.recipients.size());
      const auto [to_local, to_domain] = split_once(address, '@');
      recipient.forward_path.mailbox = {std::string(to_local), std::string(to_domain)};
      recipient.next_attempt = kNow + std::chrono::minutes(10);
      recipient.destination = std::string(to_domain);
      recipient.attempts = 2;
      recipient.status = "4.4.1";
      recipient.reply = "connection timed out";
      recipient.host = "mx.example[192.0.2.7]:25";
      message.recipients.push_back(recipient);
    }
    messages.push_back(std::move(message));
  }

  Result<queue::Listing> list(const queue::Filter& filter, std::optional<queue::Id> after, std::size_t limit) override {
    if (failure) return fail(*failure);
    largest_page = std::max(largest_page, limit);
    queue::Listing listing;
    for (const queue::MessageRow& message : messages) {
      if ((after && message.info.id <= *after) || !matches(filter, message)) continue;
      if (listing.messages.size() == limit) {
        listing.resume = listing.messages.back().info.id;
        break;
      }
      listing.messages.push_back(message);
    }
    return listing;
  }
  Result<queue::Counts> count(const queue::Filter& filter) override {
    if (failure) return fail(*failure);
    queue::Counts counts;
    for (const queue::MessageRow& message : messages) {
      if (!matches(filter, message)) continue;
      ++counts.messages;
      counts.recipients += message.recipients.size();
      counts.deferred += message.recipients.size();
      counts.octets += message.info.size;
      counts.oldest = message.info.arrival;
    }
    return counts;
  }
  Result<queue::Groups> group(const queue::Filter& filter, queue::GroupBy by, std::size_t limit) override {
    if (failure) return fail(*failure);
    queue::Grouping grouping(by, kNow);
    for (const queue::MessageRow& message : messages)
      for (const queue::RecipientRow& recipient : message.recipients)
        if (matches(filter, message))
          grouping.add(recipient.destination, message.info.id, message.info.size, message.info.arrival);
    return grouping.largest(limit);
  }
  Result<queue::Changed> change(queue::ChangeRequest request) override {
    if (failure) return fail(*failure);
    changed.push_back(request.filter);
    reason = request.reason;
    for_good = request.for_good;
    queue::Changed done;
    for (const queue::MessageRow& message : messages) {
      if (!matches(request.filter, message)) continue;
      ++done.messages;
      done.recipients += message.recipients.size();
    }
    if (done.messages > 0) done.number = 77;
    if (watched) watched(request.progress);
    done.stopped = request.progress && request.progress->is_stopped();
    return done;
  }
  Result<queue::Changed> undo(std::uint64_t number, const std::string&, queue::Watched progress) override {
    if (failure) return fail(*failure);
    if (number != 77) return fail(Errc::not_found, "there is no change " + std::to_string(number));
    if (watched) watched(progress);
    return queue::Changed{2, 3, 78, progress && progress->is_stopped()};
  }
  std::vector<queue::ChangeRecord> records;  ///< the oldest first
  Result<> record(queue::ChangeRecord change) override {
    change.number = records.size() + 1;
    records.push_back(std::move(change));
    return {};
  }
  Result<std::vector<queue::ChangeRecord>> changes(std::uint64_t before, std::size_t limit) override {
    if (failure) return fail(*failure);
    std::vector<queue::ChangeRecord> found;
    for (auto each = records.rbegin(); each != records.rend() && found.size() < limit; ++each)
      if (each->number < before) found.push_back(*each);
    return found;
  }
  Result<std::shared_ptr<const queue::Content>> content(queue::Id id) override {
    if (failure) return fail(*failure);
    const bool there = std::any_of(messages.begin(), messages.end(),
                                   [id](const queue::MessageRow& message) { return message.info.id == id; });
    if (!there) return fail(Errc::not_found, id.text() + " is not in the queue");
    auto content = std::make_shared<queue::Content>();
    content->id = id;
    content->trace = "Received: from x\r\n";
    content->body_size = body.size();
    content->in_file = in_file;
    if (!in_file) content->octets = body;
    return std::shared_ptr<const queue::Content>(content);
  }
  queue::Files& files() override { return memory; }
  std::vector<mta::Rates::Row> rate_rows;
  Result<std::vector<queue::HistoryEvent>> find(const queue::HistoryQuery& query) override {
    if (failure) return fail(*failure);
    std::vector<queue::HistoryEvent> found;
    for (const queue::HistoryEvent& event : history) {
      if (query.id && event.message != *query.id) continue;
      if (!query.to.empty() && event.recipient != query.to) continue;
      if (!query.message_id.empty() && event.message_id != query.message_id) continue;
      found.push_back(event);
    }
    return found;
  }
  std::size_t in_doubt = 0;  ///< recipients of any message
  std::string settled_as{};  ///< the last one
  Result<delivery::ByHand> by_hand(delivery::HandOrder order) override {
    if (failure) return fail(*failure);
    const Result<queue::Counts> counts = count(order.filter);
    changed.push_back(order.filter);
    if (watched) watched(order.progress);
    const bool stopped = order.progress && order.progress->is_stopped();
    orders.push_back(std::move(order));
    return delivery::ByHand{counts->messages, counts->recipients, busy, 0, cut_short, stopped};
  }
  Result<std::size_t> settle_doubt(queue::Id id, const std::string& address, bool delivered,
                                   const std::string& why) override {
    if (failure) return fail(*failure);
    settled_as = id.text() + " " + address + (delivered ? " delivered " : " failed ") + why;
    return std::exchange(in_doubt, 0);
  }
  std::vector<queue::DestinationRow> destination_rows;
  std::vector<queue::DestinationChange> destination_changes;
  Result<std::vector<queue::DestinationRow>> destinations(const std::string& name, bool /*count*/) override {
    if (failure) return fail(*failure);
    std::vector<queue::DestinationRow> rows;
    for (const queue::DestinationRow& row : destination_rows)
      if (name.empty() || row.state.name == name || (!rows.empty() && rows[0].state.site == row.state.name))
        rows.push_back(row);
    return rows;
  }
  Result<> change_destination(queue::DestinationChange change) override {
    if (failure) return fail(*failure);
    destination_changes.push_back(std::move(change));
    return {};
  }
  Result<mta::Explanation> explain(const mta::ExplainQuery& query) override {
    if (failure) return fail(*failure);
    explained = query;
    return explanation;
  }
  mta::ExplainQuery explained;
  Result<delivery::Probe> probe(const std::string& destination) override {
    probed = destination;
    return probe_result;
  }
  std::string probed;
  delivery::Probe probe_result;
  mta::Explanation explanation;
  Result<std::vector<mta::Rates::Row>> rates() override { return rate_rows; }
  std::uint64_t corrupt_drops = 0;
  double commit_p99 = 2.5;
  bool reload_failed = false;
  Result<mta::DaemonFacts> facts() override {
    if (failure) return fail(*failure);
    mta::DaemonFacts facts;
    facts.hostname = "relay.example";
    facts.config_file = "/etc/waypost/waypost.toml";
    facts.data_dir = "/";
    facts.started = kNow - std::chrono::hours(25);
    facts.config_loaded = facts.started;
    facts.in_connections = 12;
    facts.lately.accepted = 1204881;
    facts.lately.rejected = 88120;
    facts.lately.login_failures = 9000;
    facts.lately.login_failures_hour = 412;
    facts.lately.accepted_rate = 118.24;
    facts.lately.sent_rate = 0.25;
    facts.lately.commit_p50 = 0.0005;
    facts.lately.commit_p99 = commit_p99;
    facts.out.relayed = 1203772;
    facts.corrupt_drops = corrupt_drops;
    facts.config_epoch = 7;
    facts.reload_failed = reload_failed;
    facts.confinement.user = "waypost";
    facts.confinement.system_calls = true;
    facts.confinement.missing = {"landlock: this kernel has none"};
    return facts;
  }
  Result<mta::ConfigEpochs> epochs() override {
    if (failure) return fail(*failure);
    return configurations;
  }
  std::vector<mta::ReadCertificate> used_certificates, reloaded_certificates;
  Result<std::vector<mta::ReadCertificate>> certificates() override {
    if (failure) return fail(*failure);
    return used_certificates;
  }
  Result<mta::ReloadReport> reload() override {
    if (failure) return fail(*failure);
    if (report.errors.empty()) used_certificates = reloaded_certificates;
    return report;
  }
  queue::StoreStats stats;
  Result<queue::StoreStats> store_stats() override {
    if (failure) return fail(*failure);
    return stats;
  }
  queue::VacuumReport vacuumed;
  Result<queue::VacuumReport> vacuum_store() override {
    if (failure) return fail(*failure);
    return vacuumed;
  }
  Result<queue::CheckReport> check_store(queue::Watched progress) override {
    if (watched) watched(progress);
    if (failure) return fail(*failure);
    return checked;
  }
  Result<queue::BackupReport> back_up(const std::string& folder, queue::Watched) override {
    if (failure) return fail(*failure);
    queue::BackupReport made;
    made.folder = folder;
    made.messages = 2;
    made.recipients = 3;
    made.spool_files = 1;
    return made;
  }
  net::WallTime now() override { return kNow; }

  bool in_file = false;

 private:
  /// Ids and `to:` alone; negated terms hold.
  static bool matches(const queue::Filter& filter, const queue::MessageRow& message) {
    bool any_id = false, id_holds = false;
    for (const queue::Term& term : filter.terms) {
      if (term.negated) continue;
      if (term.field == queue::Term::Field::id) {
        any_id = true;
        id_holds = id_holds || term.text == message.info.id.text();
      }
      if (term.field == queue::Term::Field::to) {
        const bool to =
            std::any_of(message.recipients.begin(), message.recipients.end(),
                        [&term](const queue::RecipientRow& r) { return r.forward_path.text() == term.text; });
        if (!to) return false;
      }
    }
    return !any_id || id_holds;
  }
};

}  // namespace waypost::tests
