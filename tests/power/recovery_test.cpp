// Faults that showed only when the power went later: one case each.
#include <doctest/doctest.h>

#include "tests/power/check.h"
#include "tests/power/queue_on_disk.h"

using namespace waypost;
using namespace waypost::tests;
using namespace waypost::tests::power;

namespace {

Result<queue::Id> accept(QueueOnDisk& on, const std::string& body, int recipients = 1) {
  queue::Draft draft = on.store().draft();
  queue::Id id = draft.id();
  queue::NewMessage message;
  for (int i = 0; i < recipients; ++i) {
    smtp::EnvelopeRecipient recipient;
    recipient.forward_path = path_to("r@b" + std::to_string(i) + ".example");
    message.envelope.recipients.push_back(std::move(recipient));
  }
  message.arrival = on.now();
  message.expires = on.now() + std::chrono::hours(1);
  draft.buffer() = body;
  Result<> done = on.run(on.store().commit(std::move(message), std::move(draft), queue::BodyNotes{}, std::nullopt));
  if (!done) return fail(done.error());
  return id;
}

/// As after exit 74, or kill -9.
void start_again(SimDisk& disk, QueueOnDisk& on) {
  disk.before = nullptr;
  disk.kill();
  on.close();
  REQUIRE(on.open());
}

/// The same with some work and a stop, as long as there is power: not for the call at `cut`.
void start_again_until(SimDisk& disk, QueueOnDisk& on, std::uint64_t cut) {
  disk.kill();
  on.close();
  disk.before = [cut](const Call& call) { return call.position == cut ? Fault::cut : Fault::none; };
  if (!on.open()) return;
  const Result<queue::Id> next = accept(on, "three\r\n");
  (void)next;  // nobody is told where the power went first
  on.close();
}

}  // namespace

TEST_SUITE("power/recovery") {
  TEST_CASE("F12: what is accepted after a sync failed and the daemon began anew survives a power cut") {
    for (std::uint64_t seed = 0; seed < 30; ++seed) {
      SimDisk disk(seed);
      QueueOnDisk on(disk);
      REQUIRE(on.open());
      REQUIRE(accept(on, "one\r\n"));
      disk.before = [](const Call& call) { return call.kind == Call::Kind::sync ? Fault::io : Fault::none; };
      CHECK(accept(on, "two\r\n").error().code == Errc::io);
      CHECK(on.failed());
      start_again(disk, on);
      Result<queue::Id> last = accept(on, "three\r\n");
      REQUIRE(last);
      disk.lose_power(seed, Loss::drop_all);
      on.close();
      REQUIRE(on.open());
      Result<std::shared_ptr<const queue::Content>> content = on.content(*last);
      CHECK_MESSAGE(content, seed);
    }
  }

  TEST_CASE("F12: a sync that failed, and a power cut anywhere in the start and the work after it") {
    bool cut = true;
    for (std::uint64_t after = 0; cut; ++after) {
      SimDisk disk(after);
      QueueOnDisk on(disk);
      REQUIRE(on.open());
      Result<queue::Id> first = accept(on, "one\r\n");
      REQUIRE(first);
      disk.before = [](const Call& call) { return call.kind == Call::Kind::sync ? Fault::io : Fault::none; };
      CHECK(accept(on, "two\r\n", 300).error().code == Errc::io);  // pages that are in the WAL for the first time
      start_again_until(disk, on, disk.position() + after);
      cut = disk.off();
      disk.before = nullptr;
      disk.lose_power(after, Loss::keep_half);
      on.close();
      CHECK_MESSAGE(integrity(disk) == "ok", after);
      start_again(disk, on);
      CHECK_MESSAGE(on.content(*first), after);
      REQUIRE(after < 1000);
    }
  }

  TEST_CASE("F8: a folder of spool files that was made before a kill survives a power cut after it") {
    bool killed = true;
    for (std::uint64_t at = 0; killed; ++at) {
      SimDisk disk(at);
      QueueOnDisk on(disk);
      REQUIRE(on.open());
      std::uint64_t cut = disk.position() + at;
      disk.before = [cut](const Call& call) { return call.position == cut ? Fault::cut : Fault::none; };
      Result<queue::Id> first = accept(on, std::string(5000, 'x'));
      killed = disk.off();
      start_again(disk, on);
      std::vector<std::string> before = disk.files().list("body").value_or(std::vector<std::string>());
      disk.lose_power(at, Loss::drop_all);
      CHECK(disk.files().list("body").value_or(std::vector<std::string>()) == before);
      on.close();
      REQUIRE(at < 1000);
    }
  }

  TEST_CASE("F9: the start needs no room on the disk, and what is queued can leave it") {
    SimDisk disk;
    disk.set_capacity(4'000'000);
    QueueOnDisk on(disk);
    REQUIRE(on.open());
    Result<queue::Id> id = accept(on, "one\r\n");
    REQUIRE(id);
    on.close();
    {
      Result<std::unique_ptr<queue::File>> other = disk.files().create("of others");
      REQUIRE(other);
      CHECK((*other)->append(std::string(4'000'000, 'x')).error().code == Errc::full);
    }
    REQUIRE(disk.files().space().value().free == 0);
    REQUIRE(on.open());
    CHECK(accept(on, "two\r\n").error().code == Errc::full);
    queue::Settlement settlement;
    settlement.message = *id;
    settlement.recipients.resize(1);
    settlement.recipients[0].event = queue::Event::attempt_relayed;
    CHECK(on.run(on.store().settle(std::move(settlement))) == true);
    start_again(disk, on);
    CHECK(on.list().value().empty());
  }
}
