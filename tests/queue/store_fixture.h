// tests/queue/store_fixture.h: any queue::Store under test, on the thread of the test, and what tests say to it. No
// SQLite here: a store of another kind needs a fixture of its own and no other line.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "net/scope.h"
#include "queue/history.h"
#include "queue/store.h"
#include "tests/support/virtual_runtime.h"

namespace waypost::tests {

/// Keeps events in memory.
class HistoryList : public queue::History {
 public:
  void add(queue::HistoryEvent event) override {
    std::lock_guard lock(mutex_);
    events.push_back(std::move(event));
  }
  Result<std::vector<queue::HistoryEvent>> find(const queue::HistoryQuery&) override { return events; }
  std::uint64_t dropped() const override { return 0; }
  /// The kinds for one message, in order.
  std::vector<queue::HistoryEvent::Kind> kinds(queue::Id id) const {
    std::vector<queue::HistoryEvent::Kind> out;
    for (const queue::HistoryEvent& event : events)
      if (event.message == id) out.push_back(event.kind);
    return out;
  }
  std::vector<queue::HistoryEvent> events;

 private:
  std::mutex mutex_;
};

inline smtp::Path path_to(const std::string& address) {
  smtp::Path path;
  if (address.empty()) return path;
  std::size_t at = address.rfind('@');
  path.mailbox.local = address.substr(0, at);
  path.mailbox.domain = address.substr(at + 1);
  return path;
}

/// A queue and a store of it. What a fixture of one kind of store does: the constructor opens an empty queue, and the
/// four functions below.
class StoreFixture {
 public:
  virtual ~StoreFixture() = default;

  /// A restart: what was not committed is gone.
  virtual void reopen() = 0;
  /// Does all that waits, of the runtime and of the store's own thread.
  virtual void pump() = 0;
  /// Changes what never changes of a message, as a flipped bit would, and opens the queue again.
  virtual void damage(queue::Id id) = 0;
  /// Spool files that are there.
  virtual std::size_t spool_files() = 0;

  /// Runs a task to its end, with the storage thread's work done in between.
  template <class T>
  T run(net::Task<T> task) {
    std::optional<T> result;
    scope.spawn(keep(std::move(task), result));
    pump();
    REQUIRE(result.has_value());
    return *std::move(result);
  }
  net::WallTime now() const { return runtime.wall_now(); }

  queue::NewMessage message(const std::string& from, const std::vector<std::string>& to) const {
    queue::NewMessage out;
    out.envelope.reverse_path = path_to(from);
    for (const std::string& address : to) {
      smtp::EnvelopeRecipient recipient;
      recipient.forward_path = path_to(address);
      out.envelope.recipients.push_back(std::move(recipient));
    }
    out.trace = "Received: from c.example by r.example; now\r\n";
    out.origin = {"192.0.2.1", "c.example", "ESMTP", "mx", ""};
    out.message_id = "<m@c.example>";
    out.arrival = now();
    out.expires = now() + std::chrono::hours(120);
    return out;
  }

  /// Accepts a message and returns its id.
  queue::Id accept(queue::NewMessage message, const std::string& body = "Subject: x\r\n\r\ntext\r\n") {
    Result<queue::Id> id = try_accept(std::move(message), body);
    REQUIRE_MESSAGE(id, (id ? std::string() : id.error().what));
    return *id;
  }
  Result<queue::Id> try_accept(queue::NewMessage message, const std::string& body = "Subject: x\r\n\r\ntext\r\n",
                               std::optional<queue::Notification> with = std::nullopt) {
    queue::Draft draft = store->draft();
    queue::Id id = draft.id();
    for (std::size_t at = 0; at < body.size(); at += 10000) {
      draft.buffer() += body.substr(at, 10000);
      if (draft.full()) {
        Result<> spilled = run(draft.spill());
        if (!spilled) return fail(spilled.error());
      }
    }
    Result<> done = run(store->commit(std::move(message), std::move(draft), queue::BodyNotes{}, std::move(with)));
    if (!done) return fail(done.error());
    return id;
  }

  /// All pages of what is due now.
  std::vector<queue::Due> due(queue::DueQuery query = {}) {
    query.now = now();
    std::vector<queue::Due> all;
    next_due.reset();
    while (true) {
      Result<queue::DuePage> page = run(store->due(query));
      REQUIRE(page);
      for (queue::Due& one : page->due) all.push_back(std::move(one));
      for (const queue::DestinationState& state : page->destinations) destinations[state.name] = state;
      if (page->next_due && (!next_due || *page->next_due < *next_due)) next_due = page->next_due;
      if (!page->resume) return all;
      query.resume = page->resume;
    }
  }

