#include "base/metrics.h"

#include <map>
#include <string>

#include <doctest/doctest.h>

#include "base/event_log.h"

using namespace waypost;

TEST_SUITE("base/metrics") {
  TEST_CASE("a table counts by two labels, and what it does not know as the last of them") {
    metrics::Table<2, 2> table{{"a", "other"}, {"x", "y"}};
    table.at("a", "x").add();
    table.at("a", "y").add(2);
    table.at("b", "z").add(3);
    table.at("", "").add();
    std::map<std::string, std::uint64_t> seen;
    table.each([&](std::string_view row, std::string_view column, std::uint64_t value) {
      seen[std::string(row) + column.data()] = value;
    });
    const std::map<std::string, std::uint64_t> want{{"ax", 1}, {"ay", 2}, {"otherx", 0}, {"othery", 4}};
    CHECK((seen == want));
  }

  TEST_CASE("a histogram counts a value at the first bound that it does not exceed") {
    metrics::Histogram<3> histogram{{0.1, 1, 10}};
    for (const double value : {0.0, 0.1, 0.11, 1.0, 10.0, 10.1, 1e9}) histogram.observe(value);
    histogram.observe(std::chrono::milliseconds(500));
    CHECK(histogram.count(0) == 2);
    CHECK(histogram.count(1) == 3);
    CHECK(histogram.count(2) == 1);
    CHECK(histogram.count(3) == 2);
    CHECK(histogram.sum() == doctest::Approx(1e9 + 21.81));
  }

  TEST_CASE("a reason is what the enhanced status code of the reply is about [RFC 3463 3]") {
    struct Row {
      const char *reply, *want;
    };
    const Row rows[] = {
        {"554 5.7.1 Relay denied", "policy"},
        {"550 5.1.1 <a@b>: Unknown", "address"},
        {"452 4.2.2 Full", "mailbox"},
        {"452 4.3.1 No room", "system"},
        {"550 5.4.6 A loop", "routing"},
        {"503 5.5.1 Not now", "protocol"},
        {"554 5.6.0 No text", "content"},
        {"250 2.0.0 Fine", "other"},
        {"554 No code", "other"},
        {"554 5.9.1 Unheard of", "other"},
        {"", "other"},
        {"554 5.7", "other"},
        {"554 5.", "other"},
        {"554 5.77.1 Two digits", "other"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.reply);
      CHECK(metrics::reject_reason(row.reply) == row.want);
    }
  }

  TEST_CASE("events count whatever the level of the log") {
    log::Options options;
    options.target = "/dev/null";
    options.level = log::Level::error;
    REQUIRE(log::open(options));
    metrics::Events& events = metrics::events();
    const std::uint64_t accepted = events.accepted.value();
    const std::uint64_t denied = events.rejected.at("policy", "5").value();
    const std::uint64_t full = events.rejected.at("system", "4").value();
    const std::uint64_t logins = events.logins.at("PLAIN", "success").value();
    const std::uint64_t sent = events.deliveries.at("sent", "2").value();
    const std::uint64_t put_off = events.deliveries.at("deferred", "4").value();
    const std::uint64_t within_an_hour = events.delivery_delay.count(11);
    log::accepted_from("01", "c", "", "");
    log::rejected("c", "RCPT", "554 5.7.1 No", "a@b", "c@d", "SMTP", "h");
    log::storage_refused("c", "full");
    log::logged_in("c", "PLAIN", "ann");
    log::attempt({"01", "r@b", "mx", std::chrono::minutes(20), "2.0.0", "sent", "ok"});
    log::attempt({"01", "r@b", "mx", std::chrono::minutes(20), "4.4.1", "deferred", "no"});
    CHECK(events.accepted.value() == accepted + 1);
    CHECK(events.rejected.at("policy", "5").value() == denied + 1);
    CHECK(events.rejected.at("system", "4").value() == full + 1);
    CHECK(events.logins.at("PLAIN", "success").value() == logins + 1);
    CHECK(events.deliveries.at("sent", "2").value() == sent + 1);
    CHECK(events.deliveries.at("deferred", "4").value() == put_off + 1);
    CHECK(events.delivery_delay.count(11) == within_an_hour + 1);
  }
}
