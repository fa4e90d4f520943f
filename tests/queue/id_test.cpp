#include "queue/id.h"

#include <set>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

using namespace waypost;
using namespace waypost::queue;

namespace {
net::WallTime at(std::int64_t millis) {
  return net::WallTime(net::Duration(millis));
}
}  // namespace

TEST_SUITE("queue/id") {
  TEST_CASE("text goes round, in any case, and sorts as the numbers do") {
    const std::uint64_t values[] = {0, 1, 31, 32, 0x123456789ABCDEF, (std::uint64_t{1} << 60) - 1};
    std::string before;
    for (std::uint64_t value : values) {
      std::string text = Id{value}.text();
      CHECK(text.size() == 12);
      CHECK(before < text);
      before = text;
      REQUIRE(Id::parse(text));
      CHECK(Id::parse(text)->value == value);
    }
    CHECK(Id::parse("01jd8q2m3xk7") == Id::parse("01JD8Q2M3XK7"));
    CHECK(Id::parse("01JD8Q2M3XK7")->text() == "01JD8Q2M3XK7");
  }

  TEST_CASE("what is no id does not parse") {
    for (const char* text : {"", "01JD8Q2M3XK", "01JD8Q2M3XK77", "01JD8Q2M3XKI", "01JD8Q2M3XKL", "01JD8Q2M3XKO",
                             "01JD8Q2M3XKU", "01JD8Q2M3XK ", "01JD8Q2M3X-7", "../../../etc"})
      CHECK_FALSE(Id::parse(text));
  }

  TEST_CASE("ids grow, through a busy millisecond and a clock that is set back") {
    IdSource source;
    Id last = source.next(at(1'700'000'000'000));
    CHECK((last.value >> 18) == 1'700'000'000'000);
    for (int i = 0; i < 1000; ++i) {
      Id next = source.next(at(1'700'000'000'000));
      CHECK(next > last);
      last = next;
    }
    Id earlier = source.next(at(1'600'000'000'000));
    CHECK(earlier.value == last.value + 1);
    Id later = source.next(at(1'700'000'000'005));
    CHECK((later.value >> 18) == 1'700'000'000'005);
  }

  TEST_CASE("ids continue after what was handed out before a restart") {
    IdSource source;
    source.start_after(Id{(std::uint64_t{1'800'000'000'000} << 18) | 5});
    CHECK(source.next(at(1'700'000'000'000)).value == ((std::uint64_t{1'800'000'000'000} << 18) | 6));
    CHECK(source.next(at(-5)).value == ((std::uint64_t{1'800'000'000'000} << 18) | 7));
  }

  TEST_CASE("slow arrivals are spread over the last two characters, which name the spool folder") {
    IdSource source;
    std::set<std::string> folders;
    for (int i = 0; i < 1000; ++i) folders.insert(source.next(at(1'700'000'000'000 + i * 1000)).text().substr(10));
    CHECK(folders.size() > 400);
  }

  TEST_CASE("several threads never get the same id") {
    IdSource source;
    std::vector<std::vector<Id>> got(4);
    std::vector<std::thread> threads;
    for (auto& mine : got)
      threads.emplace_back([&source, &mine] {
        for (int i = 0; i < 5000; ++i) mine.push_back(source.next(at(1'700'000'000'000 + i / 1000)));
      });
    for (std::thread& thread : threads) thread.join();
    std::set<Id> all;
    for (auto& mine : got) all.insert(mine.begin(), mine.end());
    CHECK(all.size() == 20000);
  }
}
