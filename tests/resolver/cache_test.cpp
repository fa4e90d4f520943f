#include "resolver/cache.h"

#include <stdexcept>

#include <doctest/doctest.h>

#include "net/scope.h"
#include "tests/support/fake_resolver.h"
#include "tests/support/virtual_runtime.h"

namespace waypost::resolver {

using std::chrono::milliseconds;
using std::chrono::seconds;
using tests::FakeResolver;
using tests::VirtualRuntime;

namespace {

struct Harness {
  VirtualRuntime runtime;
  FakeResolver* below = nullptr;
  std::unique_ptr<Resolver> cache;

  explicit Harness(CacheOptions options = {}) {
    auto fake = std::make_unique<FakeResolver>(runtime);
    below = fake.get();
    cache = make_cache(std::move(fake), runtime, options);
  }
  Answer<Mx> mx(const std::string& name) { return runtime.complete(cache->mx(name)); }
  Answer<net::Address> a(const std::string& name) { return runtime.complete(cache->a(name)); }
};

net::Task<> ask(Resolver& resolver, std::string name, std::vector<Answer<Mx>>& into) {
  Answer<Mx> answer = co_await resolver.mx(std::move(name));
  into.push_back(answer);
}

/// Throws on its second turn.
class Broken : public Resolver {
 public:
  explicit Broken(net::Runtime& runtime) : runtime_(runtime) {}
  net::Task<Answer<Mx>> mx(std::string) override {
    net::TimePoint later = runtime_.now() + seconds(1);
    co_await runtime_.sleep_until(later, std::stop_token());
    throw std::runtime_error("broken");
  }
  net::Task<Answer<net::Address>> a(std::string) override { co_return Answer<net::Address>(); }
  net::Task<Answer<net::Address>> aaaa(std::string) override { co_return Answer<net::Address>(); }
  net::Task<Answer<std::string>> ptr(std::string) override { co_return Answer<std::string>(); }
  void stop() override {}

