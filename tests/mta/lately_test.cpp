#include "mta/lately.h"

#include <cmath>

#include <doctest/doctest.h>

using namespace waypost;
using namespace waypost::mta;
using namespace std::chrono_literals;

namespace {

const net::TimePoint kStart{1000s};

}  // namespace

TEST_SUITE("mta/lately") {
  TEST_CASE("rates are of the last minute, or since the first note") {
    metrics::Events events;
    LatelyNotes notes;
    events.accepted.add(5);
    CHECK(notes.until(events, kStart).accepted == 5);
    CHECK(notes.until(events, kStart).accepted_rate == 0);
    notes.note(events, kStart);
    CHECK(notes.until(events, kStart).accepted_rate == 0);
    events.accepted.add(20);
    CHECK(notes.until(events, kStart + 2s).accepted_rate == doctest::Approx(10));
    for (int n = 1; n <= 12; ++n) {
      events.accepted.add(10);
      events.deliveries.at("sent", "2").add(20);
      events.deliveries.at("deferred", "4").add(5);
      notes.note(events, kStart + n * 10s);
    }
    const Lately lately = notes.until(events, kStart + 125s);
    CHECK(lately.accepted == 145);
    CHECK(lately.accepted_rate == doctest::Approx(60 / 65.0));  // since the note of second 60
    CHECK(lately.sent_rate == doctest::Approx(120 / 65.0));
  }

  TEST_CASE("refused logins are of the last hour, too") {
    metrics::Events events;
    LatelyNotes notes;
    notes.note(events, kStart);
    events.logins.at("PLAIN", "failure").add(7);
    events.logins.at("PLAIN", "success").add(100);
    events.rejected.at("policy", "5").add(3);
    for (auto now = kStart + 10s; now <= kStart + 3h; now += 10s) notes.note(events, now);
    events.logins.at("LOGIN", "failure").add(2);
    const Lately lately = notes.until(events, kStart + 3h);
    CHECK(lately.login_failures == 9);
    CHECK(lately.login_failures_hour == 2);
    CHECK(lately.rejected == 3);
  }

  TEST_CASE("questions that no name server answers, until one does") {
    metrics::Events events;
    LatelyNotes notes;
    metrics::Counter& answered = events.dns_questions.at("answered", "");
    metrics::Counter& unanswered = events.dns_questions.at("unanswered", "");
    CHECK(notes.until(events, kStart).dns_unanswered == 0);
    answered.add(5);
    notes.note(events, kStart);
    unanswered.add(2);
    CHECK(notes.until(events, kStart + 5s).dns_unanswered == 2);
    CHECK(notes.until(events, kStart + 5s).dns_silence == 0s);
    notes.note(events, kStart + 10s);
    notes.note(events, kStart + 20s);  // nothing is asked
    unanswered.add(3);
    notes.note(events, kStart + 30s);
    for (auto now = kStart + 40s; now <= kStart + 3h; now += 10s) notes.note(events, now);
    Lately lately = notes.until(events, kStart + 3h);
    CHECK(lately.dns_unanswered == 5);
    CHECK(lately.dns_silence == 3h - 10s);
    answered.add();
    CHECK(notes.until(events, kStart + 3h).dns_unanswered == 0);
    notes.note(events, kStart + 3h);
    CHECK(notes.until(events, kStart + 3h + 1s).dns_unanswered == 0);
    unanswered.add();
    CHECK(notes.until(events, kStart + 3h + 1s).dns_unanswered == 1);
  }

  TEST_CASE("commits: at most so long, of the last hour") {
    metrics::Events events;
    LatelyNotes notes;
    for (int n = 0; n < 1000; ++n) events.commit.observe(2.0);
    notes.note(events, kStart);
    CHECK(!notes.until(events, kStart).commit_p50);
    for (int n = 0; n < 98; ++n) events.commit.observe(0.0007);
    events.commit.observe(0.03);
    events.commit.observe(100.0);
    const Lately lately = notes.until(events, kStart + 5s);
    CHECK(lately.commit_p50 == 0.001);
    CHECK(lately.commit_p99 == 0.05);
    events.commit.observe(100.0);
    events.commit.observe(100.0);
    CHECK(std::isinf(*notes.until(events, kStart + 5s).commit_p99));
    for (auto now = kStart + 10s; now <= kStart + 2h; now += 10s) notes.note(events, now);
    CHECK(!notes.until(events, kStart + 2h).commit_p99);
  }
}
