// A random walk of the store beside a model of it in memory: every answer is compared. Another Store can be put to it.
#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <tuple>

#include <doctest/doctest.h>

#include "tests/queue/queue_fixture.h"

using namespace waypost;
using namespace waypost::queue;
using namespace waypost::tests;

namespace {

/// What a Store promises, as plainly as it can be said.
class Model {
 public:
  struct Recipient {
    std::string address, destination;
    State state = State::deferred;
    std::uint32_t attempts = 0;
    net::WallTime next_attempt;
    bool operator==(const Recipient&) const = default;
  };
  struct Message {
    std::string from;
    std::string body;
    net::WallTime arrival, expires;
    bool warned = true;      // or is never to be
    net::WallTime check_at;  // for a warning, then for expiry; an hour on where all is held
    std::vector<Recipient> recipients;
  };
  struct BackOff {
    std::uint32_t failures = 0;
    net::WallTime next_attempt;
  };
  std::map<Id, Message> messages;
  std::map<std::string, BackOff> destinations;

  bool backed_off(const std::string& name, net::WallTime now) const {
    auto found = destinations.find(name);
    return found != destinations.end() && found->second.failures > 0 && found->second.next_attempt > now;
  }

  bool move(Recipient& recipient, Event event) {
    std::optional<State> next = next_state(recipient.state, event);
    if (next) recipient.state = *next;
    return next.has_value();
  }

  void leave(Id id) {
    auto found = messages.find(id);
    if (found == messages.end()) return;
    const auto& all = found->second.recipients;
    if (std::all_of(all.begin(), all.end(), [](const Recipient& r) { return is_end(r.state); })) messages.erase(found);
  }

  /// True if the settlement had an effect, so that its notifications go out.
  bool settle(const Settlement& settlement) {
    auto found = messages.find(settlement.message);
    if (found == messages.end()) return false;
    bool effect = false;
    for (const RecipientOutcome& outcome : settlement.recipients) {
      if (outcome.index >= found->second.recipients.size()) continue;
      Recipient& recipient = found->second.recipients[outcome.index];
      if (!move(recipient, outcome.event)) continue;
      effect = true;
      recipient.next_attempt = outcome.next_attempt;
      if (outcome.event <= Event::attempt_failed) recipient.attempts += 1;
    }
    leave(settlement.message);
    found = messages.find(settlement.message);
    if (settlement.warned && found != messages.end() && !found->second.warned) {
      found->second.warned = true;
      found->second.check_at = found->second.expires;
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
    std::map<std::string, net::WallTime> earliest;
    for (const auto& [id, message] : messages)
      for (const Recipient& recipient : message.recipients) {
        if (recipient.state != State::deferred) continue;
        net::WallTime at = recipient.next_attempt;
        if (backed_off(recipient.destination, now)) {
          // Of a destination in back-off its first recipient counts.
          auto [entry, is_new] = earliest.emplace(recipient.destination, at);
          if (!is_new) entry->second = std::min(entry->second, at);
          continue;
        }
        if (at > now && (!out || at < *out)) out = at;
      }
    for (const auto& [name, at] : earliest) {
      net::WallTime later = std::max(at, destinations.at(name).next_attempt);
      if (!out || later < *out) out = later;
    }
    return out;
  }

  std::set<std::pair<Id, bool>> overdue(net::WallTime now) {
    std::set<std::pair<Id, bool>> out;
    for (auto& [id, message] : messages) {
      if (message.check_at > now) continue;
      const auto& all = message.recipients;
      if (std::any_of(all.begin(), all.end(), [](const Recipient& r) { return r.state == State::deferred; }))
        out.insert({id, message.expires <= now});
      else
        message.check_at = now + std::chrono::hours(1);
    }
    return out;
  }

  Counts count(net::WallTime now) const {
    Counts out;
    for (const auto& [id, message] : messages) {
      out.messages += 1;
      if (!out.oldest || message.arrival < *out.oldest) out.oldest = message.arrival;
      for (const Recipient& recipient : message.recipients) {
        if (is_end(recipient.state)) continue;
        out.recipients += 1;
        bool active = recipient.next_attempt <= now && !backed_off(recipient.destination, now);
        (recipient.state == State::held ? out.held : active ? out.active : out.deferred) += 1;
      }
    }
    return out;
  }

  Changed change(Change what, const std::string& destination, net::WallTime now) {
    Changed out;
    constexpr Event kEvents[] = {Event::hold, Event::release, Event::retry, Event::remove};
    std::vector<Id> ids;
    for (const auto& [id, message] : messages) ids.push_back(id);
    for (Id id : ids) {
      std::uint64_t moved = 0;
      for (Recipient& recipient : messages.at(id).recipients) {
        if (!destination.empty() && recipient.destination != destination) continue;
        if (!move(recipient, kEvents[static_cast<std::size_t>(what)])) continue;
        moved += 1;
        if (what == Change::release || what == Change::retry) recipient.next_attempt = now;
        auto known = destinations.find(recipient.destination);
        if (what == Change::retry && known != destinations.end())
          known->second.next_attempt = std::min(known->second.next_attempt, now);
      }
      out.recipients += moved;
      out.messages += moved > 0 ? 1 : 0;
      leave(id);
    }
    return out;
  }
};

class Walk {
 public:
  Walk(std::uint64_t seed, StoreOptions options) : f_(std::move(options)), chance_(seed) {}

