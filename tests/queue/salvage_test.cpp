// File surgery (RELIABILITY F15): what a salvage gets out of a queue.db with pages missing, cut, overwritten, flipped.
#include "queue/salvage.h"

#include <algorithm>
#include <memory>
#include <random>
#include <set>

#include <doctest/doctest.h>

#include "queue/check.h"
#include "queue/page_file.h"
#include "tests/queue/queue_fixture.h"
#include "tests/queue/store_files.h"
#include "tests/support/fake_files.h"

using namespace waypost;
using namespace waypost::queue;
using namespace waypost::tests;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t kPage = PageFile::kPage;

struct Frame {
  std::uint32_t page = 0, commit = 0;  ///< pages of the database after it; 0: no commit
  std::string octets;
};

/// A WAL with these frames and right sums.
std::string wal_of(const std::vector<Frame>& frames) {
  std::string out;
  std::uint32_t a = 0, b = 0;
  const auto put = [&out](std::uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xffU);
  };
  const auto word = [](std::string_view octets) {
    std::uint32_t value = 0;
    for (char c : octets.substr(0, 4)) value = value << 8U | static_cast<std::uint8_t>(c);
    return value;
  };
  const auto sum = [&](std::string_view octets) {
    for (; !octets.empty(); octets.remove_prefix(8)) {
      a += word(octets) + b;
      b += word(octets.substr(4)) + a;
    }
  };
  for (std::uint32_t value : {0x377f0683U, 3007000U, static_cast<std::uint32_t>(kPage), 0U, 1U, 2U}) put(value);
  sum(out);
  for (std::uint32_t value : {a, b}) put(value);
  for (const Frame& frame : frames) {
    for (std::uint32_t value : {frame.page, frame.commit}) put(value);
    sum(std::string_view(out).substr(out.size() - 8));
    sum(frame.octets);
    for (std::uint32_t value : {1U, 2U, a, b}) put(value);
    out += frame.octets;
  }
  return out;
}

/// A queue of some hundred pages with a past: free pages and free room in pages are full of mail that has left.
struct Patient {
  explicit Patient(int count = 120) {
    std::vector<Id> ids;
    for (int i = 0; i < count; ++i) {
      std::vector<std::string> to;
      for (int r = 0; r <= i % 4; ++r)
        to.push_back("r" + std::to_string(i) + "@d" + std::to_string((i + r) % 7) + ".example");
      std::size_t size = i % 30 == 0 ? 70'000 : i % 3 == 0 ? 9'000 : 200 + 10 * static_cast<std::size_t>(i);
      ids.push_back(f.accept(f.message("s" + std::to_string(i) + "@a.example", to),
                             std::string(size, static_cast<char>('a' + i % 26))));
    }
    for (int i = 0; i < count; ++i) {
      if (i % 5 >= 2) continue;
      std::vector<std::uint32_t> all;
      for (int r = 0; r <= i % 4; ++r) all.push_back(static_cast<std::uint32_t>(r));
      REQUIRE(f.settle(ids[static_cast<std::size_t>(i)], all, Event::attempt_relayed));
    }
    f.close();
    octets = octets_of(f.folder.path() + "/queue.db");
    whole = stock_of(f.folder.path());
    Result<PageFile> pages = PageFile::open(*f.files, "queue.db");
    REQUIRE(pages);
    pages->each_record([this](const StoredRecord& record, PageFile::Use use) {
      CHECK(use == PageFile::Use::tree);
      if (!record.in_index && record.values.size() == 26)
        message_pages[static_cast<std::uint64_t>(record.rowid)] = record.page;
      if (record.in_index && record.values.size() == 20)
        recipient_pages[{static_cast<std::uint64_t>(record.number(0)), static_cast<int>(record.number(1))}] =
            record.page;
    });
    CHECK(pages->broken() == 0);
    CHECK(message_pages.size() == whole.bodies.size());
    CHECK(recipient_pages.size() == whole.recipients.size());
  }

