#include <set>

#include <doctest/doctest.h>

#include "queue/reading.h"
#include "tests/queue/queue_fixture.h"

using namespace waypost;
using namespace waypost::queue;
using namespace waypost::tests;
using Kind = HistoryEvent::Kind;
using std::chrono::hours;

TEST_SUITE("queue/admin") {
  TEST_CASE("filters: which messages they mean") {
    QueueFixture f;
    NewMessage ann = f.message("ann@shop.example", {"x@gmail.com"});
    ann.origin.user = "ann";
    Id a = f.accept(ann);
    f.runtime.advance(hours(3));
    NewMessage bob = f.message("bob@other.example", {"y@gmail.com", "z@b.example"});
    bob.origin.client = "198.51.100.7";
    Id b = f.accept(bob, std::string(9000, 'x'));
    f.runtime.advance(hours(1));
    REQUIRE(f.settle(b, {0}, Event::attempt_deferred));
    REQUIRE(f.settle(b, {1}, Event::attempt_relayed));
    struct {
      std::string text;
      std::set<Id> want;
    } const table[] = {
        {"", {a, b}},
        {a.text(), {a}},
        {"-" + a.text(), {b}},
        {a.text() + " " + b.text(), {a, b}},
        {"from:*@shop.example", {a}},
        {"from:ANN@SHOP.example", {a}},
        {"from:@shop.example from:@other.example", {a, b}},
        {"-from:@shop.example", {b}},
        {"from:nn@shop.example", {}},
        {"to:@gmail.com", {a, b}},
        {"to:@gmail.com from:bob@*", {b}},
        {"to:z@b.example", {}},  // it has ended
        {"to:z@b.example state:relayed", {b}},
        {"to:@gmail.com state:relayed", {}},  // of one recipient all must hold
        {"destination:GMAIL.com", {a, b}},
        {"age:>2h", {a}},
        {"age:<2h", {b}},
        {"age:>30m age:<2h", {b}},
        {"age:>=4h", {a}},
        {"size:>5KB", {b}},
        {"size:<5KB", {a}},
        {"tries:>=1", {b}},
        {"tries:0", {a}},
        {"error:452", {b}},
        {"error:\"mailbox FULL\"", {b}},
        {"-error:452", {a}},
        {"error:4%", {}},
        {"error~\"^4.2.2|^452 \"", {b}},
        {"error~\"mailbox (full|EMPTY)$\"", {b}},
        {"-error~\"^452\"", {a}},
        {"error~\"\\d{4}\"", {}},
        {"mx:mx.*", {b}},
        {"mx:MX.b.example", {b}},
        {"mx:b.example", {}},
        {"-mx:mx.*", {a}},
        {"state:deferred", {a, b}},
        {"state:active", {a}},
        {"-state:active", {b}},
        {"state:held", {}},
        {"user:ann", {a}},
        {"-user:ann", {b}},
        {"user:\"\"", {b}},
        {"client:198.51.100.*", {b}},
        {std::string("from:*\0x", 8), {}},  // not everything
        {std::string("error:*\0x", 9), {}},
        {std::string("-from:*\0x", 9), {a, b}},
    };
    for (const auto& row : table) {
      CAPTURE(row.text);
      std::set<Id> got;
      for (const MessageRow& message : f.list(row.text).messages) got.insert(message.info.id);
      CHECK(got == row.want);
      CHECK(f.count(row.text).messages == row.want.size());
    }
  }

  TEST_CASE("an error of the destination is found where it is later than any reply") {
    QueueFixture f;
    f.accept(f.message("s@a.example", {"r@b.example"}));
    DestinationState state;
    state.name = "b.example";
    state.failures = 3;
    state.next_attempt = f.now() + hours(1);
    state.status = "4.4.1";
    state.reason = "connection refused";
    REQUIRE(f.run(f.store->settle_destination(state)));
    CHECK(f.list("error:refused").messages.size() == 1);
    CHECK(f.list("error:4.4.1").messages.size() == 1);
    CHECK(f.list("state:active").messages.empty());
    CHECK(f.count().active == 0);
    CHECK(f.count().deferred == 1);
  }

  TEST_CASE("list: oldest first, in pages, through slices without a match") {
    QueueFixture f;
    std::vector<Id> ids;
    for (int i = 0; i < 1000; ++i)
      ids.push_back(f.accept(f.message("s@a.example", {i % 500 == 499 ? "rare@b.example" : "r@b.example"})));
    Listing listing = f.list("", {}, 300);
    CHECK(listing.messages.size() == 300);
    std::vector<Id> got;
    std::optional<Id> after;
    do {
      Listing page = f.list("", after, 77);
      for (const MessageRow& message : page.messages) got.push_back(message.info.id);
      after = page.resume;
    } while (after);
    CHECK(got == ids);
    Listing rare = f.list("to:rare@b.example", {}, 10);
    REQUIRE(rare.messages.size() == 2);
    CHECK(rare.messages[1].info.id == ids[999]);
    CHECK_FALSE(rare.resume);
    CHECK(f.count("to:rare@b.example").messages == 2);
  }

  TEST_CASE("list shows the message as it came") {
    QueueFixture f;
    NewMessage message = f.message("s@a.example", {"r@b.example"});
    message.origin.user = "ann";
    f.accept(message);
    MessageRow row = f.list().messages.at(0);
    CHECK(row.origin.client == "192.0.2.1");
    CHECK(row.origin.helo == "c.example");
    CHECK(row.origin.protocol == "ESMTP");
    CHECK(row.origin.listener == "mx");
    CHECK(row.origin.user == "ann");
    CHECK(row.message_id == "<m@c.example>");
    CHECK(row.recipients.at(0).destination == "b.example");
  }

  TEST_CASE("count: messages, recipients by state, octets, the oldest") {
    QueueFixture f;
    Counts none = f.count();
    CHECK(none.messages == 0);
    CHECK_FALSE(none.oldest);
    net::WallTime oldest = f.now();
    Id id = f.accept(f.message("s@a.example", {"0@b.example", "1@b.example", "2@c.example"}));
    f.runtime.advance(hours(1));
    f.accept(f.message("s@a.example", {"3@d.example"}));
    REQUIRE(f.settle(id, {0}, Event::attempt_deferred));
    f.change(Change::hold, "to:2@c.example");
    Counts counts = f.count();
    CHECK(counts.messages == 2);
    CHECK(counts.recipients == 4);
    CHECK(counts.active == 2);
    CHECK(counts.deferred == 1);
    CHECK(counts.held == 1);
    CHECK(counts.octets == 2 * 64);
    CHECK(counts.oldest == oldest);
  }

  TEST_CASE("hold and release: out of what is due, and in again") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"r@b.example"}));
    REQUIRE(f.settle(id, {0}, Event::attempt_deferred, {}, hours(9)));
    int changed = f.changed;
    CHECK(f.change(Change::hold, "").recipients == 1);
    CHECK(f.changed == changed + 1);
    CHECK(f.change(Change::hold, "").recipients == 0);
    CHECK(f.changed == changed + 1);
    f.runtime.advance(hours(10));
    CHECK(f.due().empty());
    CHECK_FALSE(f.next_due);
    CHECK(f.change(Change::retry, "").recipients == 0);
    Changed released = f.change(Change::release, "state:held");
    CHECK(released.messages == 1);
    CHECK(released.recipients == 1);
    CHECK(f.due().size() == 1);
    CHECK(f.history.kinds(id) == std::vector<Kind>{Kind::accepted, Kind::deferred, Kind::held, Kind::released});
    CHECK(f.history.events.at(2).text == "a test");
  }

  TEST_CASE("an attempt that was under way when its recipient was held still ends it") {
    QueueFixture f;
    Id first = f.accept(f.message("s@a.example", {"r@b.example"}));
    Id second = f.accept(f.message("s@a.example", {"r@b.example"}));
    f.change(Change::hold, "");
    REQUIRE(f.settle(first, {0}, Event::attempt_relayed));
    REQUIRE(f.settle(second, {0}, Event::attempt_deferred));
    Listing listing = f.list();
    REQUIRE(listing.messages.size() == 1);
    CHECK(listing.messages[0].recipients.at(0).state == State::held);
    CHECK(listing.messages[0].recipients.at(0).attempts == 1);
  }

  TEST_CASE("retry: at once, also where the destination is in back-off") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"r@b.example"}));
    REQUIRE(f.settle(id, {0}, Event::attempt_deferred, {}, hours(9)));
    DestinationState state;
    state.name = "b.example";
    state.failures = 3;
    state.next_attempt = f.now() + hours(5);
    REQUIRE(f.run(f.store->settle_destination(state)));
    CHECK(f.due().empty());
    CHECK(f.change(Change::retry, "to:@b.example").recipients == 1);
    CHECK(f.due().size() == 1);
    CHECK(f.destinations.at("b.example").failures == 3);
  }

  TEST_CASE("remove: recipients, and messages of which none is left, with their files") {
    QueueFixture f;
    Id part = f.accept(f.message("s@a.example", {"0@b.example", "1@c.example"}));
    Id whole = f.accept(f.message("s@a.example", {"2@b.example"}), std::string(200'000, 'x'));
    std::string path = f.folder.path() + "/" + body_path(whole.text());
    CHECK(std::filesystem::exists(path));
    Changed removed = f.change(Change::remove, "to:@b.example");
    CHECK(removed.messages == 2);
    CHECK(removed.recipients == 2);
    Listing listing = f.list();
    REQUIRE(listing.messages.size() == 1);
    CHECK(listing.messages[0].info.id == part);
    CHECK(listing.messages[0].recipients.at(0).state == State::removed);
    CHECK(std::filesystem::exists(path));
    CHECK(f.history.kinds(whole) == std::vector<Kind>{Kind::accepted, Kind::removed});
    // An attempt that comes back for it finds nothing, and nothing is sent about it.
    REQUIRE(f.settle(whole, {0}, Event::attempt_failed, {f.notification("s@a.example")}));
    CHECK(f.count().messages == 1);
    // Until nobody can undo it any more.
    f.runtime.advance(kUndoTime - std::chrono::seconds(1));
    REQUIRE(f.run(f.store->forget_removed(f.now(), {})));
    CHECK(f.body(whole));
    f.runtime.advance(std::chrono::seconds(1));
    REQUIRE(f.run(f.store->forget_removed(f.now(), {})));
    CHECK(f.body(whole).error().code == Errc::not_found);
    CHECK_FALSE(std::filesystem::exists(path));
    CHECK(f.list().messages.size() == 1);
    CHECK(f.undo(removed.number).error().code == Errc::invalid);
  }

  TEST_CASE("remove for good: nothing is kept of it") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"2@b.example"}), std::string(200'000, 'x'));
    const Changed removed = f.change(Change::remove, "", false, true);
    CHECK(removed.messages == 1);
    CHECK(f.body(id).error().code == Errc::not_found);
    CHECK(f.spool_files() == 0);
    CHECK(f.undo(removed.number)->recipients == 0);
  }

  TEST_CASE("a change that is stopped ends after a slice, and what was done of it can be undone") {
    QueueFixture f;
    for (std::size_t i = 0; i < kSlice + 50; ++i) f.accept(f.message("s@a.example", {"0@b.example"}));
    ChangeRequest request;
    request.progress = std::make_shared<Progress>();
    request.progress->stop();
    const Watched progress = request.progress;
    const Changed held = f.change(Change::hold, "", std::move(request));
    CHECK(held.stopped);
    CHECK(held.messages == kSlice);
    CHECK(progress->seen().done == kSlice);
    CHECK(f.count().held == kSlice);
    CHECK(f.changes().front().messages == kSlice);
    const Result<Changed> cut = f.run(f.store->undo(held.number, "bob", f.now(), progress));
    REQUIRE(cut);
    CHECK_FALSE(f.changes().back().undone_by == cut->number);
    const Result<Changed> undone = f.undo(held.number);
    REQUIRE(undone);
    CHECK_FALSE(undone->stopped);
    CHECK(f.count().held == 0);
    CHECK(f.change(Change::hold, "").messages == kSlice + 50);
  }

  TEST_CASE("undo: what a change did, where it is still so") {
    QueueFixture f;
    const std::string body = std::string(100'000, 'x') + "\r\n.\r\n";
    Id first = f.accept(f.message("s@a.example", {"0@b.example", "1@b.example"}), body);
    Id second = f.accept(f.message("s@a.example", {"2@b.example"}));
    REQUIRE(f.settle(first, {0}, Event::attempt_deferred, {}, hours(9)));
    f.change(Change::hold, "to:1@b.example");

    const Changed removed = f.change(Change::remove, "");
    CHECK(removed.recipients == 3);
    CHECK(f.count().messages == 0);
    f.reopen();
    const Result<Changed> back = f.undo(removed.number);
    REQUIRE(back);
    CHECK(back->messages == 2);
    CHECK(back->recipients == 3);
    CHECK(*f.body(first) == body);
    Listing listing = f.list();
    REQUIRE(listing.messages.size() == 2);
    CHECK(listing.messages[0].recipients.at(0).state == State::deferred);
    CHECK(listing.messages[0].recipients.at(0).attempts == 1);
    CHECK(listing.messages[0].recipients.at(0).next_attempt == f.now() + hours(9));
    CHECK(listing.messages[0].recipients.at(1).state == State::held);
    CHECK(f.due().size() == 1);
    CHECK(f.history.kinds(second) == std::vector<Kind>{Kind::accepted, Kind::removed, Kind::restored});
    CHECK(f.undo(removed.number)->recipients == 0);
    CHECK(f.undo(back->number).error().code == Errc::invalid);
    CHECK(f.undo(999).error().code == Errc::not_found);

    const Changed released = f.change(Change::release, "");
    CHECK(released.recipients == 1);
    CHECK(f.undo(released.number)->recipients == 1);
    CHECK(f.count().held == 1);
    CHECK(f.undo(f.change(Change::retry, "").number).error().code == Errc::invalid);
  }

  TEST_CASE("undo: who has the message by now does not get it again") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"0@b.example", "1@b.example"}));
    const Changed removed = f.change(Change::remove, "");
    // The attempt that was under way.
    REQUIRE(f.settle(id, {0}, Event::attempt_relayed));
    CHECK(f.undo(removed.number)->recipients == 1);
    CHECK(f.list().messages.at(0).recipients.at(0).state == State::relayed);
    REQUIRE(f.settle(id, {1}, Event::attempt_relayed));
    CHECK(f.body(id).error().code == Errc::not_found);
  }

  TEST_CASE("undo: whom a notification told of as failed stays removed") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"0@b.example", "1@b.example"}));
    const Changed removed = f.change(Change::remove, "to:0@b.example");
    // The attempt that was under way, which one notification tells of.
    REQUIRE(f.settle(id, {0, 1}, Event::attempt_failed, {f.notification("s@a.example")}));
    CHECK(f.count().messages == 1);
    CHECK(f.undo(removed.number)->recipients == 0);
    CHECK(f.body(id).error().code == Errc::not_found);
  }

  TEST_CASE("what was removed, and is kept, is removed for good by its state") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"0@b.example"}), std::string(200'000, 'x'));
    const Changed removed = f.change(Change::remove, "");
    CHECK(f.change(Change::remove, "state:removed").messages == 0);
    CHECK(f.change(Change::remove, "state:removed", false, true).messages == 1);
    CHECK(f.body(id).error().code == Errc::not_found);
    CHECK(f.spool_files() == 0);
    CHECK(f.undo(removed.number)->recipients == 0);
  }

  TEST_CASE("undo: what had expired meanwhile is tried once more before it does") {
    QueueFixture f;
    NewMessage message = f.message("s@a.example", {"0@b.example"});
    message.expires = f.now() + hours(2);
    f.accept(message);
    const Changed removed = f.change(Change::remove, "");
    f.runtime.advance(hours(3));
    CHECK(f.run(f.store->overdue(f.now(), 10))->empty());
    REQUIRE(f.undo(removed.number));
    CHECK(f.run(f.store->overdue(f.now(), 10))->empty());
    CHECK(f.due().size() == 1);
    f.runtime.advance(hours(1));
    CHECK(f.run(f.store->overdue(f.now(), 10))->size() == 1);
  }

  TEST_CASE("a retry between a change and its undo takes nothing from it") {
    QueueFixture f;
    f.accept(f.message("s@a.example", {"0@b.example"}));
    f.change(Change::hold, "");
    const Changed released = f.change(Change::release, "");
    f.change(Change::retry, "");
    CHECK(f.undo(released.number)->recipients == 1);
    CHECK(f.count().held == 1);
  }

  TEST_CASE("a record is a line, whatever was asked for; one of the future is of a wrong clock") {
    QueueFixture f;
    f.accept(f.message("s@a.example", {"0@b.example"}));
    ChangeRecord record;
    record.time = f.now() + hours(24 * 365);
    record.what = "dest hold";
    record.who = "ann";
    record.meant = std::string(499, 'x') + "\xC3\xA4" + std::string(100'000, 'y');
    REQUIRE(f.run(f.store->record(record)));
    CHECK(f.changes().at(0).meant == std::string(499, 'x') + "...");
    REQUIRE(f.run(f.store->forget_removed(f.now(), {})));
    CHECK(f.changes().at(0).time == f.now());
  }

  TEST_CASE("the audit: who did what, the newest first") {
    QueueFixture f;
    f.accept(f.message("s@a.example", {"0@b.example", "1@b.example"}));
    const Changed held = f.change(Change::hold, "to:0@b.example");
    CHECK(f.change(Change::hold, "to:0@b.example").number == 0);
    ChangeRecord other;
    other.time = f.now();
    other.what = "dest hold";
    other.who = "ann";
    REQUIRE(f.run(f.store->record(other)));
    const Result<Changed> undone = f.undo(held.number);
    REQUIRE(undone);
    const std::vector<ChangeRecord> changes = f.changes();
    REQUIRE(changes.size() == 3);
    CHECK(changes[0].number == undone->number);
    CHECK(changes[0].what == "undo");
    CHECK(changes[0].who == "bob");
    CHECK(changes[1].what == "dest hold");
    CHECK(changes[2].number == held.number);
    CHECK(changes[2].what == "hold");
    CHECK(changes[2].who == "ann");
    CHECK(changes[2].meant == "to:0@b.example");
    CHECK(changes[2].reason == "a test");
    CHECK(changes[2].recipients == 1);
    CHECK(changes[2].undone_by == undone->number);
  }

  TEST_CASE("forward: to another next hop, at once, also what is held; and back") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"r@b.example", "q@c.example"}));
    REQUIRE(f.settle(id, {0, 1}, Event::attempt_deferred, {}, hours(9)));
    f.change(Change::hold, "to:q@c.example");
    CHECK(f.due().empty());
    ForwardRequest to{id, {0, 1}, std::nullopt, "smtp:[192.0.2.7]", "", f.now()};
    CHECK(f.run(f.store->forward(to)).value_or(9) == 2);
    CHECK(f.run(f.store->forward(to)).value_or(9) == 0);
    std::vector<Due> due = f.due();
    REQUIRE(due.size() == 1);
    CHECK(due[0].destination == "b.example/smtp:[192.0.2.7]");
    CHECK(due[0].recipients.at(0).forward_path.text() == "r@b.example");
    Listing listing = f.list("destination:c.example/*");
    REQUIRE(listing.messages.size() == 1);
    CHECK(listing.messages[0].recipients.at(1).state == State::held);
    f.reopen();
    due = f.due();
    REQUIRE(due.size() == 1);
    CHECK(due[0].destination == "b.example/smtp:[192.0.2.7]");
    // No route that is asked for later takes it away.
    Due routed = due[0];
    routed.destination = "b.example/office";
    REQUIRE(f.run(f.store->redirect({routed}, f.now())));
    CHECK(f.due().at(0).destination == "b.example/smtp:[192.0.2.7]");
    to.next_hop.clear();
    to.recipients = {0};
    CHECK(f.run(f.store->forward(to)).value_or(9) == 1);
    CHECK(f.due().at(0).destination == "b.example");
  }

  TEST_CASE("forward: another recipient in the place of one, who waits as that did") {
    QueueFixture f;
    Id id = f.accept(f.message("s@a.example", {"r@b.example", "q@b.example", "p@c.example"}));
    f.change(Change::hold, "to:q@b.example");
    const auto redirect = [&](std::vector<std::uint32_t> who, const std::string& to) {
      return f.run(f.store->forward({id, std::move(who), path_to(to), "", "a test", f.now()})).value_or(99);
    };
    CHECK(redirect({0}, "x@d.example") == 1);
    std::vector<RecipientRow> rows = f.list().messages.at(0).recipients;
    REQUIRE(rows.size() == 4);
    CHECK(rows[0].state == State::removed);
    CHECK(rows[3].forward_path.text() == "x@d.example");
    CHECK(rows[3].state == State::deferred);
    CHECK(rows[3].destination == "d.example");
    // Who has the message already gets it once, in whatever case; who is held stays so; who has ended is not meant.
    CHECK(redirect({3}, "X@d.example") == 0);
    CHECK(redirect({2, 3}, "X@D.example") == 1);
    CHECK(redirect({1}, "y@d.example") == 1);
    CHECK(redirect({0, 1, 77}, "z@d.example") == 0);
    rows = f.list().messages.at(0).recipients;
    REQUIRE(rows.size() == 5);
    CHECK(rows[3].state == State::deferred);
    CHECK(rows[4].state == State::held);
    std::vector<Due> due = f.due();
    REQUIRE(due.size() == 1);
    CHECK(due[0].recipients.at(0).orcpt == "rfc822;r@b.example");
    CHECK(f.history.events.back().text == "redirected to <y@d.example>: a test");
    REQUIRE(f.settle(id, {3}, Event::attempt_relayed));
    f.change(Change::release, "");
    REQUIRE(f.settle(id, {4}, Event::attempt_relayed));
    CHECK(f.list().messages.empty());
  }

  TEST_CASE("match: the recipients that a filter means, a slice at a time") {
    QueueFixture f;
    Id first = f.accept(f.message("s@a.example", {"r@b.example", "q@c.example"}));
    f.accept(f.message("s@a.example", {"q@c.example"}));
    Result<Filter> filter = parse_filter("to:@b.example");
    REQUIRE(filter);
    Result<Matches> matches = f.run(f.store->match(*filter, Id{}, f.now()));
    REQUIRE(matches);
    REQUIRE(matches->messages.size() == 1);
    CHECK(matches->messages[0].id == first);
    CHECK(matches->messages[0].recipients == std::vector<std::uint32_t>{0});
    CHECK_FALSE(matches->resume);
  }

  TEST_CASE("a dry run counts and changes nothing") {
    QueueFixture f;
    for (int i = 0; i < 700; ++i) f.accept(f.message("s@a.example", {"r@b.example"}));
    int changed = f.changed;
    std::uint64_t commits = f.queue->stats().commits;
    Changed would = f.change(Change::remove, "", true);
    CHECK(would.messages == 700);
    CHECK(f.count().messages == 700);
    CHECK(f.changed == changed);
    CHECK(f.queue->stats().commits == commits);
    CHECK(f.change(Change::remove, "").messages == 700);
    CHECK(f.count().messages == 0);
    CHECK(f.changed == changed + 1);
  }

  TEST_CASE("a change goes through in slices: mail is accepted in between") {
    QueueFixture f;
    for (int i = 0; i < 1000; ++i) f.accept(f.message("s@a.example", {"r@b.example"}));
    std::optional<Result<Changed>> changed;
    bool accepted_before = false;
    auto change = [](QueueFixture& fixture, std::optional<Result<Changed>>& into) -> net::Task<> {
      ChangeRequest request;
      request.now = fixture.now();
      into = co_await fixture.store->change(std::move(request));
    };
    auto commit = [](QueueFixture& fixture, Draft draft, std::optional<Result<Changed>>& other,
                     bool& before) -> net::Task<> {
      NewMessage message = fixture.message("s@a.example", {"r@b.example"});
      BodyNotes notes;
      Result<> done = co_await fixture.store->commit(std::move(message), std::move(draft), notes, std::nullopt);
      before = done && !other.has_value();
    };
    f.scope.spawn(change(f, changed));
    f.scope.spawn(commit(f, f.store->draft(), changed, accepted_before));
    f.pump();
    CHECK(accepted_before);
    REQUIRE(changed);
    REQUIRE(*changed);
    CHECK((*changed)->messages >= 1000);
  }
}