  /// Settles recipients of one message alike.
  Result<> settle(queue::Id id, const std::vector<std::uint32_t>& indexes, queue::Event event,
                  std::vector<queue::Notification> notifications = {}, net::Duration next = std::chrono::minutes(5)) {
    queue::Settlement settlement;
    settlement.message = id;
    for (std::uint32_t index : indexes) {
      queue::RecipientOutcome outcome;
      outcome.index = index;
      outcome.event = event;
      outcome.next_attempt = now() + next;
      outcome.status = "4.2.2";
      outcome.reply = "452 4.2.2 Mailbox full";
      outcome.host = "mx.b.example[192.0.2.7]:25";
      settlement.recipients.push_back(std::move(outcome));
    }
    settlement.notifications = std::move(notifications);
    Result<bool> done = run(store->settle(std::move(settlement)));
    if (!done) return fail(done.error());
    return {};
  }

  queue::Notification notification(const std::string& to) {
    queue::Notification out;
    out.message = message("", {to});
    out.message.id = store->draft().id();
    out.message.origin = {"", "", "", "notification", ""};
    out.body = "Subject: failed\r\n\r\nsorry\r\n";
    return out;
  }

  queue::Listing list(const std::string& filter = "", std::optional<queue::Id> after = {}, std::size_t limit = 1000) {
    Result<queue::Filter> parsed = queue::parse_filter(filter);
    REQUIRE(parsed);
    Result<queue::Listing> listing = run(store->list(*parsed, after, limit, now()));
    REQUIRE(listing);
    return *std::move(listing);
  }
  queue::Counts count(const std::string& filter = "") {
    Result<queue::Filter> parsed = queue::parse_filter(filter);
    REQUIRE(parsed);
    Result<queue::Counts> counts = run(store->count(*parsed, now()));
    REQUIRE(counts);
    return *counts;
  }
  queue::Changed change(queue::Change what, const std::string& filter, bool dry_run = false, bool for_good = false) {
    queue::ChangeRequest request;
    request.dry_run = dry_run;
    request.for_good = for_good;
    return change(what, filter, std::move(request));
  }
  queue::Changed change(queue::Change what, const std::string& filter, queue::ChangeRequest request) {
    Result<queue::Filter> parsed = queue::parse_filter(filter);
    REQUIRE(parsed);
    request.change = what;
    request.filter = *std::move(parsed);
    request.meant = filter;
    request.who = "ann";
    request.reason = "a test";
    request.now = now();
    Result<queue::Changed> done = run(store->change(std::move(request)));
    REQUIRE(done);
    return *done;
  }
  Result<queue::Changed> undo(std::uint64_t number) { return run(store->undo(number, "bob", now(), nullptr)); }
  std::vector<queue::ChangeRecord> changes() {
    Result<std::vector<queue::ChangeRecord>> found = run(store->changes(UINT64_MAX, 1000));
    REQUIRE(found);
    return *std::move(found);
  }

  /// The whole body, or the error.
  Result<std::string> body(queue::Id id) {
    Result<std::shared_ptr<const queue::Content>> content = run(store->content(id));
    if (!content) return fail(content.error());
    queue::BodyReader reader = store->read_body(*content);
    std::string all;
    while (true) {
      Result<std::string_view> piece = run(reader.next());
      if (!piece) return fail(piece.error());
      if (piece->empty()) return all;
      all += *piece;
    }
  }

  VirtualRuntime runtime;
  net::Scope scope{runtime, [](std::string_view what) { FAIL(std::string(what)); }};
  HistoryList history;
  std::unique_ptr<queue::Store> store;
  std::vector<queue::Due> arrived;
  int changed = 0;
  std::vector<std::string> failed;
  std::map<std::string, queue::DestinationState> destinations;
  std::optional<net::WallTime> next_due;

 protected:
  /// What the store is to tell, kept in the members above.
  queue::StoreEvents events() {
    queue::StoreEvents out;
    out.arrived = [this](std::vector<queue::Due> due) {
      for (queue::Due& one : due) arrived.push_back(std::move(one));
    };
    out.changed = [this] { changed += 1; };
    out.failed = [this](const Error& error) { failed.push_back(error.what); };
    return out;
  }

 private:
  template <class T>
  static net::Task<> keep(net::Task<T> task, std::optional<T>& result) {
    result = co_await task;
  }
};

}  // namespace waypost::tests
