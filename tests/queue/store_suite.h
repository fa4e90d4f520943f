// tests/queue/store_suite.h: what every queue::Store is put to, whatever it stands on: a random walk beside a model,
// all answers compared, through restarts and damage. `Fixture` is a StoreFixture that opens an empty queue by itself:
//
//   TEST_CASE_TEMPLATE_INVOKE(store_suite, QueueFixture);
//
// A long walk: WAYPOST_WALK_STEPS=100000 WAYPOST_WALK_SEED=7 build/release/tests/test_queue -tc='queue/model*'
#pragma once
#include <algorithm>
#include <iterator>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "tests/queue/store_fixture.h"
#include "tests/queue/store_model.h"
#include "tests/support/environment.h"

namespace waypost::queue {

class StoreWalk {
 public:
  StoreWalk(tests::StoreFixture& fixture, std::uint64_t seed) : f_(fixture), chance_(seed) {}

  void steps(int count) {
    for (int i = 0; i < count; ++i) {
      CAPTURE(i);
      step();
      if (i % 20 == 0) compare();
      if (i % 400 == 399) f_.reopen();
    }
    compare();
    // All that came in goes out again, and nothing is left of it.
    change(Change::remove, "", std::nullopt);
    CHECK(model_.messages.empty());
    compare();
    f_.runtime.advance(kUndoTime);
    forget_removed();
    CHECK(model_.kept.empty());
    CHECK(f_.spool_files() == 0);
    CHECK(f_.failed.empty());
  }

 private:
  std::uint64_t roll(std::uint64_t below) { return chance_() % below; }
  // Some of them may wait with a site: of those one asks for all, and the store may choose which.
  static bool has_site(const std::string& destination) { return destination >= "d4"; }
  std::string a_site() { return "10 mx" + std::to_string(roll(2)) + ".example:25"; }
  std::string a_destination() { return "d" + std::to_string(roll(6)) + ".example"; }

  void step() {
    switch (roll(20)) {
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
        return change_some();
      case 9:
        return warn();
      case 10:
        return compare_body();
      case 11:
        return end_what_is_overdue();
      case 12:
        return fail_site();
      case 13:
        return hold_destination();
      case 14:
        if (roll(8) == 0) damage();
        return;
      case 15:
        return redirect_some();
      case 16:
        return tell_postmaster();
      case 17:
        return roll(8) == 0 ? forget_removed() : undo();
      default:
        f_.runtime.advance(std::chrono::seconds(roll(4000)));
    }
  }

  /// Ids of messages grow, through restarts too: none ever has another's.
  void check_new(Id id) {
    CHECK(id > last_);
    last_ = id;
  }

  std::string a_body() {
    // Some are kept in files, and a few of these are read in several pieces.
    std::size_t size = roll(20) == 0 ? 70'000 + roll(10'000) : roll(3000);
    return std::string(size, static_cast<char>('a' + roll(26)));
  }

  StoreModel::Message modelled(const NewMessage& message, std::string body) {
    StoreModel::Message mine;
    mine.size = message.trace.size() + body.size();
    mine.body = std::move(body);
    mine.arrival = message.arrival;
    mine.expires = message.expires;
    mine.warned = !message.warn_at.has_value();
    mine.check_at = std::min(message.warn_at.value_or(message.expires), message.expires);
    for (const smtp::EnvelopeRecipient& recipient : message.envelope.recipients) {
      const smtp::Path& to = recipient.forward_path;
      mine.recipients.push_back({to.text(), to.mailbox.domain, State::deferred, 0, message.arrival});
    }
    return mine;
  }

  void accept() {
    std::vector<std::string> to;
    std::size_t recipients = 1 + roll(4);
    for (std::size_t i = 0; i < recipients; ++i) to.push_back("r" + std::to_string(i) + "@" + a_destination());
    NewMessage message = f_.message("s@a.example", to);
    message.expires = f_.now() + std::chrono::hours(1 + roll(48));
    if (roll(2) == 0) message.warn_at = f_.now() + std::chrono::minutes(roll(300));
    std::string body = a_body();
    StoreModel::Message mine = modelled(message, body);
    f_.arrived.clear();
    Id id = f_.accept(message, body);
    check_new(id);
    check_arrived(id, mine);
    CHECK(model_.messages.emplace(id, std::move(mine)).second);
  }

