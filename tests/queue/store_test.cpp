#include <algorithm>

#include <doctest/doctest.h>

#include "tests/queue/queue_fixture.h"

using namespace waypost;
using namespace waypost::queue;
using namespace waypost::tests;
using Kind = HistoryEvent::Kind;

namespace {

net::Task<> settle_into(QueueFixture& fixture, Settlement settlement, Result<>& into) {
  Result<bool> done = co_await fixture.store->settle(std::move(settlement));
  into = done ? Result<>() : fail(done.error());
}

}  // namespace

TEST_SUITE("queue/store") {
  TEST_CASE("accepted, due, settled, gone") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"r@b.example"}));
    REQUIRE(f.arrived.size() == 1);
    CHECK(f.arrived[0].message->id == id);
    CHECK(f.arrived[0].destination == "b.example");
    REQUIRE(f.arrived[0].content);
    CHECK(f.arrived[0].content->octets == "Subject: x\r\n\r\ntext\r\n");
    CHECK(f.arrived[0].content->trace == "Received: from c.example by r.example; now\r\n");

    std::vector<Due> due = f.due();
    REQUIRE(due.size() == 1);
    CHECK(due[0].message->id == id);
    CHECK(due[0].message->reverse_path.text() == "s@a.example");
    CHECK(due[0].message->size == 20 + 44);
    REQUIRE(due[0].recipients.size() == 1);
    CHECK(due[0].recipients[0].forward_path.text() == "r@b.example");
    CHECK(due[0].recipients[0].attempts == 0);
    CHECK(f.body(id) == "Subject: x\r\n\r\ntext\r\n");

    REQUIRE(f.settle(id, {0}, Event::attempt_relayed));
    CHECK(f.due().empty());
    CHECK(f.count().messages == 0);
    CHECK(f.body(id).error().code == Errc::not_found);
    CHECK(f.history.kinds(id) == std::vector<Kind>{Kind::accepted, Kind::relayed});
  }

  TEST_CASE("every parameter of the envelope comes back") {
    QueueFixture f;
    NewMessage message = f.message("s@a.example", {"r@b.example"});
    message.envelope.body = smtp::BodyType::eight_bit_mime;
    message.envelope.smtputf8 = true;
    message.envelope.require_tls = true;
    message.envelope.ret = smtp::Ret::headers;
    message.envelope.envid = "QQ+2B1";
    message.envelope.recipients[0].notify.bits = smtp::Notify::kSuccess | smtp::Notify::kDelay;
    message.envelope.recipients[0].orcpt = "rfc822;r@b.example";
    message.envelope.recipients[0].forward_path.mailbox.local = "odd \"one\"";
    message.origin.user = "ann";
    f.accept(message);
    f.reopen();
    std::vector<Due> due = f.due();
    REQUIRE(due.size() == 1);
    const MessageInfo& info = *due[0].message;
    CHECK(info.body == smtp::BodyType::eight_bit_mime);
    CHECK(info.smtputf8);
    CHECK(info.require_tls);
    CHECK(info.ret == smtp::Ret::headers);
    CHECK(info.envid == "QQ+2B1");
    CHECK(info.user == "ann");
    CHECK(info.arrival == message.arrival);
    CHECK(info.expires == message.expires);
    const DueRecipient& recipient = due[0].recipients.at(0);
    CHECK(recipient.notify == message.envelope.recipients[0].notify);
    CHECK(recipient.orcpt == "rfc822;r@b.example");
    CHECK(recipient.forward_path == message.envelope.recipients[0].forward_path);
  }

  TEST_CASE("the null reverse-path stays null") {
    QueueFixture f;
    f.accept(f.message("", {"r@b.example"}));
    CHECK(f.due().at(0).message->reverse_path.is_null());
    CHECK(f.list("from:<>").messages.size() == 1);
    CHECK(f.list("-from:<>").messages.empty());
  }

  TEST_CASE("several destinations in one message, compared without case") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"1@b.example", "2@c.example", "3@B.Example"}));
    CHECK(f.arrived.size() == 2);
    std::vector<Due> due = f.due();
    REQUIRE(due.size() == 2);
    std::sort(due.begin(), due.end(), [](const Due& a, const Due& b) { return a.destination < b.destination; });
    CHECK(due[0].destination == "b.example");
    REQUIRE(due[0].recipients.size() == 2);
    CHECK(due[0].recipients[1].index == 2);
    CHECK(due[1].destination == "c.example");
    CHECK(due[0].message == due[1].message);
    CHECK(due[0].message->id == id);
  }

  TEST_CASE("several recipients end in several ways, the message leaves with the last of them") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"0@b.example", "1@b.example", "2@b.example"}));
    REQUIRE(f.settle(id, {0}, Event::attempt_relayed));
    REQUIRE(f.settle(id, {1}, Event::attempt_deferred));
    REQUIRE(f.settle(id, {2}, Event::attempt_failed));
    Listing listing = f.list();
    REQUIRE(listing.messages.size() == 1);
    const std::vector<RecipientRow>& rows = listing.messages[0].recipients;
    REQUIRE(rows.size() == 3);
    CHECK(rows[0].state == State::relayed);
    CHECK(rows[1].state == State::deferred);
    CHECK(rows[1].attempts == 1);
    CHECK(rows[1].status == "4.2.2");
    CHECK(rows[1].host == "mx.b.example[192.0.2.7]:25");
    CHECK(rows[2].state == State::bounced);
    CHECK(f.due().empty());
    CHECK(f.next_due == f.now() + std::chrono::minutes(5));
    f.runtime.advance(std::chrono::minutes(5));
    std::vector<Due> due = f.due();
    REQUIRE(due.size() == 1);
    REQUIRE(due[0].recipients.size() == 1);
    CHECK(due[0].recipients[0].index == 1);
    CHECK(due[0].recipients[0].attempts == 1);
    CHECK(due[0].recipients[0].last_reply == "452 4.2.2 Mailbox full");
    REQUIRE(f.settle(id, {1}, Event::lifetime_over));
    CHECK(f.count().messages == 0);
    CHECK(f.history.kinds(id) ==
          std::vector<Kind>{Kind::accepted, Kind::relayed, Kind::deferred, Kind::bounced, Kind::expired});
  }

  TEST_CASE("an end is settled once: a second outcome and one for a message that is gone are without effect") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"0@b.example", "1@b.example"}));
    REQUIRE(f.settle(id, {0}, Event::attempt_relayed));
    REQUIRE(f.settle(id, {0}, Event::attempt_failed, {f.notification("s@a.example")}));
    REQUIRE(f.settle(id, {7}, Event::attempt_failed, {f.notification("s@a.example")}));
    CHECK(f.list().messages.at(0).recipients.at(0).state == State::relayed);
    CHECK(f.count().messages == 1);
    REQUIRE(f.settle(id, {1}, Event::attempt_relayed));
    REQUIRE(f.settle(id, {1}, Event::attempt_failed, {f.notification("s@a.example")}));
    CHECK(f.count().messages == 0);
    CHECK(f.history.kinds(id) == std::vector<Kind>{Kind::accepted, Kind::relayed, Kind::relayed});
  }

  TEST_CASE("a bounce and its notification are one transaction (promise 2)") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"r@b.example"}));
    f.arrived.clear();
    Notification notification = f.notification("s@a.example");
    Id other = notification.message.id;
    std::uint64_t commits = f.queue->stats().commits;
    REQUIRE(f.settle(id, {0}, Event::attempt_failed, {notification}));
    CHECK(f.queue->stats().commits == commits + 1);
    CHECK(f.body(id).error().code == Errc::not_found);
    CHECK(f.body(other) == notification.body);
    REQUIRE(f.arrived.size() == 1);
    CHECK(f.arrived[0].message->id == other);
    CHECK(f.arrived[0].message->reverse_path.is_null());
    CHECK(f.history.kinds(id) == std::vector<Kind>{Kind::accepted, Kind::bounced, Kind::notified});
    CHECK(f.history.events.at(2).other == other);
    CHECK(f.history.events.at(3).other == id);
  }

  TEST_CASE("a message and the notification of its acceptance are one transaction (promise 1)") {
    QueueFixture f;
    const std::string body = "Subject: x\r\n\r\n";
    Notification notification = f.notification("s@a.example");
    const Id other = notification.message.id;
    std::uint64_t commits = f.queue->stats().commits;
    Result<Id> id = f.try_accept(f.message("s@a.example", {"r@b.example"}), body, notification);
    REQUIRE(id);
    CHECK(f.queue->stats().commits == commits + 1);
    CHECK(f.body(*id) == body);
    CHECK(f.body(other) == notification.body);
    CHECK(f.arrived.size() == 2);
    CHECK(f.history.kinds(*id) == std::vector<Kind>{Kind::accepted, Kind::notified});
    CHECK(f.history.events.at(1).other == other);
    CHECK(f.history.events.at(2).other == *id);

    // Its id is taken: nothing is written, of neither.
    CHECK_FALSE(f.try_accept(f.message("s@a.example", {"r@b.example"}), body, notification));
    CHECK(f.count().messages == 2);
    notification = f.notification("s@a.example");
    notification.message.envelope.recipients.clear();
    CHECK(f.try_accept(f.message("s@a.example", {"r@b.example"}), body, notification).error().code == Errc::invalid);
    CHECK(f.count().messages == 2);
  }

  TEST_CASE("a notification that cannot be written leaves the recipient as it was (promise 2)") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"r@b.example"}));
    Notification notification = f.notification("s@a.example");
    notification.message.id = id;  // taken: the insert fails
    CHECK_FALSE(f.settle(id, {0}, Event::attempt_deferred, {notification}));
    CHECK(f.list().messages.at(0).recipients.at(0).attempts == 0);
    CHECK(f.due().size() == 1);
    CHECK(f.history.kinds(id) == std::vector<Kind>{Kind::accepted});
  }

  TEST_CASE("one operation that fails does not fail the others of its batch") {
    QueueFixture f;
    Id taken = f.accept(f.message("s@a.example", {"r@b.example"}));
    std::vector<Result<>> results(3);
    auto commit = [](QueueFixture& fixture, Draft draft, Result<>& into) -> net::Task<> {
      NewMessage message = fixture.message("s@a.example", {"new@c.example"});
      BodyNotes notes;
      into = co_await fixture.store->commit(std::move(message), std::move(draft), notes, std::nullopt);
    };
    Settlement bad;
    bad.message = taken;
    bad.recipients.emplace_back();
    Notification notification = f.notification("s@a.example");
    notification.message.id = taken;
    bad.notifications.push_back(notification);
    f.scope.spawn(commit(f, f.store->draft(), results[0]));
    f.scope.spawn(settle_into(f, bad, results[1]));
    f.scope.spawn(commit(f, f.store->draft(), results[2]));
    f.pump();
    CHECK(results[0]);
    CHECK_FALSE(results[1]);
    CHECK(results[2]);
    CHECK(f.count().messages == 3);
    CHECK(f.due().size() == 3);
    // Also the destination that the failed transaction had made is known rightly.
    f.accept(f.message("s@a.example", {"again@c.example"}));
    CHECK(f.list("destination:c.example").messages.size() == 3);
  }

  TEST_CASE("what waits together is one commit") {
    QueueFixture f;
    auto commit = [](QueueFixture& fixture, Draft draft, int& done) -> net::Task<> {
      NewMessage message = fixture.message("s@a.example", {"r@b.example"});
      BodyNotes notes;
      Result<> result = co_await fixture.store->commit(std::move(message), std::move(draft), notes, std::nullopt);
      if (result) ++done;
    };
    std::uint64_t commits = f.queue->stats().commits;
    int done = 0;
    for (int i = 0; i < 50; ++i) f.scope.spawn(commit(f, f.store->draft(), done));
    CHECK(done == 0);
    f.pump();
    CHECK(done == 50);
    CHECK(f.queue->stats().commits == commits + 1);
    CHECK(f.queue->stats().operations == 50);
  }

  TEST_CASE("a restart keeps all of it (promise 1)") {
    QueueFixture f;
    Id first = f.accept(f.message("s@a.example", {"0@b.example", "1@c.example"}));
    Id second = f.accept(f.message("t@a.example", {"2@b.example"}), std::string(200'000, 'x'));
    REQUIRE(f.settle(first, {0}, Event::attempt_deferred));
    DestinationState state;
    state.name = "c.example";
    state.failures = 2;
    state.next_attempt = f.now() + std::chrono::hours(1);
    state.failing_since = f.now();
    state.status = "4.4.1";
    state.reason = "connection refused";
    state.host = "mx.c.example";
    REQUIRE(f.run(f.store->settle_destination(state)));
    f.reopen();
    std::vector<Due> due = f.due();
    REQUIRE(due.size() == 1);
    CHECK(due[0].message->id == second);
    CHECK(f.next_due == f.now() + std::chrono::minutes(5));
    CHECK(f.body(second) == std::string(200'000, 'x'));
    Listing listing = f.list();
    REQUIRE(listing.messages.size() == 2);
    const RecipientRow& waiting = listing.messages[0].recipients.at(1);
    CHECK(waiting.reply == "connection refused");
    CHECK(waiting.next_attempt == state.next_attempt);
    f.runtime.advance(std::chrono::hours(2));
    CHECK(f.due().size() == 3);
    CHECK(f.destinations.at("c.example").failures == 2);
    CHECK(f.destinations.at("c.example").reason == "connection refused");
  }

  TEST_CASE("ids go on after a restart, though the clock was set back and the messages are gone") {
    QueueFixture f;
    Id last = f.accept(f.message("s@a.example", {"r@b.example"}));
    REQUIRE(f.settle(last, {0}, Event::attempt_relayed));
    f.runtime.jump_wall(-std::chrono::hours(24));
    f.reopen();
    CHECK(f.store->draft().id() > last);
  }

  TEST_CASE("a body over the inline limit stands in a file, which leaves with its message") {
    QueueFixture f;
    std::string body(300'000, 'b');
    Id id = f.accept(f.message("s@a.example", {"r@b.example"}), body);
    std::string path = f.folder.path() + "/" + body_path(id.text());
    CHECK(std::filesystem::file_size(path) == body.size());
    CHECK((std::filesystem::status(path).permissions() & std::filesystem::perms::all) ==
          (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
    REQUIRE(f.arrived.at(0).content);
    CHECK(f.arrived[0].content->in_file);
    CHECK(f.body(id) == body);
    REQUIRE(f.settle(id, {0}, Event::attempt_relayed));
    CHECK_FALSE(std::filesystem::exists(path));
  }

  TEST_CASE("a body at the inline limit stays in the row, one octet more does not") {
    StoreOptions options;
    options.inline_limit = 1000;
    QueueFixture f(options);
    auto accept = [&f](std::size_t size) {
      Draft draft = f.store->draft();
      Id id = draft.id();
      draft.buffer() = std::string(size, 'z');
      NewMessage message = f.message("s@a.example", {"r@b.example"});
      REQUIRE(f.run(f.store->commit(std::move(message), std::move(draft), BodyNotes{}, std::nullopt)));
      return id;
    };
    Id within = accept(1000), over = accept(1001), empty = accept(0);
    CHECK_FALSE(std::filesystem::exists(f.folder.path() + "/" + body_path(within.text())));
    CHECK(std::filesystem::exists(f.folder.path() + "/" + body_path(over.text())));
    CHECK(f.body(within) == std::string(1000, 'z'));
    CHECK(f.body(over) == std::string(1001, 'z'));
    CHECK(f.body(empty) == "");
  }

  TEST_CASE("bodies are kept in memory for the first attempt only within the bound") {
    StoreOptions options;
    options.arrival_octets = 30'000;
    QueueFixture f(options);
    for (int i = 0; i < 4; ++i) f.accept(f.message("s@a.example", {"r@b.example"}), std::string(9'000, 'x'));
    REQUIRE(f.arrived.size() == 4);
    CHECK(f.arrived[2].content);
    CHECK_FALSE(f.arrived[3].content);
    f.arrived.clear();
    f.accept(f.message("s@a.example", {"r@b.example"}), std::string(9'000, 'x'));
    CHECK(f.arrived.at(0).content);
  }

  TEST_CASE("a recipient without a domain is refused, not stored") {
    QueueFixture f;
    NewMessage message = f.message("s@a.example", {"r@b.example"});
    message.envelope.recipients[0].forward_path.mailbox.domain.clear();
    CHECK(f.try_accept(message).error().code == Errc::invalid);
    CHECK(f.try_accept(f.message("s@a.example", {})).error().code == Errc::invalid);
    CHECK(f.count().messages == 0);
  }

  TEST_CASE("a discarded recipient is removed") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"r@b.example"}));
    REQUIRE(f.settle(id, {0}, Event::remove));
    CHECK(f.count().messages == 0);
    CHECK(f.history.kinds(id) == std::vector<Kind>{Kind::accepted, Kind::removed});
  }

  TEST_CASE("octets of every value go through addresses and replies as they are") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"r'; DROP TABLE message; --@b.example"}));
    REQUIRE(f.due().size() == 1);
    Settlement settlement;
    settlement.message = id;
    RecipientOutcome outcome;
    outcome.next_attempt = f.now();
    for (int c = 1; c < 256; ++c) outcome.reply += static_cast<char>(c);
    settlement.recipients.push_back(outcome);
    REQUIRE(f.run(f.store->settle(settlement)));
    CHECK(f.due().at(0).recipients.at(0).last_reply == outcome.reply);
  }
}
