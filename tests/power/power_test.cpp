// The queue after power cuts, errors of the disk and flipped bits; and that the machinery finds what it is for.
#include <doctest/doctest.h>

#include "tests/power/campaign.h"

using namespace waypost;
using namespace waypost::tests;
using namespace waypost::tests::power;

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kLess = 10;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr std::uint64_t kLess = 10;
#else
constexpr std::uint64_t kLess = 1;
#endif
#else
constexpr std::uint64_t kLess = 1;
#endif

CampaignOptions of_seed(std::uint64_t seed) {
  CampaignOptions options;
  options.seed = seed;
  return options;
}

/// The first line that was told is told again by its name.
void check_replay(const CampaignOptions& options, const Summary& found) {
  REQUIRE_FALSE(found.told.empty());
  std::string line = found.told.front();
  CAPTURE(line);
  CampaignOptions others = options;
  others.seed = 77;
  std::optional<Summary> again = replay(others, line.substr(0, line.find(": ")));
  REQUIRE(again);
  REQUIRE_FALSE(again->told.empty());
  CHECK(again->told.front() == line);
}

void check_good(const Summary& summary) {
  for (const std::string& line : summary.told) FAIL_CHECK(line);
  CHECK(summary.good());
}

/// Images of a machine that lies, or a program that does not wait.
Summary with(std::function<void(SimDisk&)> lies, std::uint64_t images = 1500) {
  CampaignOptions options;
  options.images = images;
  options.cuts_one_in = 7;
  options.lies = std::move(lies);
  return cut_power(options);
}

}  // namespace

TEST_SUITE("power") {
  TEST_CASE("F7, F8: nothing is lost, half there or returned after a power cut, at the start too") {
    CampaignOptions options;
    options.seed = 1001;
    options.images = 4000 / kLess;
    options.cuts_one_in = 17;
    Summary summary = cut_power(options);
    CHECK(summary.workloads > 1);
    check_good(summary);
  }

  TEST_CASE("F9, F12: errors of the disk: what was told stays true, also without power after them") {
    check_good(fail_calls(of_seed(1001), 60 / kLess));
  }

  TEST_CASE("F14: flipped bits send nothing altered") {
    check_good(flip_bits(of_seed(1001), 300 / kLess));
  }

  TEST_CASE("what was broken is the same again by its name: an image") {
    CampaignOptions options;
    options.workload.early_ack = true;
    options.images = 1000;
    options.cuts_one_in = 11;
    Summary found = cut_power(options);
    check_replay(options, found);
    std::optional<ImageName> name = ImageName::parse(found.told.front().substr(0, found.told.front().find(": ")));
    REQUIRE(name);
    name->cut = kNever;
    CHECK_FALSE(replay(options, name->text()));
  }

  TEST_CASE("what was broken is the same again by its name: a workload") {
    CampaignOptions options = of_seed(12);
    options.images = 1;
    options.workload.fault = [](const Call& call) { return call.position < 300 ? Fault::none : Fault::io; };
    Summary found = cut_power(options);
    REQUIRE_FALSE(found.told.empty());
    CHECK(found.told.front().starts_with("12: corrupt: cannot start again"));
    check_replay(options, found);
  }

  TEST_CASE("what was broken is the same again by its name: a workload with errors of the disk") {
    CampaignOptions options = of_seed(3);
    options.workload.early_ack = true;
    options.lies = [](SimDisk& disk) { disk.synchronous = 0; };
    Summary found = fail_calls(options, 40);
    REQUIRE_FALSE(found.told.empty());
    CHECK(found.told.front().starts_with("fault:3+"));
    check_replay(options, found);
  }

  TEST_CASE("what was broken is the same again by its name: a disk with flipped bits") {
    CampaignOptions options = of_seed(3);
    options.forgets = true;
    Summary found = flip_bits(options, 120);
    REQUIRE_FALSE(found.told.empty());
    CHECK(found.told.front().starts_with("flip:3+"));
    check_replay(options, found);
  }

  TEST_CASE("what is no name") {
    for (const char* text : {"", "1:2", "1:2:none", "x", "-1", "1 ", "fault:1", "fault 1+2", "flip:1+2", "flip:1+2.3x"})
      CHECK_FALSE(replay(CampaignOptions(), text));
  }
}

// These must find something: else all of the above shows nothing.
TEST_SUITE("power/found") {
  TEST_CASE("250 before the commit") {
    CampaignOptions options;
    options.workload.early_ack = true;
    options.images = 1500;
    options.cuts_one_in = 7;
    CHECK(cut_power(options).count(Broken::Kind::lost) > 0);
  }

  TEST_CASE("synchronous=NORMAL loses mail") {
    Summary summary = with([](SimDisk& disk) { disk.synchronous = 1; });
    CHECK(summary.count(Broken::Kind::lost) > 0);
    CHECK(summary.count(Broken::Kind::corrupt) == 0);
  }

  TEST_CASE("synchronous=OFF corrupts") {
    Summary summary = with([](SimDisk& disk) { disk.synchronous = 0; });
    CHECK(summary.count(Broken::Kind::lost) > 0);
    CHECK(summary.count(Broken::Kind::corrupt) > 0);
  }

  TEST_CASE("spool files vanish where their folder is not synced") {
    Summary summary = with([](SimDisk& disk) {
      disk.ignored = [](const Call& call) {
        return call.kind == Call::Kind::sync_folder && call.path.starts_with("/data/body");
      };
    });
    CHECK(summary.count(Broken::Kind::altered) > 0);  // mail without its body
    CHECK(summary.count(Broken::Kind::corrupt) == 0);
  }

  TEST_CASE("spool files that are not synced are cut or of zeros") {
    Summary summary = with([](SimDisk& disk) {
      disk.ignored = [](const Call& call) {
        return call.kind == Call::Kind::sync && call.path.starts_with("/data/body");
      };
    });
    CHECK(summary.count(Broken::Kind::altered) > 0);
  }

  TEST_CASE("mail in a Maildir vanishes where new/ is not synced") {
    Summary summary = with([](SimDisk& disk) {
      disk.ignored = [](const Call& call) {
        return call.kind == Call::Kind::sync_folder && call.path.ends_with("/new");
      };
    });
    CHECK(summary.count(Broken::Kind::lost) > 0);
  }
}