  void steps(int count) {
    for (int i = 0; i < count; ++i) {
      CAPTURE(i);
      step();
      if (i % 20 == 0) compare();
      if (i % 400 == 399) f_.reopen();
    }
    compare();
  }

 private:
  std::uint64_t roll(std::uint64_t below) { return chance_() % below; }
  std::string a_destination() { return "d" + std::to_string(roll(6)) + ".example"; }

  void step() {
    switch (roll(12)) {
      case 0:
      case 1:
      case 2:
        return accept();
      case 3:
      case 4:
      case 5:
      case 6:
        return settle();
      case 7:
        return settle_destination();
      case 8:
        return change();
      case 9:
        return warn();
      case 10:
        return compare_body();
      default:
        f_.runtime.advance(std::chrono::seconds(roll(4000)));
    }
  }

  void accept() {
    std::vector<std::string> to;
    std::size_t recipients = 1 + roll(3);
    for (std::size_t i = 0; i < recipients; ++i) to.push_back("r" + std::to_string(i) + "@" + a_destination());
    NewMessage message = f_.message("s@a.example", to);
    message.expires = f_.now() + std::chrono::hours(1 + roll(48));
    if (roll(2) == 0) message.warn_at = f_.now() + std::chrono::minutes(roll(300));
    Model::Message mine;
    mine.body = std::string(roll(10) == 0 ? 70'000 + roll(10'000) : roll(3000), static_cast<char>('a' + roll(26)));
    mine.arrival = message.arrival;
    mine.expires = message.expires;
    mine.warned = !message.warn_at.has_value();
    mine.check_at = std::min(message.warn_at.value_or(message.expires), message.expires);
    for (const std::string& address : to)
      mine.recipients.push_back({address, address.substr(address.find('@') + 1), State::deferred, 0, message.arrival});
    Id id = f_.accept(message, mine.body);
    CHECK(model_.messages.emplace(id, std::move(mine)).second);
  }

  /// One that is there, or now and then one that is not.
  Id an_id() {
    if (model_.messages.empty() || roll(20) == 0) return Id{roll(1000)};
    auto it = model_.messages.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(roll(model_.messages.size())));
    return it->first;
  }

  void settle() {
    Settlement settlement;
    settlement.message = an_id();
    for (std::uint32_t i = 0; i < 3; ++i) {
      if (roll(2) == 0) continue;
      constexpr Event kEvents[] = {
          Event::attempt_deferred, Event::attempt_deferred, Event::attempt_relayed, Event::attempt_delivered,
          Event::attempt_failed,   Event::lifetime_over,    Event::remove};
      RecipientOutcome outcome;
      outcome.index = i;
      outcome.event = kEvents[roll(std::size(kEvents))];
      outcome.next_attempt = f_.now() + std::chrono::seconds(roll(7200));
      outcome.status = "4.2.2";
      settlement.recipients.push_back(outcome);
    }
    with_notification(std::move(settlement), roll(4) == 0);
  }

  void warn() {
    Settlement settlement;
    settlement.message = an_id();
    settlement.warned = true;
    with_notification(std::move(settlement), true);
  }