  /// The schedule is told of each recipient once.
  void check_arrived(Id id, const StoreModel::Message& message) {
    std::set<std::pair<std::uint32_t, std::string>> told;
    for (const Due& due : f_.arrived) {
      if (due.message->id != id) continue;
      for (const DueRecipient& recipient : due.recipients) {
        CHECK(told.emplace(recipient.index, recipient.forward_path.text()).second);
        CHECK(message.recipients.at(recipient.index).destination == due.destination);
      }
    }
    REQUIRE(told.size() == message.recipients.size());
    for (const auto& [index, address] : told) CHECK(message.recipients.at(index).address == address);
  }

  /// One that is there, now and then one that has left, or that never was.
  Id an_id() {
    if (!left_.empty() && roll(20) == 0) return left_[roll(left_.size())];
    if (!model_.kept.empty() && roll(20) == 0) return model_.kept.begin()->first;
    if (model_.messages.empty() || roll(20) == 0) return Id{roll(1000)};
    auto it = model_.messages.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(roll(model_.messages.size())));
    return it->first;
  }

  void note_if_left(Id id, bool was_there) {
    if (was_there && model_.find(id) == nullptr) left_.push_back(id);
  }

  void settle() {
    Settlement settlement;
    settlement.message = an_id();
    for (std::uint32_t i = 0; i < 4; ++i) {
      if (roll(2) == 0) continue;
      constexpr Event kEvents[] = {
          Event::attempt_deferred, Event::attempt_deferred, Event::attempt_relayed, Event::attempt_delivered,
          Event::attempt_failed,   Event::lifetime_over,    Event::remove};
      settlement.recipients.push_back(outcome(i, kEvents[roll(std::size(kEvents))]));
    }
    settlement.for_digest = roll(2) == 0;
    settle(std::move(settlement), roll(4) == 0 ? 1 + roll(2) : 0);
  }

  RecipientOutcome outcome(std::uint32_t index, Event event) {
    RecipientOutcome out;
    out.index = index;
    out.event = event;
    out.next_attempt = f_.now() + std::chrono::seconds(roll(7200));
    out.status = "4.2.2";
    return out;
  }

  void warn() {
    Settlement settlement;
    settlement.message = an_id();
    settlement.warned = true;
    for (std::uint32_t i = 0; i < 4; ++i)
      if (roll(2) == 0) settlement.delay_told.push_back(i);
    settle(std::move(settlement), 1);
  }

  /// As the dispatcher does with what it is told of.
  void end_what_is_overdue() {
    Result<std::vector<Overdue>> listed = f_.run(f_.store->overdue(f_.now(), 100'000));
    REQUIRE(listed);
    (void)model_.overdue(f_.now());
    std::size_t most = 1 + roll(20);
    for (const Overdue& one : *listed) {
      if (!one.expired) continue;
      if (most-- == 0) break;
      Settlement settlement;
      settlement.message = one.message->id;
      for (const DueRecipient& recipient : one.recipients)
        settlement.recipients.push_back(outcome(recipient.index, Event::lifetime_over));
      settle(std::move(settlement), 1);
    }
  }

  void settle(Settlement settlement, std::size_t notifications) {
    Id id = settlement.message;
    bool was_there = model_.messages.contains(id);
    bool effect = model_.settle(settlement, notifications > 0);
    f_.arrived.clear();
    std::vector<Id> made;
    for (std::size_t i = 0; i < notifications; ++i) {
      Notification notification = f_.notification("s@" + a_destination());
      settlement.notifications.push_back(notification);
      if (!effect) continue;
      check_new(notification.message.id);
      made.push_back(notification.message.id);
      model_.messages.emplace(notification.message.id, modelled(notification.message, notification.body));
    }
    Result<bool> done = f_.run(f_.store->settle(std::move(settlement)));
    REQUIRE(done);
    note_if_left(id, was_there);
    if (was_there) CHECK((*done == !model_.messages.contains(id)));
    for (Id one : made) check_arrived(one, model_.messages.at(one));
    if (!effect) CHECK(f_.arrived.empty());
  }

  /// Now and then what comes between what is read and what is told.
  void tell_postmaster() {
    Result<Undelivered> untold = f_.run(f_.store->undelivered());
    REQUIRE(untold);
    REQUIRE(untold->entries.size() == model_.undelivered.size());
    for (std::size_t i = 0; i < untold->entries.size(); ++i) CHECK(untold->entries[i].address == model_.undelivered[i]);
    CHECK(untold->more == model_.more_undelivered);
    if (roll(4) != 0) return;
    const std::size_t told = untold->entries.size();
    const std::uint64_t more = untold->more;
    if (roll(2) == 0) settle();
    Notification digest = f_.notification("postmaster@" + a_destination());
    digest.message.origin.listener = Origin::kDigest;
    check_new(digest.message.id);
    StoreModel::Message mine = modelled(digest.message, digest.body);
    mine.is_digest = true;
    f_.arrived.clear();
    CHECK(f_.run(f_.store->commit_digest(digest, *std::move(untold))));
    check_arrived(digest.message.id, mine);
    model_.messages.emplace(digest.message.id, std::move(mine));
    model_.undelivered.erase(model_.undelivered.begin(),
                             model_.undelivered.begin() + static_cast<std::ptrdiff_t>(told));
    model_.more_undelivered -= more;
  }

  void settle_destination() {
    DestinationState state;
    state.name = a_destination();
    StoreModel::BackOff& known = model_.destinations[state.name];
    // A row of what does well may be swept, and with it what site it waits with.
    state.failures = static_cast<std::uint32_t>(roll(3)) + (known.site.empty() ? 0 : 1);
    // In wall time far ahead, so that the sweep at a start, which goes by the machine's clock, leaves it.
    state.next_attempt = f_.now() + std::chrono::seconds(roll(7200));
    Result<> done = f_.run(f_.store->settle_destination(state));
    CHECK(done);
    known.failures = state.failures;
    known.next_attempt = state.next_attempt;
  }

  /// And one of its destinations finds out.
  void fail_site() {
    DestinationState site;
    site.kind = DestinationState::Kind::site;
    site.name = a_site();
    site.failures = 1 + static_cast<std::uint32_t>(roll(3));
    site.next_attempt = f_.now() + std::chrono::seconds(roll(7200));
    CHECK(f_.run(f_.store->settle_destination(site)));
    model_.destinations[site.name].failures = site.failures;
    model_.destinations[site.name].next_attempt = site.next_attempt;
    DestinationState state;
    state.name = "d" + std::to_string(4 + roll(2)) + ".example";
    state.failures = 1;
    state.next_attempt = f_.now();
    CHECK(f_.run(f_.store->settle_destination(state)));
    CHECK(f_.run(f_.store->join_site(state.name, site.name, f_.now() + std::chrono::hours(100'000))));
    StoreModel::BackOff& known = model_.destinations[state.name];
    known.failures = 1;
    known.next_attempt = state.next_attempt;
    known.site = site.name;
  }

  void hold_destination() {
    DestinationChange change;
    change.name = a_destination();
    StoreModel::BackOff& known = model_.destinations[change.name];
    change.with_site = !known.site.empty() && roll(2) == 0;
    change.kind = DestinationChange::Kind::hold;
    change.until = f_.now() + std::chrono::seconds(1 + roll(3600));
    change.now = f_.now();
    CHECK(f_.run(f_.store->change_destination(change)));
    StoreModel::BackOff& meant = change.with_site ? model_.destinations[known.site] : known;
    meant.held_until = change.until;
    if (roll(2) == 0) return;
    change.kind = roll(2) == 0 ? DestinationChange::Kind::resume : DestinationChange::Kind::retry;
    CHECK(f_.run(f_.store->change_destination(change)));
    if (change.kind == DestinationChange::Kind::resume) meant.held_until = std::min(meant.held_until, f_.now());
    if (change.kind != DestinationChange::Kind::retry) return;
    meant.next_attempt = std::min(meant.next_attempt, f_.now());
    if (meant.site.empty()) return;
    StoreModel::BackOff& site = model_.destinations[meant.site];
    site.next_attempt = std::min(site.next_attempt, f_.now());
  }

  /// Recipients of a message belong elsewhere from now on.
  void redirect_some() {
    const Id id = an_id();
    const auto found = model_.messages.find(id);
    if (found != model_.messages.end() && found->second.damaged) return;
    auto info = std::make_shared<MessageInfo>();
    info->id = id;
    Due due;
    due.message = info;
    due.destination = a_destination() + (roll(2) == 0 ? "/office" : "");
    for (std::uint32_t i = 0; i < 4; ++i) {
      if (roll(2) == 0) continue;
      due.recipients.emplace_back();
      due.recipients.back().index = i;
      if (found == model_.messages.end() || i >= found->second.recipients.size()) continue;
      StoreModel::Recipient& recipient = found->second.recipients[i];
      const bool held = model_.destinations[recipient.destination].held_until > f_.now();
      if (recipient.state == State::deferred && !held) recipient.destination = due.destination;
    }
    std::vector<Due> all;
    all.push_back(std::move(due));
    CHECK(f_.run(f_.store->redirect(std::move(all), f_.now())));
  }

  void change_some() {
    auto what = static_cast<Change>(roll(4));
    if (what == Change::remove && roll(3) != 0) what = Change::release;
    std::optional<Id> one;
    if (roll(3) == 0) one = an_id();
    change(what, roll(5) == 0 ? "" : a_destination(), one);
  }

  void change(Change what, const std::string& destination, std::optional<Id> one) {
    std::string filter = destination.empty() ? "" : "destination:" + destination;
    if (one) filter += " " + one->text();
    Changed preview = f_.change(what, filter, true);
    std::vector<Id> before;
    for (const auto& [id, message] : model_.messages) before.push_back(id);
    const bool for_good = what == Change::remove && roll(4) == 0;
    Changed got = f_.change(what, filter, false, for_good);
    Changed want = model_.change(what, destination, one, for_good, f_.now());
    CHECK(got.number == want.number);
    CHECK(got.messages == want.messages);
    CHECK(got.recipients == want.recipients);
    CHECK(preview.messages == want.messages);
    CHECK(preview.recipients == want.recipients);
    for (Id id : before) note_if_left(id, true);
  }

  /// One of the last changes, or one that there is not.
  void undo() {
    const std::uint64_t back = roll(12);
    const std::uint64_t number = model_.last_change + 1 - std::min(back, model_.last_change + 1);
    const std::optional<Changed> want = model_.undo(number, f_.now());
    const Result<Changed> got = f_.undo(number);
    REQUIRE((got.has_value() == want.has_value()));
    if (!got) return;
    CHECK(got->messages == want->messages);
    CHECK(got->recipients == want->recipients);
    CHECK(got->number == want->number);
  }

  void forget_removed() {
    std::vector<Id> before;
    for (const auto& [id, message] : model_.kept) before.push_back(id);
    model_.forget_removed(f_.now());
    CHECK(f_.run(f_.store->forget_removed(f_.now(), {})));
    for (Id id : before) note_if_left(id, true);
  }

  void damage() {
    Id id = an_id();
    if (model_.kept.contains(id)) return;
    auto found = model_.messages.find(id);
    // Damage is found where a message is read, and of those with a site it is open which are.
    if (found != model_.messages.end() &&
        std::any_of(found->second.recipients.begin(), found->second.recipients.end(),
                    [](const StoreModel::Recipient& each) { return has_site(each.destination); }))
      return;
    f_.damage(id);
    if (found != model_.messages.end()) found->second.damaged = true;
  }

  void compare_body() {
    Id id = an_id();
    Result<std::string> got = f_.body(id);
    const StoreModel::Message* want = model_.find(id);
    if (want == nullptr || want->damaged) {
      REQUIRE_FALSE(got);
      CHECK(got.error().code == (want == nullptr ? Errc::not_found : Errc::damaged));
    } else {
      REQUIRE(got);
      CHECK((*got == want->body));
    }
  }

  void compare() {
    compare_due();
    compare_overdue();
    compare_counts("");
    compare_counts(a_destination());
    compare_list();
  }

  void compare_due() {
    DueQuery query;
    query.limit = 1 + roll(20);
    query.per_destination = 10'000;
    // A page before the one that found the damage may tell of a time that is no more.
    if (model_.read_due(f_.now())) f_.due(query);
    std::set<StoreModel::DueKey> due;
    for (const Due& one : f_.due(query))
      for (const DueRecipient& recipient : one.recipients) {
        CHECK(due.insert({one.message->id, one.destination, recipient.index}).second);
        CHECK(recipient.delay_told == model_.messages.at(one.message->id).recipients.at(recipient.index).delay_told);
      }
    const std::set<StoreModel::DueKey> all = model_.due(f_.now());
    CHECK(std::includes(all.begin(), all.end(), due.begin(), due.end()));
    // A destination that is not there waits for another one of its site, which is.
    std::set<std::string> asking;
    for (const auto& [id, destination, index] : due) asking.insert(model_.asked_site(destination));
    bool complete = true;
    for (const StoreModel::DueKey& key : all) {
      if (due.contains(key)) continue;
      complete = false;
      const std::string site = model_.asked_site(std::get<1>(key));
      CHECK_FALSE(site.empty());
      CHECK(asking.contains(site));
    }
    // What is set aside may be looked at, and left out, earlier.
    const std::optional<net::WallTime> next = model_.next_due(f_.now());
    CHECK((!f_.next_due || *f_.next_due > f_.now()));
    if (complete && next) CHECK((f_.next_due && *f_.next_due <= *next));
  }

  void compare_overdue() {
    Result<std::vector<Overdue>> listed = f_.run(f_.store->overdue(f_.now(), 100'000));
    REQUIRE(listed);
    std::set<std::pair<Id, bool>> overdue;
    for (const Overdue& one : *listed) overdue.insert({one.message->id, one.expired});
    CHECK((overdue == model_.overdue(f_.now())));
  }

  void compare_counts(const std::string& destination) {
    Counts counts = f_.count(destination.empty() ? "" : "destination:" + destination);
    Counts mine = model_.count(f_.now(), destination);
    CHECK(counts.messages == mine.messages);
    CHECK(counts.recipients == mine.recipients);
    CHECK(counts.active == mine.active);
    CHECK(counts.deferred == mine.deferred);
    CHECK(counts.held == mine.held);
    CHECK(counts.octets == mine.octets);
    CHECK((counts.oldest == mine.oldest));
  }

  /// Page by page.
  void compare_list() {
    std::size_t limit = 1 + roll(200);
    std::vector<MessageRow> rows;
    std::optional<Id> after;
    do {
      Listing listing = f_.list("", after, limit);
      CHECK(listing.messages.size() <= limit);
      for (MessageRow& row : listing.messages) rows.push_back(std::move(row));
      after = listing.resume;
    } while (after);
    REQUIRE(rows.size() == model_.messages.size());
    auto message = model_.messages.begin();
    for (const MessageRow& row : rows) {
      CHECK(row.info.id == message->first);
      CHECK(row.info.size == message->second.size);
      REQUIRE(row.recipients.size() == message->second.recipients.size());
      for (std::size_t i = 0; i < row.recipients.size(); ++i) {
        const StoreModel::Recipient& recipient = message->second.recipients[i];
        CHECK(row.recipients[i].state == recipient.state);
        CHECK(row.recipients[i].attempts == recipient.attempts);
        CHECK(row.recipients[i].forward_path.text() == recipient.address);
      }
      ++message;
    }
  }

  tests::StoreFixture& f_;
  StoreModel model_;
  std::mt19937_64 chance_;
  Id last_;
  std::vector<Id> left_;
};

}  // namespace waypost::queue

TEST_CASE_TEMPLATE_DEFINE("queue/model: a random walk gives what the model gives, through restarts and damage", Fixture,
                          store_suite) {
  std::uint64_t steps = waypost::tests::from_environment("WAYPOST_WALK_STEPS", 0);
  std::uint64_t first = waypost::tests::from_environment("WAYPOST_WALK_SEED", 1);
  std::uint64_t seeds = steps > 0 ? 1 : 6;
  if (steps == 0) steps = 800;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    CAPTURE(seed);
    Fixture fixture;
    waypost::queue::StoreWalk walk(fixture, seed);
    walk.steps(static_cast<int>(steps));
  }
}
