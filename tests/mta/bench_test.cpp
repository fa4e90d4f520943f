#include "mta/bench.h"

#include <filesystem>

#include <doctest/doctest.h>

#include "mta/cmd_bench.h"
#include "tests/mta/terminal.h"
#include "tests/support/temporary_folder.h"

namespace waypost::mta {
namespace {

using namespace std::chrono_literals;

BenchReport report_of(unsigned processors, double per_second, double busy, std::chrono::nanoseconds each) {
  BenchReport report;
  report.processors = processors;
  report.disk = {3100.4, 280us, 1200us};
  report.accept = {12000, 14.25, 900us, 4ms, 31us, 0.4};
  report.pass = {per_second, 20, 1500us, 6ms, each, busy};
  return report;
}

}  // namespace

TEST_SUITE("mta/bench") {
  TEST_CASE("what limits, and what to expect") {
    using Limit = BenchVerdict::Limit;
    struct Case {
      unsigned processors;
      double per_second, busy;
      std::chrono::nanoseconds each;
      Limit limit;
      std::uint64_t want;
    };
    for (const Case& each :
         {Case{2, 800, 0.04, 50us, Limit::disk, 800}, Case{4, 7890, 0.4, 50us, Limit::disk, 7800},
          Case{2, 12'000, 0.6, 50us, Limit::disk, 12'000}, Case{2, 20'000, 1.0, 50us, Limit::processor, 13'000},
          Case{1, 20'000, 0.9, 45us, Limit::processor, 7400}, Case{2, 7, 0.0, 50us, Limit::disk, 7},
          Case{2, 0, 0.0, 0us, Limit::disk, 0}}) {
      CAPTURE(each.per_second);
      const BenchVerdict got = verdict(report_of(each.processors, each.per_second, each.busy, each.each));
      CHECK(got.limit == each.limit);
      CHECK(got.per_second == each.want);
    }
  }

  TEST_CASE("in words, and as JSON") {
    Terminal t;
    write_bench(report_of(2, 800, 0.04, 50us), false, t.console);
    CHECK(t.out.str() ==
          "disk    3 100 syncs/s   p50 0.28 ms   p99 1.20 ms\n"
          "accept  12 000 messages/s   p50 0.90 ms   p99 4.00 ms   batch 14.2   processor 31 us each, 0.4 busy\n"
          "pass    800 messages/s   p50 1.50 ms   p99 6.00 ms   batch 20.0   processor 50 us each, 0.0 busy\n"
          "The disk limits: commits wait for it, and the processor has time left.\n"
          "Expect about 800 messages of 4 KiB a second in and out again, with many at once; fewer with TLS.\n");
    t.out.str("");
    write_bench(report_of(1, 20'000, 0.9, 45us), true, t.console);
    const Json json = Json::parse(t.out.str());
    CHECK(json["limit"] == "processor");
    CHECK(json["expected_per_second"] == 7400);
    CHECK(json["disk"]["p99_us"] == 1200);
    CHECK(json["pass"]["processor_us"] == 45.0);
  }

  TEST_CASE("it measures, and leaves nothing behind; stopped neither") {
    const tests::TemporaryFolder folder;
    std::atomic<bool> stop = false;
    const Result<BenchReport> report = bench(folder.path(), 100ms, stop);
    REQUIRE_MESSAGE(report, (report ? std::string() : report.error().what));
    CHECK(report->disk.per_second > 1);
    CHECK(report->disk.p50 <= report->disk.p99);
    CHECK(report->accept.per_second > 1);
    CHECK(report->pass.per_second > 1);
    CHECK(report->pass.processor_each.count() > 0);
    CHECK(std::filesystem::is_empty(folder.path()));
    stop = true;
    CHECK(bench(folder.path(), 100ms, stop).error().code == Errc::cancelled);
    CHECK(std::filesystem::is_empty(folder.path()));
  }

  TEST_CASE("where it cannot") {
    Terminal t;
    CHECK(t.run({"bench"}) == 66);
    CHECK(t.complained("/no/such/folder/bench"));
    CHECK(t.run({"bench", "--time", "5"}) == 64);
    CHECK(t.run({"bench", "--time", "2m"}) == 64);
    CHECK(t.complained("from 100ms to 60s"));
    const tests::TemporaryFolder folder;
    t.data_dir = folder.path();
    std::filesystem::create_directory(folder.path() + "/bench");
    CHECK(t.run({"bench", "--time", "100ms"}) == 73);
    CHECK(t.complained("another bench runs"));
    CHECK(std::filesystem::exists(folder.path() + "/bench"));
  }
}

}  // namespace waypost::mta
