// resolver/cache.h: a Resolver that remembers answers for their TTL, and asks a question that is under way only once.
#pragma once
#include <cstddef>
#include <memory>

#include "net/runtime.h"
#include "resolver/resolver.h"

namespace waypost::resolver {

struct CacheOptions {
  std::size_t entries = 20'000;         ///< at most; the least recently used go
  std::chrono::seconds longest{86400};  ///< no answer is kept longer
  std::chrono::seconds shortest{1};     ///< an answer of TTL 0 still serves those who wait for it
  std::chrono::seconds failure{5};      ///< how long server_failed and timed_out are kept
};

/// In front of `below`; both outlive what waits.
std::unique_ptr<Resolver> make_cache(std::unique_ptr<Resolver> below, net::Runtime& runtime, CacheOptions options);

}  // namespace waypost::resolver
