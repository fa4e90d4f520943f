#include "base/dialogue.h"

#include <string>
#include <utility>

#include <doctest/doctest.h>

namespace waypost::dialogue {

namespace {

Line line_of(std::string text, bool inbound = true) {
  Line line;
  line.inbound = inbound;
  line.text = std::move(text);
  return line;
}

const auto kAll = [](const Line&) { return true; };

}  // namespace

TEST_SUITE("dialogue") {
  TEST_CASE("who watches reads all lines once, in order") {
    const Page begin = read(0, 10, kAll);
    CHECK(is_watched());
    CHECK(begin.lines.empty());
    note(line_of("EHLO c.example"));
    note(line_of("250 mx.b.example", false));
    note(line_of("a\nb\x07"));
    const Page page = read(begin.next, 10, kAll);
    REQUIRE(page.lines.size() == 3);
    CHECK(page.lines[0].text == "EHLO c.example");
    CHECK(page.lines[2].text == "a\nb\x07");
    CHECK(page.lines[1].number == page.lines[0].number + 1);
    CHECK(page.missed == 0);
    CHECK(read(page.next, 10, kAll).lines.empty());

    const Page first = read(begin.next, 2, kAll);
    CHECK(first.lines.size() == 2);
    CHECK(first.more);
    CHECK(!page.more);
    CHECK(read(first.next, 2, kAll).lines.size() == 1);
    const Page out = read(begin.next, 10, [](const Line& each) { return !each.inbound; });
    REQUIRE(out.lines.size() == 1);
    CHECK(out.lines[0].text == "250 mx.b.example");
  }

  TEST_CASE("what nobody reads in time makes room, and is counted") {
    const Page begin = read(0, 10, kAll);
    for (std::size_t i = 0; i < kKept + 5; ++i) note(line_of(std::to_string(i)));
    const Page page = read(begin.next, 1, kAll);
    REQUIRE(page.lines.size() == 1);
    CHECK(page.missed == 5);
    CHECK(page.lines[0].text == "5");
    note(line_of(std::string(5000, 'x')));
    CHECK(read(page.next + kKept - 2, 10, kAll).lines.back().text.size() == kMaxText);
  }
}

}  // namespace waypost::dialogue