  /// Salvages `damaged` in place of queue.db. What comes of it is sound, and nothing in it is invented.
  Stock salvaged(const std::string& damaged) {
    write_octets(f.folder.path() + "/queue.db", damaged);
    TemporaryFolder outside;
    std::string folder = outside.path() + "/new";
    Result<SalvageReport> made = salvage(f.folder.path(), folder);
    REQUIRE_MESSAGE(made, (made ? std::string() : made.error().what));
    report = *std::move(made);
    CHECK(octets_of(f.folder.path() + "/queue.db") == damaged);
    Result<CheckReport> checked = check_folder(folder);
    REQUIRE(checked);
    CHECK_MESSAGE(checked->found == 0, (checked->found == 0 ? std::string() : checked->findings[0].text));
    Stock stock = stock_of(folder);
    CHECK(stock.bodies.size() == report.messages);
    for (const auto& [id, body] : stock.bodies) {
      CHECK(whole.bodies.contains(id));
      CHECK((whole.bodies.contains(id) && whole.bodies.at(id) == body));
    }
    for (const auto& [key, address] : stock.recipients)
      CHECK((whole.recipients.contains(key) && whole.recipients.at(key) == address));
    // What is not there is told.
    std::set<std::uint64_t> told;
    for (const SalvageReport::Lost& lost : report.lost) told.insert(lost.message.value);
    lost_untold = 0;
    for (const auto& [id, body] : whole.bodies)
      if (!stock.bodies.contains(id) && !told.contains(id)) lost_untold += 1;
    return stock;
  }

  QueueFixture f;
  std::string octets;
  Stock whole;
  std::map<std::uint64_t, std::uint32_t> message_pages;
  std::map<std::pair<std::uint64_t, int>, std::uint32_t> recipient_pages;
  SalvageReport report;
  int lost_untold = 0;
};

}  // namespace