 private:
  net::Runtime& runtime_;
};

}  // namespace

TEST_SUITE("resolver/cache") {
  TEST_CASE("an answer is kept for its TTL, whatever the case of the name") {
    Harness h;
    h.below->set_ttl(seconds(60));
    h.below->add_mx("a.example", {{10, "mx.a.example"}});
    CHECK(h.mx("a.example").records.size() == 1);
    h.runtime.advance(seconds(59));
    CHECK(h.mx("A.Example.").records.size() == 1);
    CHECK(h.below->asked().size() == 1);
    h.runtime.advance(seconds(1));
    CHECK(h.mx("a.example").status == Status::found);
    CHECK(h.below->asked().size() == 2);
  }

  TEST_CASE("types are kept apart") {
    Harness h;
    h.below->add_host("h.example", {"192.0.2.1", "2001:db8::1"});
    CHECK(h.a("h.example").records.front().family == 4);
    Answer<net::Address> aaaa = h.runtime.complete(h.cache->aaaa("h.example"));
    CHECK(aaaa.records.front().family == 6);
    CHECK(h.mx("h.example").status == Status::no_data);
  }

  TEST_CASE("a no is kept as long as its SOA says [RFC 2308 5]") {
    Harness h;
    h.below->set_ttl(seconds(30));
    CHECK(h.mx("none.example").status == Status::no_domain);
    h.runtime.advance(seconds(29));
    h.below->add_mx("none.example", {{10, "mx.example"}});
    CHECK(h.mx("none.example").status == Status::no_domain);
    h.runtime.advance(seconds(1));
    CHECK(h.mx("none.example").status == Status::found);
  }

  TEST_CASE("trouble is kept for a few seconds, and no longer") {
    Harness h;
    for (Status status : {Status::server_failed, Status::timed_out}) {
      std::size_t before = h.below->asked().size();
      h.below->fail("a.example", "mx", status);
      CHECK(h.mx("a.example").status == status);
      CHECK(h.mx("a.example").valid_until == h.runtime.now() + seconds(5));
      CHECK(h.below->asked().size() == before + 1);
      h.runtime.advance(seconds(5));
      CHECK(h.mx("a.example").status == status);
      CHECK(h.below->asked().size() == before + 2);
      h.runtime.advance(seconds(5));
    }
  }

  TEST_CASE("no TTL is longer than the longest, nor shorter than the shortest") {
    Harness h;
    h.below->set_ttl(seconds(10 * 86400));
    h.below->add_mx("a.example", {{10, "mx.a.example"}});
    CHECK(h.mx("a.example").valid_until == h.runtime.now() + seconds(86400));
    h.below->set_ttl(seconds(0));
    h.below->add_mx("b.example", {{10, "mx.b.example"}});
    CHECK(h.mx("b.example").valid_until == h.runtime.now() + seconds(1));
    CHECK(h.mx("b.example").status == Status::found);
    CHECK(h.below->times_asked("mx b.example") == 1);
  }

  TEST_CASE("a question under way is asked once, and all who wait have its answer") {
    Harness h;
    h.below->add_mx("a.example", {{10, "mx.a.example"}});
    h.below->delay("", seconds(2));
    net::Scope scope(h.runtime, nullptr);
    std::vector<Answer<Mx>> answers;
    for (int i = 0; i < 50; ++i) scope.spawn(ask(*h.cache, "a.example", answers));
    h.runtime.advance(seconds(1));
    CHECK(answers.empty());
    CHECK(h.below->asked().size() == 1);
    h.runtime.advance(seconds(1));
    CHECK(answers.size() == 50);
    for (const Answer<Mx>& answer : answers) CHECK(answer.records == std::vector<Mx>{{10, "mx.a.example"}});
    CHECK(scope.running() == 0);
  }

  TEST_CASE("the answer that was used least recently goes first") {
    CacheOptions options;
    options.entries = 3;
    Harness h(options);
    for (const char* name : {"a.example", "b.example", "c.example"}) h.mx(name);
    h.mx("a.example");
    h.mx("d.example");  // b goes
    h.mx("a.example");
    h.mx("c.example");
    CHECK(h.below->asked().size() == 4);
    h.mx("b.example");
    CHECK(h.below->times_asked("mx b.example") == 2);
  }

  TEST_CASE("a large answer counts for many [C9]") {
    CacheOptions options;
    options.entries = 25;
    Harness h(options);
    h.mx("small.example");
    std::string label(60, 'x');
    for (const char* large : {"large1.example", "large2.example"}) {
      for (std::uint16_t i = 0; i < 150; ++i) h.below->add_mx(large, {{i, label + std::to_string(i)}});
      h.mx(large);  // about 15 kB
    }
    h.mx("small.example");
    CHECK(h.below->times_asked("mx small.example") == 2);
    for (std::uint16_t i = 0; i < 800; ++i) h.below->add_mx("larger.example", {{i, label + std::to_string(i)}});
    h.mx("larger.example");  // more than all of the cache: not kept, and drives nothing out
    h.mx("larger.example");
    h.mx("small.example");
    CHECK(h.below->times_asked("mx larger.example") == 2);
    CHECK(h.below->times_asked("mx small.example") == 2);
  }

  TEST_CASE("stop: what is under way ends, and what comes later ends at once") {
    Harness h;
    h.below->add_mx("a.example", {{10, "mx.a.example"}});
    h.mx("a.example");
    h.below->delay("b.example", seconds(10));
    net::Scope scope(h.runtime, nullptr);
    std::vector<Answer<Mx>> answers;
    for (int i = 0; i < 3; ++i) scope.spawn(ask(*h.cache, "b.example", answers));
    h.cache->stop();
    CHECK(answers.empty());
    h.runtime.run_until_idle();
    CHECK(answers.size() == 3);
    for (const Answer<Mx>& answer : answers) CHECK(answer.status == Status::timed_out);
    CHECK(h.mx("a.example").status == Status::timed_out);
    CHECK(h.mx("a.example").no_server);
    h.cache->stop();
  }

  TEST_CASE("an exception of the one that asks leaves the others with timed_out") {
    VirtualRuntime runtime;
    std::unique_ptr<Resolver> cache = make_cache(std::make_unique<Broken>(runtime), runtime, {});
    std::vector<std::string> told;
    net::Scope scope(runtime, [&](std::string_view text) { told.emplace_back(text); });
    std::vector<Answer<Mx>> answers;
    for (int i = 0; i < 3; ++i) scope.spawn(ask(*cache, "a.example", answers));
    runtime.advance(seconds(1));
    CHECK(told == std::vector<std::string>{"broken"});
    REQUIRE(answers.size() == 2);
    CHECK(answers[0].status == Status::timed_out);
    CHECK(scope.running() == 0);
  }
}

}  // namespace waypost::resolver
