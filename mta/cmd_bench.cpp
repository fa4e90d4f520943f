#include "mta/cmd_bench.h"

#include <array>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <memory>

#include <sysexits.h>

#include "base/event_log.h"
#include "conf/units.h"
#include "mta/output.h"

namespace waypost::mta {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kShortest{100}, kLongest{60'000};
constexpr std::array kEnding{SIGINT, SIGTERM, SIGHUP, SIGQUIT};

std::atomic<bool> interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free);  // a handler sets it
extern "C" void interrupt(int) {
  interrupted = true;
}

std::string milliseconds_text(std::chrono::microseconds time) {
  char text[40];
  std::snprintf(text, sizeof text, "%.2f ms", static_cast<double>(time.count()) / 1000);
  return text;
}

std::string whole(double number) {
  return grouped(static_cast<std::uint64_t>(std::llround(number)));
}

std::string words_of(const StoreSpeed& speed) {
  char text[80];
  std::snprintf(text, sizeof text, "batch %.1f   processor %.0f us each, %.1f busy", speed.batch,
                static_cast<double>(speed.processor_each.count()) / 1000, speed.processors);
  return whole(speed.per_second) + " messages/s   p50 " + milliseconds_text(speed.p50) + "   p99 " +
         milliseconds_text(speed.p99) + "   " + text;
}

Json speed_json(const StoreSpeed& speed) {
  Json json;
  json["per_second"] = std::llround(speed.per_second);
  json["p50_us"] = speed.p50.count();
  json["p99_us"] = speed.p99.count();
  json["batch"] = speed.batch;
  json["processor_us"] = static_cast<double>(speed.processor_each.count()) / 1000;
  json["processors_busy"] = speed.processors;
  return json;
}

}  // namespace

void write_bench(const BenchReport& report, bool json, Console& console) {
  const BenchVerdict result = verdict(report);
  const bool by_disk = result.limit == BenchVerdict::Limit::disk;
  if (json) {
    Json out;
    out["processors"] = report.processors;
    out["disk"]["per_second"] = std::llround(report.disk.per_second);
    out["disk"]["p50_us"] = report.disk.p50.count();
    out["disk"]["p99_us"] = report.disk.p99.count();
    out["accept"] = speed_json(report.accept);
    out["pass"] = speed_json(report.pass);
    out["limit"] = by_disk ? "disk" : "processor";
    out["expected_per_second"] = result.per_second;
    console.print(out);
    return;
  }
  Table table;
  table.add({"disk", whole(report.disk.per_second) + " syncs/s   p50 " + milliseconds_text(report.disk.p50) +
                         "   p99 " + milliseconds_text(report.disk.p99)});
  table.add({"accept", words_of(report.accept)});
  table.add({"pass", words_of(report.pass)});
  console.out << table.text();
  console.out << (by_disk ? "The disk limits: commits wait for it, and the processor has time left.\n"
                          : "The processor limits: the disk is quick enough for it (" +
                                counted(report.processors, "processor", "processors") + ").\n");
  console.out << "Expect about " << grouped(result.per_second)
              << " messages of 4 KiB a second in and out again, with many at once; fewer with TLS.\n";
}

int run_bench(const BenchOptions& options, Console& console) {
  const Result<milliseconds> time = conf::parse_duration(options.time);
  if (!time || *time < kShortest || *time > kLongest) {
    console.give_up(EX_USAGE, "--time: " + (time ? "from 100ms to 60s" : time.error().what));
    return console.exit_code;
  }
  const Result<std::string> data_dir = console.data_dir();
  if (!data_dir) {
    console.give_up(EX_CONFIG, data_dir.error().what);
    return console.exit_code;
  }
  // Every message that passes would be told of.
  log::Options quiet;
  quiet.level = log::Level::error;
  (void)log::open(quiet);
  interrupted = false;
  for (const int signal : kEnding) std::signal(signal, interrupt);
  const Result<BenchReport> report = bench(*data_dir, *time, interrupted);
  for (const int signal : kEnding) std::signal(signal, SIG_DFL);
  if (!report) {
    console.give_up(own_exit(report.error().code), report.error().what);
    return console.exit_code;
  }
  write_bench(*report, options.json, console);
  return 0;
}

void add_bench(CLI::App& app, Console& console) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* verb = app.add_subcommand("bench", "How much mail this machine can do: its disk, a store, its processors");
  verb->add_option("--time", options->time, "For each of the three parts: 500ms, 5s (5s)")->type_name("TIME");
  verb->add_flag("--json", options->json, "One JSON object, keys stable");
  verb->footer("Example: waypost bench --time 10s");
  verb->callback([options, &console] { console.exit_code = run_bench(*options, console); });
}

}  // namespace waypost::mta
