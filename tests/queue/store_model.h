// tests/queue/store_model.h: what a queue::Store promises, as plainly as it can be said.
#pragma once
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "queue/rows.h"
#include "queue/store.h"

namespace waypost::queue {

/// The queue in memory. Nothing of it is ever lost, and nothing is quick.
class StoreModel {
 public:
  struct Recipient {
    std::string address, destination;
    State state = State::deferred;
    std::uint32_t attempts = 0;
    net::WallTime next_attempt;
    bool delay_told = false;
    std::uint64_t change = 0;  // the last one of it
    State was = State::deferred;
    bool is_kept() const { return state == State::removed && change > 0; }
  };
  struct Message {
    std::string from;
    std::string body;
    std::uint64_t size = 0;  // with its trace
    net::WallTime arrival, expires;
    bool warned = true;      // or is never to be
    net::WallTime check_at;  // for a warning, then for expiry; an hour on where all is held
    bool damaged = false;
    bool is_digest = false;  // what fails of it is told to nobody
    std::vector<Recipient> recipients;
  };
  struct BackOff {
    std::uint32_t failures = 0;
    net::WallTime next_attempt;
    std::string site{};  // that it waits with
    net::WallTime held_until{};
  };
  struct Record {
    Change change = Change::hold;
    bool is_undo = false;
    net::WallTime at;
  };
  std::map<Id, Message> messages;
  std::map<Id, Message> kept;  // of which nothing waits, and something was removed
  std::map<std::uint64_t, Record> records;
  std::uint64_t last_change = 0;
  std::map<std::string, BackOff> destinations;  // and sites
  std::vector<std::string> undelivered;         // addresses: what the postmaster is to be told
  std::uint64_t more_undelivered = 0;

  /// Until when nothing is attempted for it, by itself or with its site; the past if there is no such time.
  net::WallTime waits_until(const std::string& name) const {
    auto found = destinations.find(name);
    if (found == destinations.end()) return {};
    const BackOff& own = found->second;
    net::WallTime until = own.held_until;
    if (own.failures > 0) until = std::max(until, own.next_attempt);
    return own.site.empty() ? until : std::max(until, waits_until(own.site));
  }
  bool backed_off(const std::string& name, net::WallTime now) const { return waits_until(name) > now; }
  bool is_held(const std::string& name, net::WallTime now) const {
    auto found = destinations.find(name);
    if (found == destinations.end()) return false;
    return found->second.held_until + std::chrono::hours(4) > now ||
           (!found->second.site.empty() && is_held(found->second.site, now));
  }
  /// The site of a destination, if it fails and may be asked again: one of its destinations does so for all.
  std::string asked_site(const std::string& name) const {
    auto found = destinations.find(name);
    if (found == destinations.end() || found->second.site.empty()) return "";
    auto site = destinations.find(found->second.site);
    return site != destinations.end() && site->second.failures > 0 ? site->first : "";
  }

  bool move(Recipient& recipient, Event event) {
    std::optional<State> next = next_state(recipient.state, event);
    if (next) recipient.state = *next;
    return next.has_value();
  }

  /// Also one that is kept.
  Message* find(Id id) {
    for (std::map<Id, Message>* all : {&messages, &kept}) {
      auto found = all->find(id);
      if (found != all->end()) return &found->second;
    }
    return nullptr;
  }

  /// It goes where it belongs by now.
  void leave(Id id) {
    Message* message = find(id);
    if (message == nullptr) return;
    const auto& all = message->recipients;
    const bool waits = std::any_of(all.begin(), all.end(), [](const Recipient& r) { return !is_end(r.state); });
    const bool keeps = std::any_of(all.begin(), all.end(), [](const Recipient& r) { return r.is_kept(); });
    Message moved = *message;
    messages.erase(id);
    kept.erase(id);
    if (waits) messages.emplace(id, std::move(moved));
    if (!waits && keeps) kept.emplace(id, std::move(moved));
  }

  /// Nothing is attempted, or told, of a damaged message: who comes upon it holds it.
  void hold_damaged(Message& message) {
    for (Recipient& recipient : message.recipients) move(recipient, Event::hold);
  }