  void with_notification(Settlement settlement, bool notify) {
    bool effect = model_.settle(settlement);
    if (notify) {
      Notification notification = f_.notification("s@" + a_destination());
      notification.message.warn_at.reset();
      settlement.notifications.push_back(notification);
      if (effect) {
        Model::Message mine;
        mine.body = notification.body;
        mine.arrival = notification.message.arrival;
        mine.expires = mine.check_at = notification.message.expires;
        const smtp::Path& to = notification.message.envelope.recipients[0].forward_path;
        mine.recipients.push_back({to.text(), to.mailbox.domain, State::deferred, 0, mine.arrival});
        model_.messages.emplace(notification.message.id, std::move(mine));
      }
    }
    Result<bool> done = f_.run(f_.store->settle(std::move(settlement)));
    CHECK(done);
  }

  void settle_destination() {
    DestinationState state;
    state.name = a_destination();
    state.failures = static_cast<std::uint32_t>(roll(3));
    // In wall time far ahead, so that the sweep at a start, which goes by the machine's clock, leaves it.
    state.next_attempt = f_.now() + std::chrono::seconds(roll(7200));
    Result<> done = f_.run(f_.store->settle_destination(state));
    CHECK(done);
    model_.destinations[state.name] = {state.failures, state.next_attempt};
  }

  void change() {
    auto what = static_cast<Change>(roll(4));
    if (what == Change::remove && roll(3) != 0) what = Change::release;
    std::string destination = roll(5) == 0 ? "" : a_destination();
    std::string filter = destination.empty() ? "" : "destination:" + destination;
    Changed got = f_.change(what, filter);
    Changed want = model_.change(what, destination, f_.now());
    CHECK(got.messages == want.messages);
    CHECK(got.recipients == want.recipients);
  }

  void compare_body() {
    Id id = an_id();
    Result<std::string> got = f_.body(id);
    auto want = model_.messages.find(id);
    if (want == model_.messages.end()) {
      REQUIRE_FALSE(got);
      CHECK(got.error().code == Errc::not_found);
    } else {
      REQUIRE(got);
      CHECK((*got == want->second.body));
    }
  }

  void compare() {
    DueQuery query;
    query.limit = 1 + roll(20);
    query.per_destination = 10'000;
    std::set<Model::DueKey> due;
    for (const Due& one : f_.due(query))
      for (const DueRecipient& recipient : one.recipients)
        CHECK(due.insert({one.message->id, one.destination, recipient.index}).second);
    CHECK((due == model_.due(f_.now())));
    CHECK((f_.next_due == model_.next_due(f_.now())));

    Result<std::vector<Overdue>> listed = f_.run(f_.store->overdue(f_.now(), 100'000));
    REQUIRE(listed);
    std::set<std::pair<Id, bool>> overdue;
    for (const Overdue& one : *listed) overdue.insert({one.message->id, one.expired});
    CHECK((overdue == model_.overdue(f_.now())));

    Counts counts = f_.count(), mine = model_.count(f_.now());
    CHECK(counts.messages == mine.messages);
    CHECK(counts.recipients == mine.recipients);
    CHECK(counts.active == mine.active);
    CHECK(counts.deferred == mine.deferred);
    CHECK(counts.held == mine.held);
    CHECK((counts.oldest == mine.oldest));

    Listing listing = f_.list("", {}, 100'000);
    REQUIRE(listing.messages.size() == model_.messages.size());
    auto message = model_.messages.begin();
    for (const MessageRow& row : listing.messages) {
      CHECK(row.info.id == message->first);
      REQUIRE(row.recipients.size() == message->second.recipients.size());
      for (std::size_t i = 0; i < row.recipients.size(); ++i) {
        const Model::Recipient& recipient = message->second.recipients[i];
        CHECK(row.recipients[i].state == recipient.state);
        CHECK(row.recipients[i].attempts == recipient.attempts);
        CHECK(row.recipients[i].forward_path.text() == recipient.address);
      }
      ++message;
    }
  }

  QueueFixture f_;
  Model model_;
  std::mt19937_64 chance_;
};

}  // namespace

TEST_SUITE("queue/model") {
  TEST_CASE("a random walk gives what the model gives, through restarts") {
    for (std::uint64_t seed : {1, 2, 3}) {
      CAPTURE(seed);
      Walk walk(seed, {});
      walk.steps(1200);
    }
  }
}
