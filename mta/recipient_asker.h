// mta/recipient_asker.h: asks next hops whether they know an address, for the sessions of one loop. Answers are kept in
// a cache of all loops.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <vector>

#include "conf/config.h"
#include "delivery/open_session.h"
#include "delivery/recipient_check.h"
#include "mta/recipient_cache.h"
#include "net/runtime.h"
#include "net/scope.h"
#include "net/task.h"
#include "resolver/resolver.h"
#include "smtp/path.h"

namespace waypost::mta {

/// Belongs to its loop. What it is made of outlives it. Destroyed only after drained().
class RecipientAsker {
 public:
  static constexpr net::Duration kBudget = std::chrono::seconds(15);    ///< for an answer, whatever it hangs on
  static constexpr net::Duration kConnect = std::chrono::seconds(5);    ///< for a connection to one host of several
  static constexpr net::Duration kHandshake = std::chrono::seconds(4);  ///< so that in clear there is time left
  static constexpr net::Duration kPause = std::chrono::seconds(5);      ///< a next hop that failed is not asked so long
  static constexpr std::size_t kMostConnections = 8;                    ///< to one next hop, of all loops
  static constexpr std::size_t kMostWaiting = 200;                      ///< questions to one next hop

  struct Parts {
    net::Runtime& runtime;
    resolver::Resolver& resolver;
    RecipientCache& cache;
    std::function<std::shared_ptr<const conf::Config>()> config;
    std::function<std::vector<net::Address>()> own_addresses;
    std::size_t connections = 1;  ///< to one next hop, of this loop
    delivery::TlsSource tls = nullptr;
  };
  explicit RecipientAsker(Parts parts);

  enum class Answer : std::uint8_t { known, unknown, undecided };
  /// `next_hop`: smtp or lmtp. From the cache, or from the next hop within kBudget; the same question is asked once at
  /// a time. Undecided at once where too many wait already, where the next hop has just failed, and after a stop; but
  /// what was known within RecipientCache::kKept is known then.
  net::Task<Answer> ask(conf::NextHop next_hop, smtp::Path path, std::stop_token stop);

  void stop() { scope_.stop(); }
  net::Task<> drained() { return scope_.drained(); }
  bool running() const { return scope_.running() > 0; }

 private:
  /// Of all that wait for the same address.
  struct Question {
    std::string key;
    smtp::Path path;
    net::TimePoint deadline;
    Answer answer = Answer::undecided;
    std::stop_source answered;
  };
  using QuestionPtr = std::shared_ptr<Question>;
  struct Hop {
    conf::NextHop next_hop;
    std::string domain;  ///< of those that share it the first one: the TLS policy is the same
    std::deque<QuestionPtr> waiting;
    std::size_t workers = 0;
    net::TimePoint down_until{};
  };

  QuestionPtr join(const std::string& key, const conf::NextHop& next_hop, const smtp::Path& path);
  net::Task<> wait(QuestionPtr question, std::stop_token stop);
  net::Task<> work(Hop& hop);
  QuestionPtr next(Hop& hop);
  net::Task<delivery::Standing> put(Hop& hop, QuestionPtr question, std::unique_ptr<delivery::Connection>& connection);
  net::Task<delivery::Standing> open(Hop& hop, std::stop_token over, std::unique_ptr<delivery::Connection>& connection);
  void settle(const QuestionPtr& question, const delivery::Standing& standing);
  void finish(const QuestionPtr& question);
  void host_failed(Hop& hop, const std::string& why);

  Parts parts_;
  std::unordered_map<std::string, QuestionPtr> questions_;  // under way or waiting
  std::map<std::string, Hop> hops_;                         // those of all configurations so far
  delivery::HostMemory tls_memory_{delivery::kTlsGivenUp};
  net::Scope scope_;
};

}  // namespace waypost::mta
