// delivery/dispatcher.h: from what is due to attempts and their outcomes. One for the process, on one loop.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <vector>

#include "conf/config.h"
#include "delivery/connection.h"
#include "delivery/notify.h"
#include "delivery/site.h"
#include "delivery/tally.h"
#include "net/runtime.h"
#include "net/scope.h"
#include "queue/schedule.h"
#include "queue/store.h"
#include "resolver/exchangers.h"

namespace waypost::delivery {

using ConfigSource = std::function<std::shared_ptr<const conf::Config>()>;

/// Keeps a bounded window of what is due, finds each destination's site, and lets a bounded number of workers deliver,
/// each with one connection that it keeps for the next message. References outlive it.
class Dispatcher {
 public:
  Dispatcher(net::Runtime& runtime, queue::Store& store, resolver::Resolver& resolver, ConfigSource config,
             std::function<std::vector<net::Address>()> own_addresses);
  ~Dispatcher();

  /// Begins. What is due already is read from the store.
  void start();

  // What the store tells (queue::StoreEvents), posted to this loop.
  void arrived(std::vector<queue::Due> due);
  void changed();
  /// The configuration was replaced: routes apply to mail that already waits.
  void reconfigured();

  /// No new attempt begins; those under way may end.
  void stop();
  /// Their connections are closed.
  void abort();
  bool running() const { return scope_.running() > 0; }

  struct Stats {
    std::uint64_t delivered = 0, relayed = 0, deferred = 0, bounced = 0, expired = 0;
    std::size_t connections = 0, sites = 0, held = 0;
  };
  Stats stats() const;

 private:
  /// A destination with mail in the window, or in back-off.
  struct Destination {
    queue::DestinationState state;
    std::string site;  ///< its key, once planned; "" before
    net::TimePoint valid_until{};
    bool planning = false;
  };
  net::Task<> run();
  net::Task<> sweep();
  net::Task<> refill();
  void take_page(queue::DuePage page);
  void begin(const std::string& destination);
  net::Task<> plan(std::string destination);
  net::Task<Plan> find_plan(std::string destination, Destination& entry, net::TimePoint& valid_until,
                            HostFailure& trouble);
  void pump(const std::string& key);
  void pump_all();
  net::Task<> work(std::string key);
  std::optional<queue::Due> next_job(Site& site);
  net::Task<bool> idle(Site& site);

  // dispatcher_attempts.cpp
  net::Task<> deliver(Site& site, queue::Due due, std::unique_ptr<Connection>& connection);
  net::Task<HostFailure> relay(Site& site, Tally& tally, std::shared_ptr<const queue::Content> content,
                               std::unique_ptr<Connection>& connection);
  net::Task<> into_maildirs(const std::string& path_template, Tally& tally,
                            std::shared_ptr<const queue::Content> content);
  net::Task<> finish(const Tally& tally, std::shared_ptr<const queue::Content> content);
  net::Task<std::optional<queue::Notification>> notification(const queue::MessageInfo& message,
                                                             std::vector<Subject> subjects,
                                                             std::shared_ptr<const queue::Content> content);
  net::Task<bool> expire_or_warn(queue::Overdue overdue);
  net::Task<Result<>> settle(queue::Settlement settlement);
  net::Task<std::string> header_of(std::shared_ptr<const queue::Content> content);
  net::Task<> fail_destination(std::string destination, HostFailure failure);
  net::Task<> destination_reached(std::string destination);

  bool backing_off(const std::string& destination) const;
  void forget_idle(const std::string& destination);
  void due_at(queue::WallTime at);
  void wake();
  ClientSettings client_settings(const conf::Config& config) const;

  net::Runtime& runtime_;
  queue::Store& store_;
  resolver::Resolver& resolver_;
  ConfigSource config_;
  std::function<std::vector<net::Address>()> own_addresses_;
  net::Scope scope_;
  queue::Schedule schedule_;
  std::unordered_map<std::string, Destination> destinations_;
  std::map<std::string, std::unique_ptr<Site>> sites_;
  std::multimap<const Site*, std::stop_source*> idlers_;
  std::map<Connection*, net::TimePoint> open_;  ///< since when; to be closed by abort()
  std::set<std::string> starved_;               ///< sites that wait for one of the connections in all
  std::size_t connections_ = 0;
  std::optional<queue::WallTime> next_due_;
  std::optional<std::uint64_t> resume_;
  std::stop_source wake_;
  bool woken_ = false;
  bool read_store_ = true;
  bool stopping_ = false;
  Stats stats_;
};

}  // namespace waypost::delivery