TEST_SUITE("queue/salvage") {
  TEST_CASE("of a sound queue all is salvaged, and nothing that has left") {
    Patient p;
    REQUIRE(p.octets.size() > 100 * kPage);
    Stock stock = p.salvaged(p.octets);
    CHECK(stock.bodies == p.whole.bodies);
    CHECK(stock.recipients == p.whole.recipients);
    CHECK(stock.states == p.whole.states);
    CHECK(p.report.lost.empty());
    CHECK(p.report.in_doubt == 0);
    CHECK(p.report.unreadable_pages == 0);
    CHECK(p.report.broken_rows == 0);
  }

  TEST_CASE("whichever page is zeroed: every row whose own pages are intact is salvaged") {
    Patient p;
    const auto pages = static_cast<std::uint32_t>(p.octets.size() / kPage);
    // All of those with the roots of trees and the map; then some, for each costs a few syncs.
    for (std::uint32_t page = 1; page <= pages; page += page < 30 ? 1 : 4) {
      CAPTURE(page);
      std::string damaged = p.octets;
      std::fill_n(damaged.begin() + static_cast<std::ptrdiff_t>((page - 1) * kPage), kPage, '\0');
      Stock stock = p.salvaged(damaged);
      std::set<std::uint64_t> expected, without_recipients;
      for (const auto& [id, at] : p.message_pages)
        if (at != page) expected.insert(id);
      std::set<std::uint64_t> reachable;
      for (const auto& [key, at] : p.recipient_pages)
        if (at != page) reachable.insert(key.first);
      std::erase_if(expected, [&reachable](std::uint64_t id) { return !reachable.contains(id); });
      bool holds_rows = expected.size() < p.message_pages.size();
      // One without rows is of a tree, and costs nothing; or has the rest of one body.
      CHECK(stock.bodies.size() <= expected.size());
      CHECK(expected.size() - stock.bodies.size() <= (holds_rows ? 0 : 1));
      for (const auto& [key, at] : p.recipient_pages)
        if (at != page && stock.bodies.contains(key.first)) CHECK(stock.recipients.contains(key));
      CHECK(p.lost_untold == 0);
    }
  }

  TEST_CASE("a file that was cut: all that is before the cut") {
    Patient p;
    for (std::size_t tenth = 0; tenth < 10; tenth += 2) {
      for (std::size_t more : {std::size_t{0}, std::size_t{1500}}) {
        std::size_t size = std::min(p.octets.size() * tenth / 10 / kPage * kPage + more, p.octets.size());
        CAPTURE(size);
        Stock stock = p.salvaged(p.octets.substr(0, size));
        for (const auto& [id, at] : p.message_pages) {
          bool small = p.whole.bodies.at(id).size() < 3000;  // within its page
          bool reachable = std::any_of(
              p.recipient_pages.begin(), p.recipient_pages.end(),
              [&, message = id](const auto& r) { return r.first.first == message && r.second * kPage <= size; });
          if (small && at * kPage <= size && reachable) CHECK(stock.bodies.contains(id));
        }
      }
    }
  }

  TEST_CASE("the beginning overwritten: what cannot be told from mail that has left is held") {
    Patient p;
    std::string damaged = p.octets;
    std::fill_n(damaged.begin(), 12 * kPage, '\xff');
    write_octets(p.f.folder.path() + "/queue.db", damaged);
    TemporaryFolder outside;
    Result<SalvageReport> report = salvage(p.f.folder.path(), outside.path() + "/new");
    REQUIRE(report);
    Stock stock = stock_of(outside.path() + "/new");
    std::size_t expected = 0;
    for (const auto& [key, at] : p.recipient_pages) {
      bool small = p.whole.bodies.at(key.first).size() < 3000;  // within its page
      if (at <= 12 || p.message_pages.at(key.first) <= 12 || !small) continue;
      expected += 1;
      REQUIRE(stock.recipients.contains(key));
      CHECK(stock.states.at(key) == 1);
    }
    CHECK(expected > 0);
    CHECK(report->in_doubt >= expected);
    for (const auto& [key, state] : stock.states) CHECK(state != 0);
  }

  TEST_CASE("F14: bits flipped anywhere cost at most the rows they are in, and invent none") {
    Patient p(60);
    std::mt19937 rng(7);
    for (int round = 0; round < 60; ++round) {
      std::string damaged = p.octets;
      std::size_t at = rng() % damaged.size();
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << rng() % 8));
      CAPTURE(at);
      Stock stock = p.salvaged(damaged);
      // A flip in the head of a page may cost the rows of that page.
      const auto page = static_cast<std::uint32_t>(at / kPage + 1);
      for (const auto& [id, of] : p.message_pages) {
        bool touched = of == page || std::any_of(p.recipient_pages.begin(), p.recipient_pages.end(),
                                                 [&, message = id](const auto& r) {
                                                   return r.first.first == message && r.second == page;
                                                 });
        bool small = p.whole.bodies.at(id).size() < 3000;
        if (!touched && small) CHECK(stock.bodies.contains(id));
      }
    }
  }

  TEST_CASE("recipients with every NOTIFY are salvaged, and those that came by an alias") {
    QueueFixture f;
    for (std::uint8_t bits = 0; bits < 32; ++bits) {
      NewMessage message = f.message("s@a.example", {"r@b.example"});
      message.envelope.recipients[0].notify.bits = bits;
      f.accept(message);
    }
    f.close();
    TemporaryFolder outside;
    Result<SalvageReport> report = salvage(f.folder.path(), outside.path() + "/new");
    REQUIRE(report);
    CHECK(report->recipients == 32);
    CHECK(report->lost.empty());
  }

  TEST_CASE("foreign files give an empty queue") {
    Patient p(10);
    std::mt19937 rng(11);
    std::string noise(50 * kPage, '\0');
    for (char& c : noise) c = static_cast<char>(rng());
    TemporaryFolder other;
    {
      Result<Database> db = Database::open(other.path() + "/o.db", "", Database::Mode::read_write);
      REQUIRE(db);
      REQUIRE(db->run("CREATE TABLE message(a, b, c); INSERT INTO message VALUES (1, 2, 'x')"));
    }
    for (const std::string& octets : {std::string(), std::string("x"), noise, octets_of(other.path() + "/o.db")}) {
      Stock stock = p.salvaged(octets);
      CHECK(stock.bodies.empty());
    }
  }

  TEST_CASE("the WAL of a killed daemon belongs to it; without it, what is in the file itself is salvaged") {
    QueueFixture f;
    std::vector<Id> ids;
    for (int i = 0; i < 30; ++i)
      ids.push_back(f.accept(f.message("s@a.example", {"r@b.example"}), std::string(5000, 'x')));
    f.reopen();
    for (int i = 0; i < 30; ++i)
      ids.push_back(f.accept(f.message("s@a.example", {"r@b.example"}), std::string(5000, 'y')));
    for (std::size_t i = 0; i < 10; ++i) REQUIRE(f.settle(ids[i], {0}, Event::attempt_relayed));
    TemporaryFolder outside;
    std::string killed = outside.path() + "/killed";
    fs::copy(f.folder.path(), killed, fs::copy_options::recursive);
    Result<SalvageReport> report = salvage(killed, outside.path() + "/with");
    REQUIRE(report);
    CHECK(report->messages == 50);
    CHECK(report->lost.empty());
    f.close();
    CHECK(stock_of(outside.path() + "/with").bodies == stock_of(f.folder.path()).bodies);
    // A frame that is damaged ends the WAL there, as for SQLite.
    std::string wal = octets_of(killed + "/queue.db-wal");
    wal[wal.size() / 2] = static_cast<char>(wal[wal.size() / 2] ^ 1);
    write_octets(killed + "/queue.db-wal", wal);
    report = salvage(killed, outside.path() + "/half");
    REQUIRE(report);
    CHECK(report->messages > 30);
    CHECK(check_folder(outside.path() + "/half")->found == 0);
    fs::remove(killed + "/queue.db-wal");
    report = salvage(killed, outside.path() + "/without");
    REQUIRE(report);
    CHECK(report->messages == 30);
  }

  TEST_CASE("a row that is longer than the file, by overflow pages that go round, is broken") {
    FakeFiles files;
    std::string octets(5 * kPage, '\0');
    // One cell at 0x100: 20,460,489 octets, rowid 1; a record of one blob, of which 489 octets stand here.
    const std::string leaf("\x0d\0\0\0\1\1\0\0\1\0", 10);
    const std::string cell("\x89\xe0\xe7\x49\1\5\x93\xc1\xcf\x14", 10);
    octets.replace(2 * kPage, leaf.size(), leaf);
    octets.replace(2 * kPage + 0x100, cell.size(), cell);
    for (std::size_t next : {2 * kPage + 0x100 + 5 + 489, 3 * kPage}) octets[next + 3] = 4;
    files.files["queue.db"] = std::make_shared<std::string>(octets);
    Result<PageFile> pages = PageFile::open(files, "queue.db");
    REQUIRE(pages);
    pages->each_record([](const StoredRecord&, PageFile::Use) { FAIL("there is no such record"); });
    CHECK(pages->broken() == 2);  // with the first page, which is none
  }

  TEST_CASE("a WAL that tells of a thousand million pages has those that are in it") {
    FakeFiles files;
    std::string leaf(kPage, '\0');
    // One cell at 0x100: 3 octets, rowid 7; a record of the number 42.
    leaf.replace(0, 10, std::string("\x0d\0\0\0\1\1\0\0\1\0", 10));
    leaf.replace(0x100, 5, std::string("\3\7\2\1\x2a", 5));
    constexpr std::uint32_t kFar = 0x7fff'fff0;
    files.files["queue.db"] = std::make_shared<std::string>(3 * kPage, '\0');
    files.files["queue.db-wal"] = std::make_shared<std::string>(wal_of({{5, 0, leaf}, {kFar, kFar + 5, leaf}}));
    Result<PageFile> pages = PageFile::open(files, "queue.db");
    REQUIRE(pages);
    CHECK(pages->pages() == kFar + 5);
    std::vector<std::uint32_t> seen;
    pages->each_record([&seen](const StoredRecord& record, PageFile::Use use) {
      seen.push_back(record.page);
      CHECK(record.rowid == 7);
      CHECK(record.number(0) == 42);
      CHECK(use == PageFile::Use::in_doubt);
    });
    CHECK(seen == std::vector<std::uint32_t>{5, kFar});
    // Five are there, and the one at 1 GiB never is.
    CHECK(pages->unreadable() == kFar + 5 - 5 - 1);
  }

  TEST_CASE("a message whose spool file is damaged or missing is told, the others are taken along") {
    QueueFixture f;
    std::vector<Id> ids;
    for (int i = 0; i < 3; ++i)
      ids.push_back(
          f.accept(f.message("s@a.example", {"r@b.example"}), std::string(100'000, static_cast<char>('a' + i))));
    f.close();
    fs::remove(f.folder.path() + "/" + body_path(ids[0].text()));
    write_octets(f.folder.path() + "/" + body_path(ids[1].text()), std::string(100'000, 'x'));
    TemporaryFolder outside;
    Result<SalvageReport> report = salvage(f.folder.path(), outside.path() + "/new");
    REQUIRE(report);
    CHECK(report->messages == 1);
    REQUIRE(report->lost.size() == 2);
    CHECK(report->lost[0].message == ids[0]);
    CHECK(report->lost[0].reverse_path == "s@a.example");
    CHECK(report->lost[0].recipients == std::vector<std::string>{"r@b.example"});
    CHECK(stock_of(outside.path() + "/new").bodies.at(ids[2].value) == std::string(100'000, 'c'));
  }

  TEST_CASE("in place: the damaged queue is kept, and the new one opens and goes on") {
    Patient p(60);
    std::string damaged = p.octets;
    std::fill_n(damaged.begin(), kPage, '\0');
    const std::string folder = p.f.folder.path();
    write_octets(folder + "/queue.db", damaged);
    REQUIRE_FALSE(SqliteQueue::open(p.f.options, *p.f.files, p.f.history));
    Result<SalvageReport> report = salvage(folder, "");
    REQUIRE(report);
    CHECK(report->kept == folder + "/queue.db.damaged");
    CHECK(octets_of(folder + "/queue.db.damaged") == damaged);
    CHECK(fs::exists(folder + "/body.damaged"));
    p.f.reopen();
    CHECK(p.f.count().messages == p.whole.bodies.size());
    Id next = p.f.accept(p.f.message("s@a.example", {"r@b.example"}));
    CHECK(next.value > p.whole.bodies.rbegin()->first);
  }
}
