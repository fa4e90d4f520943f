#include "mta/metrics.h"

#include <doctest/doctest.h>

#include "mta/admin.h"

using namespace waypost;
using namespace waypost::mta;

namespace {

const net::WallTime kNow{std::chrono::seconds(1795341600)};

Measures a_relay() {
  Measures measures;
  measures.now = kNow;
  measures.facts.started = kNow - std::chrono::hours(2);
  measures.facts.out.connections = 7;
  measures.facts.store.wal_pages = 3;
  measures.failing.destinations = 12;
  measures.failing.longest = {{"b.example", kNow - std::chrono::minutes(90)}, {"a\"\\\n.example", kNow}};
  queue::Totals totals;
  totals.messages = 1'000'000;
  totals.deferred = 1'000'003;
  totals.oldest_deferred = kNow - std::chrono::hours(5);
  measures.totals = totals;
  measures.disk = {60'000'000'000, 100'000'000'000};
  measures.log_dropped = 4;
  return measures;
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

}  // namespace

TEST_SUITE("mta/metrics") {
  TEST_CASE("a family has help, kind and values, and nothing in it breaks a line") {
    metrics::Events events;
    events.accepted.add(5);
    events.rejected.at("policy", "5").add(2);
    events.handshakes_out.at("none", "failure").add();
    events.delivery_delay.observe(0.2);
    events.delivery_delay.observe(1e7);
    const std::string text = metrics_text(a_relay(), events);
    CAPTURE(text);
    CHECK(has_line(text, "# HELP waypost_messages_accepted_total Messages that were made durable and acknowledged."));
    CHECK(has_line(text, "# TYPE waypost_messages_accepted_total counter"));
    CHECK(has_line(text, "waypost_messages_accepted_total 5"));
    CHECK(has_line(text, "waypost_messages_rejected_total{reason=\"policy\",dsn_class=\"5\"} 2"));
    CHECK(has_line(text, "waypost_messages_rejected_total{reason=\"address\",dsn_class=\"4\"} 0"));
    CHECK(text.find("reason=\"other\"") == std::string::npos);
    CHECK(has_line(text, "waypost_tls_handshakes_total{dir=\"in\",version=\"TLSv1.3\",result=\"success\"} 0"));
    CHECK(has_line(text, "waypost_tls_handshakes_total{dir=\"out\",version=\"none\",result=\"failure\"} 1"));
    CHECK(has_line(text, "# TYPE waypost_delivery_delay_seconds histogram"));
    CHECK(has_line(text, "waypost_delivery_delay_seconds_bucket{le=\"0.3\"} 1"));
    CHECK(has_line(text, "waypost_delivery_delay_seconds_bucket{le=\"432000\"} 1"));
    CHECK(has_line(text, "waypost_delivery_delay_seconds_bucket{le=\"+Inf\"} 2"));
    CHECK(has_line(text, "waypost_delivery_delay_seconds_count 2"));
    CHECK(has_line(text, "waypost_queue_messages 1000000"));
    CHECK(has_line(text, "waypost_queue_recipients{state=\"deferred\"} 1000003"));
    CHECK(has_line(text, "waypost_queue_oldest_seconds{state=\"deferred\"} 18000"));
    CHECK(has_line(text, "waypost_queue_oldest_seconds{state=\"held\"} 0"));
    CHECK(has_line(text, "waypost_destination_failing_seconds{destination=\"b.example\"} 5400"));
    CHECK(has_line(text, "waypost_destination_failing_seconds{destination=\"a\\\"\\\\\\n.example\"} 0"));
    CHECK(has_line(text, "waypost_wal_bytes 12288"));
    CHECK(has_line(text, "waypost_disk_free_bytes 60000000000"));
    CHECK(has_line(text, "waypost_disk_reserve_bytes 2147483648"));
    CHECK(has_line(text, "waypost_log_dropped_total 4"));
  }

  TEST_CASE("what is not known is left out") {
    Measures measures = a_relay();
    measures.totals.reset();
    measures.disk = {};
    const std::string text = metrics_text(measures, metrics::Events());
    CHECK(text.find("waypost_queue_") == std::string::npos);
    CHECK(text.find("waypost_disk_") == std::string::npos);
    CHECK(has_line(text, "waypost_alerts 0"));
  }

  TEST_CASE("the admin address shows metrics and health, and nothing else") {
    DaemonFacts facts;
    facts.data_dir = "/";
    std::optional<Error> failure;
    const AdminSources sources{[&]() -> Result<DaemonFacts> {
                                 if (failure) return fail(*failure);
                                 return facts;
                               },
                               [&]() -> Result<Measures> {
                                 if (failure) return fail(*failure);
                                 return a_relay();
                               }};
    const auto ask = [&](const std::string& method, const std::string& path) {
      ControlRequest request;
      request.method = method;
      request.path = path;
      return answer_admin(request, sources);
    };
    CHECK(ask("GET", "/metrics").status == 200);
    CHECK(ask("GET", "/metrics").type == "text/plain; version=0.0.4; charset=utf-8");
    CHECK(has_line(ask("GET", "/metrics").body, "waypost_queue_messages 1000000"));
    CHECK(ask("GET", "/health").status == 200);
    CHECK(ask("GET", "/health").body == "ok\n");
    for (const char* path : {"/", "/v1/status", "/v1/queue", "/metrics/", "/health?x", ""})
      CHECK(ask("GET", path).status == 404);
    for (const char* method : {"POST", "DELETE", "OPTIONS", ""}) CHECK(ask(method, "/metrics").status == 405);
    CHECK(ask("HEAD", "/metrics").status == 200);

    facts.reload_failed = true;
    facts.corrupt_drops = 2;
    CHECK(ask("GET", "/health").status == 503);
    CHECK(ask("GET", "/health").body.starts_with("the last reload failed"));
    CHECK(ask("GET", "/health").body.find("\n2 files of the drop folder") != std::string::npos);
    failure = Error(Errc::cancelled, "the daemon is stopping");
    CHECK(ask("GET", "/health").status == 503);
    CHECK(ask("GET", "/metrics").body == "the daemon is stopping\n");
  }
}