  /// What reading all that is due does. True if something was damaged.
  bool read_due(net::WallTime now) {
    bool any = false;
    for (const DueKey& key : due(now)) {
      Message& message = messages.at(std::get<0>(key));
      if (!message.damaged) continue;
      hold_damaged(message);
      any = true;
    }
    return any;
  }

  /// True if the settlement had an effect, so that its notifications go out. `tells`: it has some.
  bool settle(const Settlement& settlement, bool tells) {
    Message* message = find(settlement.message);
    if (message == nullptr) return false;
    bool effect = false;
    std::vector<Recipient*> told;
    for (const RecipientOutcome& outcome : settlement.recipients) {
      if (outcome.index >= message->recipients.size()) continue;
      Recipient& recipient = message->recipients[outcome.index];
      const bool fails = outcome.event == Event::attempt_failed || outcome.event == Event::lifetime_over;
      if (fails && recipient.state == State::removed) told.push_back(&recipient);
      if (!move(recipient, outcome.event)) continue;
      effect = true;
      if (is_end(recipient.state)) recipient.change = 0;
      recipient.next_attempt = outcome.next_attempt;
      if (outcome.event <= Event::attempt_failed) recipient.attempts += 1;
      const bool is_lost = outcome.event == Event::attempt_failed || outcome.event == Event::lifetime_over;
      if (!settlement.for_digest || !is_lost || message->is_digest) continue;
      if (undelivered.size() < Undelivered::kMaxEntries)
        undelivered.push_back(recipient.address);
      else
        ++more_undelivered;
    }
    if (effect && tells)
      for (Recipient* recipient : told) recipient->change = 0;
    leave(settlement.message);
    auto found = messages.find(settlement.message);
    if (settlement.warned && found != messages.end() && !found->second.warned) {
      found->second.warned = true;
      found->second.check_at = found->second.expires;
      for (const std::uint32_t index : settlement.delay_told)
        if (index < found->second.recipients.size()) found->second.recipients[index].delay_told = true;
      effect = true;
    }
    return effect;
  }

  using DueKey = std::tuple<Id, std::string, std::uint32_t>;
  std::set<DueKey> due(net::WallTime now) const {
    std::set<DueKey> out;
    for (const auto& [id, message] : messages)
      for (std::uint32_t i = 0; i < message.recipients.size(); ++i) {
        const Recipient& recipient = message.recipients[i];
        if (recipient.state != State::deferred || recipient.next_attempt > now) continue;
        if (!backed_off(recipient.destination, now)) out.insert({id, recipient.destination, i});
      }
    return out;
  }

  std::optional<net::WallTime> next_due(net::WallTime now) const {
    std::optional<net::WallTime> out;
    std::set<std::string> waiting;
    for (const auto& [id, message] : messages)
      for (const Recipient& recipient : message.recipients) {
        if (recipient.state != State::deferred) continue;
        net::WallTime at = recipient.next_attempt;
        if (backed_off(recipient.destination, now)) {
          waiting.insert(recipient.destination);  // whenever its recipients are due
          continue;
        }
        if (at > now && (!out || at < *out)) out = at;
      }
    for (const std::string& name : waiting) {
      net::WallTime later = waits_until(name);
      if (!out || later < *out) out = later;
    }
    return out;
  }

  std::set<std::pair<Id, bool>> overdue(net::WallTime now) {
    std::set<std::pair<Id, bool>> out;
    for (auto& [id, message] : messages) {
      if (message.check_at > now) continue;
      if (message.damaged) hold_damaged(message);
      const auto& all = message.recipients;
      if (std::any_of(all.begin(), all.end(),
                      [&](const Recipient& r) { return r.state == State::deferred && !is_held(r.destination, now); }))
        out.insert({id, message.expires <= now});
      else
        message.check_at = now + std::chrono::hours(1);
    }
    for (auto& [id, message] : kept)
      if (message.check_at <= now) message.check_at = net::WallTime::max();
    return out;
  }

