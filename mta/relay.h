// mta/relay.h: the relay between its sockets and its queue: inbound servers on every loop, delivery on the first.
#pragma once
#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "conf/config.h"
#include "delivery/dispatcher.h"
#include "mta/limits.h"
#include "mta/maildrop.h"
#include "mta/recipient_asker.h"
#include "mta/recipient_cache.h"
#include "mta/server.h"
#include "net/runtime.h"
#include "net/scope.h"
#include "queue/sqlite_store.h"
#include "resolver/resolver.h"

namespace waypost::mta {

/// What it stands on, opened by others; all of it outlives the relay.
struct RelayParts {
  std::vector<net::Runtime*> loops;  ///< not running yet, or all of them on this thread
  queue::SqliteQueue& queue;
  resolver::Resolver& resolver;  ///< of the first loop, for delivery
  /// One for the sessions of each loop, stopped with them: what strangers make us ask delays no delivery. None: nothing
  /// is asked.
  std::vector<resolver::Resolver*> resolvers;
  Limits& limits;
  std::function<std::shared_ptr<const conf::Config>()> config;  ///< any thread
  std::function<std::vector<net::Address>()> own_addresses;     ///< any thread
  queue::OpenFolder open_folder;                                ///< for Maildirs
  /// The queue cannot be written any more (RELIABILITY F12). On the storage thread; nothing is accepted after it.
  std::function<void(const Error&)> failed;
  std::function<std::shared_ptr<const net::TlsServer>(conf::Role)> tls = nullptr;  ///< any thread; null: no TLS
  delivery::TlsSource tls_client = nullptr;    ///< any thread; null: no TLS on the way out
  Authenticator* auth = nullptr;               ///< any thread; null: nobody can log in
  Rates* rates = nullptr;                      ///< any thread; null: none are kept
  std::vector<std::string> drop_folders = {};  ///< whose maildrop/ is looked into
};

/// Made and destroyed while no loop runs, used on the first loop.
class Relay {
 public:
  static constexpr net::Duration kGrace = std::chrono::seconds(20);  ///< after a stop: deliveries under way may end
  static constexpr net::Duration kAbort = std::chrono::seconds(5);   ///< then their connections are closed; to unwind

  explicit Relay(RelayParts parts);
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;
  ~Relay();  ///< after wind_down(), or when its loops will never run again

  /// Delivery begins, and connections are taken from the ports on every loop. A port that cannot be served is logged.
  void start(const std::vector<Port>& ports);
  /// The configuration was replaced.
  void reconfigured() { dispatcher_.reconfigured(); }
  /// No new work; what is under way may end for a while; then connections are closed. False: some of it did not end.
  net::Task<bool> wind_down();
  /// Outbound connections are closed now.
  void abort() { dispatcher_.abort(); }

  queue::Store& store() { return *sides_.front()->store; }    ///< of the first loop
  delivery::Dispatcher& dispatcher() { return dispatcher_; }  ///< on the first loop
  delivery::Dispatcher::Stats stats() const { return dispatcher_.stats(); }
  /// Files of the drop folder that could not be taken. Any thread.
  std::uint64_t corrupt_drops() const {
    std::uint64_t all = 0;
    for (const auto& maildrop : maildrops_) all += maildrop->corrupt();
    return all;
  }

 private:
  /// The inbound side of one loop.
  struct Side {
    Side(std::size_t loop, const RelayParts& parts, RecipientCache& recipients, const std::atomic<bool>& accepting);
    net::Runtime& runtime;
    std::unique_ptr<queue::Store> store;
    RecipientAsker asker;
    ServerContext context;
    Server server;
    net::Scope scope;
  };
  std::vector<std::unique_ptr<Side>> make_sides();
  net::Task<> drain(Side& side);

  RelayParts parts_;
  std::shared_ptr<std::atomic<bool>> accepting_ = std::make_shared<std::atomic<bool>>(true);
  RecipientCache recipients_;  ///< what next hops said of them
  std::vector<std::unique_ptr<Side>> sides_;
  std::vector<std::unique_ptr<Maildrop>> maildrops_;  ///< on the first loop
  delivery::Dispatcher dispatcher_;
  std::size_t draining_ = 0;  ///< sides whose sessions have not ended yet
};

}  // namespace waypost::mta
