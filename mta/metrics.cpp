#include "mta/metrics.h"

#include <sstream>
#include <utility>
#include <vector>

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include "queue/disk_space.h"

namespace waypost::mta {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

// The library's own counters are doubles behind maps of labels; ours are base/metrics.h. What it has for us is the
// text.
class Page {
 public:
  void family(const char* name, const char* help, MetricType type) { families_.push_back({name, help, type, {}}); }
  /// One more value of the family that was begun last.
  template <class Number>
  void value(Number value, Labels labels = {}) {
    ClientMetric metric;
    metric.label = std::move(labels);
    metric.counter.value = metric.gauge.value = static_cast<double>(value);
    families_.back().metric.push_back(std::move(metric));
  }
  template <class Number>
  void counter(const char* name, const char* help, Number number) {
    family(name, help, MetricType::Counter);
    value(number);
  }
  template <class Number>
  void gauge(const char* name, const char* help, Number number) {
    family(name, help, MetricType::Gauge);
    value(number);
  }
  template <std::size_t Size>
  void histogram(const char* name, const char* help, const metrics::Histogram<Size>& of) {
    family(name, help, MetricType::Histogram);
    ClientMetric metric;
    std::uint64_t below = 0;
    for (std::size_t at = 0; at < Size; ++at)
      metric.histogram.bucket.push_back({below += of.count(at), of.bounds()[at]});
    metric.histogram.sample_count = below + of.count(Size);
    metric.histogram.sample_sum = of.sum();
    families_.back().metric.push_back(std::move(metric));
  }
  /// The table's values, but for those of "other" and "none" that nothing was counted for.
  template <std::size_t Rows, std::size_t Columns>
  void table(const metrics::Table<Rows, Columns>& of, const char* row_label, const char* column_label,
             const Labels& besides = {}) {
    of.each([&](std::string_view row, std::string_view column, std::uint64_t number) {
      const bool is_rest = row == "other" || row == "none" || column == "none";
      if (is_rest && number == 0) return;
      Labels labels = besides;
      labels.push_back({row_label, std::string(row)});
      if (!column.empty()) labels.push_back({column_label, std::string(column)});
      value(number, std::move(labels));
    });
  }
  std::string text() const {
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, families_);
    return std::move(out).str();
  }

 private:
  std::vector<MetricFamily> families_;
};

double seconds(net::WallTime::duration time) {
  return std::chrono::duration<double>(time).count();
}

double age(net::WallTime since, net::WallTime now) {
  return since < now ? seconds(now - since) : 0;
}

void add_daemon(Page& page, const Measures& measures) {
  const DaemonFacts& facts = measures.facts;
  page.family("waypost_build_info", "Always 1; its label has the version.", MetricType::Gauge);
  page.value(1, {{"version", WAYPOST_VERSION}});
  page.gauge("waypost_start_time_seconds", "When the daemon was started, in seconds since 1970.",
             seconds(facts.started.time_since_epoch()));
  page.gauge("waypost_config_load_time_seconds", "When the configuration in force was read, in seconds since 1970.",
             seconds(facts.config_loaded.time_since_epoch()));
  page.gauge("waypost_config_reload_failed", "1 if the last reload was refused for errors in the configuration.",
             facts.reload_failed ? 1 : 0);
  page.gauge("waypost_alerts", "What has to be looked at: the lines of /health.", alerts(facts, measures.disk).size());
  page.counter("waypost_log_dropped_total", "Log lines that no log took.", measures.log_dropped);
  page.counter("waypost_history_dropped_total", "Events that the history did not take.", facts.history_dropped);
  page.gauge("waypost_drop_folder_corrupt_files", "Files of the drop folder that could not be taken.",
             facts.corrupt_drops);
}

void add_inbound(Page& page, const metrics::Events& events) {
  page.family("waypost_smtpd_connections", "Open sessions of clients.", MetricType::Gauge);
  page.table(events.open_sessions, "listener", "");
  page.family("waypost_smtpd_sessions_total", "Sessions of clients that have ended.", MetricType::Counter);
  page.table(events.sessions, "listener", "result");
  page.counter("waypost_messages_accepted_total", "Messages that were made durable and acknowledged.",
               events.accepted.value());
  page.family("waypost_messages_rejected_total", "Clients, senders, recipients and messages that were refused.",
              MetricType::Counter);
  page.table(events.rejected, "reason", "dsn_class");
  page.family("waypost_auth_attempts_total", "Logins of clients.", MetricType::Counter);
  page.table(events.logins, "mechanism", "result");
  page.family("waypost_tls_handshakes_total", "TLS handshakes with clients (in) and hosts (out).", MetricType::Counter);
  for (const auto& [way, table] : {std::pair("in", &events.handshakes_in), std::pair("out", &events.handshakes_out)})
    table->each([&page, way = way](std::string_view version, std::string_view result, std::uint64_t number) {
      if ((version == "none") != (result == "failure") && number == 0) return;
      page.value(number, {{"dir", way}, {"version", std::string(version)}, {"result", std::string(result)}});
    });
}