  /// Of one destination, or of all (""): messages with such a recipient, and these recipients.
  Counts count(net::WallTime now, const std::string& destination = "") const {
    Counts out;
    for (const auto& [id, message] : messages) {
      std::uint64_t before = out.recipients;
      for (const Recipient& recipient : message.recipients) {
        if (is_end(recipient.state) || (!destination.empty() && recipient.destination != destination)) continue;
        out.recipients += 1;
        bool active = recipient.next_attempt <= now && !backed_off(recipient.destination, now);
        (recipient.state == State::held ? out.held : active ? out.active : out.deferred) += 1;
      }
      if (out.recipients == before) continue;
      out.messages += 1;
      out.octets += message.size;
      if (!out.oldest) out.oldest = queue::time_of(id);
    }
    return out;
  }

  /// For one destination, or for all (""); of one message, or of all.
  Changed change(Change what, const std::string& destination, std::optional<Id> one, bool for_good, net::WallTime now) {
    Changed out;
    const std::uint64_t number = ++last_change;
    constexpr Event kEvents[] = {Event::hold, Event::release, Event::retry, Event::remove};
    std::vector<Id> ids;
    for (const auto& [id, message] : messages)
      if (!one || *one == id) ids.push_back(id);
    for (Id id : ids) {
      std::uint64_t moved = 0;
      for (Recipient& recipient : messages.at(id).recipients) {
        if (!destination.empty() && recipient.destination != destination) continue;
        const State was = recipient.state;
        if (!move(recipient, kEvents[static_cast<std::size_t>(what)])) continue;
        if (what != Change::retry) recipient.was = was;
        if (what != Change::retry) recipient.change = for_good ? 0 : number;
        moved += 1;
        if (what == Change::release || what == Change::retry) recipient.next_attempt = now;
        auto known = destinations.find(recipient.destination);
        if (what != Change::retry || known == destinations.end()) continue;
        known->second.next_attempt = std::min(known->second.next_attempt, now);
        auto site = destinations.find(known->second.site);
        if (site != destinations.end()) site->second.next_attempt = std::min(site->second.next_attempt, now);
      }
      out.recipients += moved;
      out.messages += moved > 0 ? 1 : 0;
      leave(id);
    }
    if (out.recipients > 0) records[out.number = number] = {what, false, now};
    return out;
  }

  /// nullopt: it cannot be undone.
  std::optional<Changed> undo(std::uint64_t number, net::WallTime now) {
    auto record = records.find(number);
    if (record == records.end() || record->second.is_undo || record->second.change == Change::retry ||
        record->second.at + std::chrono::hours(24) <= now)
      return std::nullopt;
    const Change change = record->second.change;
    const State left = change == Change::hold      ? State::held
                       : change == Change::release ? State::deferred
                                                   : State::removed;
    Changed out;
    const std::uint64_t mine = ++last_change;
    for (Id id : with(number)) {
      Message& message = *find(id);
      std::uint64_t moved = 0;
      for (Recipient& recipient : message.recipients) {
        if (recipient.change != number || recipient.state != left) continue;
        recipient.state = recipient.was;
        recipient.was = left;
        recipient.change = mine;
        moved += 1;
      }
      out.recipients += moved;
      out.messages += moved > 0 ? 1 : 0;
      const net::WallTime soon = now + std::chrono::hours(1);
      const bool asks = change == Change::remove && moved > 0;
      if (asks && (message.check_at == net::WallTime::max() || message.check_at < soon)) message.check_at = soon;
      leave(id);
    }
    if (out.recipients == 0) return out;
    records[out.number = mine] = {change, true, now};
    return out;
  }

  void forget_removed(net::WallTime now) {
    for (const auto& [number, record] : records) {
      if (record.is_undo || record.at + std::chrono::hours(24) > now) continue;
      for (Id id : with(number)) {
        for (Recipient& recipient : find(id)->recipients)
          if (recipient.change == number && recipient.state == State::removed) recipient.change = 0;
        leave(id);
      }
    }
  }

 private:
  std::vector<Id> with(std::uint64_t change) const {
    std::vector<Id> ids;
    for (const std::map<Id, Message>* all : {&messages, &kept})
      for (const auto& [id, message] : *all)
        if (std::any_of(message.recipients.begin(), message.recipients.end(),
                        [change](const Recipient& r) { return r.change == change; }))
          ids.push_back(id);
    return ids;
  }
};

}  // namespace waypost::queue
