// mta/bench.h: what this machine can do, measured beside the queue: how fast its disk makes things stable, how fast a
// store takes mail and lets it go.
#pragma once
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace waypost::mta {

/// Appends of kAppend octets to a file, each followed by fdatasync().
struct DiskSpeed {
  static constexpr std::size_t kAppend = 4096;
  double per_second = 0;
  std::chrono::microseconds p50{0}, p99{0};
};

/// Messages of kBody octets, kAtOnce of them under way.
struct StoreSpeed {
  static constexpr std::size_t kBody = 4096, kAtOnce = 50;
  double per_second = 0;
  double batch = 0;                            ///< operations in a commit
  std::chrono::microseconds p50{0}, p99{0};    ///< of one message
  std::chrono::nanoseconds processor_each{0};  ///< time of the processor for one message
  double processors = 0;                       ///< how many of them were busy
};

struct BenchReport {
  unsigned processors = 1;  ///< that this process may use
  DiskSpeed disk;
  StoreSpeed accept;  ///< committed
  StoreSpeed pass;    ///< committed, and then settled as delivered
};

/// Measures each of the three for `time`, in a new folder `data_dir`/bench, which is removed whatever comes of it.
/// Blocks. `stop`, set at any time, ends it.
/// Errors: exists (of a bench that runs, or was killed), full (less than kBenchRoom octets are free beside what is kept
/// for mail), cancelled (`stop`), not_found, denied, io.
Result<BenchReport> bench(const std::string& data_dir, std::chrono::milliseconds time, const std::atomic<bool>& stop);
inline constexpr std::uint64_t kBenchRoom = 1'000'000'000;

/// What comes of it for mail. Pure.
struct BenchVerdict {
  enum class Limit : std::uint8_t { disk, processor };
  Limit limit = Limit::disk;
  std::uint64_t per_second = 0;  ///< messages through the relay, about: two digits of it
};
BenchVerdict verdict(const BenchReport& report);

}  // namespace waypost::mta