void add_queue(Page& page, const Measures& measures) {
  if (!measures.totals) return;
  const queue::Totals& totals = *measures.totals;
  page.gauge("waypost_queue_messages", "Messages in the queue, with those that were deleted and can be taken back.",
             totals.messages);
  page.gauge("waypost_queue_bytes", "Octets of these messages.", totals.octets);
  page.family("waypost_queue_recipients", "Recipients in the queue.", MetricType::Gauge);
  page.value(totals.deferred, {{"state", "deferred"}});
  page.value(totals.held, {{"state", "held"}});
  page.value(totals.removed, {{"state", "removed"}});
  page.family("waypost_queue_oldest_seconds", "Age of the oldest message with such a recipient; 0 where there is none.",
              MetricType::Gauge);
  const auto oldest = [&measures](const std::optional<queue::WallTime>& since) {
    return since ? age(*since, measures.now) : 0;
  };
  page.value(oldest(totals.oldest_deferred), {{"state", "deferred"}});
  page.value(oldest(totals.oldest_held), {{"state", "held"}});
}

void add_delivery(Page& page, const Measures& measures, const metrics::Events& events) {
  page.family("waypost_deliveries_total", "Recipients of attempts, by what came of them.", MetricType::Counter);
  page.table(events.deliveries, "result", "dsn_class");
  page.histogram("waypost_delivery_delay_seconds", "From the acceptance of a message to its delivery.",
                 events.delivery_delay);
  page.gauge("waypost_delivery_connections", "Open connections to hosts.", measures.facts.out.connections);
  page.gauge("waypost_delivery_window_recipients", "Recipients in memory, to be attempted.", measures.facts.out.held);
  page.family("waypost_bounces_total", "Notifications that were queued.", MetricType::Counter);
  page.table(events.notifications, "kind", "");
  page.gauge("waypost_destinations_failing", "Destinations with mail that do not take it, by themselves or their site.",
             measures.failing.destinations);
  page.family("waypost_destination_failing_seconds", "For how long; of the ten that have failed for longest.",
              MetricType::Gauge);
  for (const auto& [name, since] : measures.failing.longest)
    page.value(age(since, measures.now), {{"destination", name}});
  page.family("waypost_dns_questions_total", "Questions to name servers, by whether any of these said something.",
              MetricType::Counter);
  page.table(events.dns_questions, "result", "");
  page.histogram("waypost_dns_seconds", "Questions to name servers, until the answer or the last try.", events.dns);
}

void add_disk(Page& page, const Measures& measures, const metrics::Events& events) {
  constexpr std::uint64_t kPage = 4096;
  page.histogram("waypost_commit_seconds", "Transactions of the queue, until they are durable.", events.commit);
  page.histogram("waypost_commit_batch_messages", "Messages of which something was written in one transaction.",
                 events.commit_batch);
  page.histogram("waypost_checkpoint_seconds", "Moving what is in the write-ahead log to the database.",
                 events.checkpoint);
  page.gauge("waypost_wal_bytes", "What the write-ahead log of the queue holds.",
             measures.facts.store.wal_pages * kPage);
  if (measures.disk.size == 0) return;
  page.gauge("waypost_disk_free_bytes", "What is free on the disk of data_dir.", measures.disk.free);
  page.gauge("waypost_disk_size_bytes", "The size of that disk.", measures.disk.size);
  page.gauge("waypost_disk_reserve_bytes", "No new mail is taken while no more than this is free.",
             queue::kept_free(measures.disk.size));
}

}  // namespace

std::string metrics_text(const Measures& measures, const metrics::Events& events) {
  Page page;
  add_daemon(page, measures);
  add_inbound(page, events);
  add_queue(page, measures);
  add_delivery(page, measures, events);
  add_disk(page, measures, events);
  return page.text();
}

}  // namespace waypost::mta
