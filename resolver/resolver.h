// resolver/resolver.h: questions to the DNS as an interface. One loop.
#pragma once
#include <string>

#include "net/task.h"
#include "resolver/records.h"

namespace waypost::resolver {

/// Names are taken in any case, with or without a trailing dot. Every await ends: by an answer, or after the
/// configuration's tries and timeouts as timed_out. Identical questions under way at once are asked once by the cache.
/// Destroy it only when no await is left and, if its loop is to end, after stop() while that still runs.
class Resolver {
 public:
  virtual ~Resolver() = default;
  virtual net::Task<Answer<Mx>> mx(std::string domain) = 0;
  virtual net::Task<Answer<net::Address>> a(std::string host) = 0;  ///< ports are 0
  virtual net::Task<Answer<net::Address>> aaaa(std::string host) = 0;
  virtual net::Task<Answer<std::string>> ptr(std::string name) = 0;  ///< of reverse_name(); lower case, no trailing dot
  /// What is under way ends as timed_out on a later turn; later questions do so at once. Idempotent.
  virtual void stop() = 0;
};

}  // namespace waypost::resolver
