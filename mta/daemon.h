// mta/daemon.h: the process: everything made, wired together, run, reloaded and stopped. Main thread.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/event_log.h"
#include "conf/config.h"
#include "mta/admin.h"
#include "mta/authenticator.h"
#include "mta/certificates.h"
#include "mta/config_holder.h"
#include "mta/confinement.h"
#include "mta/control.h"
#include "mta/control_api.h"
#include "mta/lately.h"
#include "mta/limits.h"
#include "mta/live_backend.h"
#include "mta/password_pool.h"
#include "mta/rates.h"
#include "mta/relay.h"
#include "net/loop.h"
#include "net/scope.h"
#include "queue/history.h"
#include "queue/sqlite_store.h"
#include "resolver/resolver.h"

namespace waypost::mta {

/// Exit codes are sysexits: 0, 64 usage, 69, 71 system, 73 the queue is in use, 74 the disk, 77, 78 configuration.
class Daemon {
 public:
  /// Each has one of the control socket's workers (HttpServer::Limits) for a minute or two.
  static constexpr std::size_t kProbesAtOnce = 2;

  explicit Daemon(conf::Loaded loaded);
  ~Daemon();

  /// Binds, becomes the unprivileged user, opens the queue, and runs until it is told to stop. Returns the exit code.
  int run();

 private:
  /// The first one is the main thread's.
  struct Loop {
    std::unique_ptr<net::LoopRuntime> runtime;
    std::unique_ptr<resolver::Resolver> resolver = nullptr;  ///< of its sessions
    std::thread thread;                                      ///< not of the first
  };

  int open();
  void open_log_again(const log::Options& first);
  int listen();
  int open_admin();
  std::vector<std::shared_ptr<net::ListenSocket>> passed_sockets();
  int read_certificates();
  int open_queue();
  Result<> open_databases();
  conf::Config within_descriptors(conf::Config config) const;
  int open_control();
  int open_submit_socket();
  void make_loops();
  void begin();
  void on_signals();
  std::unique_ptr<resolver::Resolver> make_resolver(net::LoopRuntime& loop) const;
  net::Task<> keep_rates();
  net::Task<> keep_watchdog(net::Duration interval);
  void pass_watchdog(std::size_t next);
  std::string secret();
  void stop(const std::string& why);
  net::Task<> wind_down();
  [[noreturn]] void cut_off();
  std::vector<net::Address> own_addresses() const;
  static log::Options log_options(const conf::Config& config);

  // daemon_control.cpp
  void start_control();
  net::Task<Result<delivery::ByHand>> by_hand(delivery::HandOrder order);
  net::Task<Result<delivery::Probe>> probe(std::string destination, std::stop_token stop);
  net::Task<Result<queue::BackupReport>> back_up(net::Runtime& main, std::string folder, std::stop_token stop,
                                                 queue::Watched progress);
  DaemonFacts facts() const;
  net::Task<> keep_lately();
  net::Task<Result<Measures>> measures();

  // daemon_reload.cpp
  void number_config();
  void hang_up();
  net::Task<> reload_for_signal();
  /// Errors: busy (one is under way), cancelled (the daemon stops).
  net::Task<Result<ReloadReport>> reload();
  void reload_is_over();

  ConfigHolder config_;
  Confinement confinement_;  ///< since open()
  CertificateHolder certificates_;
  std::size_t ceiling_ = 0;  ///< of connections in each direction
  std::unique_ptr<Limits> limits_;
  std::unique_ptr<queue::Files> files_;
  std::unique_ptr<queue::History> history_;
  std::unique_ptr<queue::SqliteQueue> queue_;
  std::vector<Loop> loops_;
  std::vector<Port> ports_;
  std::optional<Port> submit_port_;  ///< until the daemon stops: then programs find no socket
  std::unique_ptr<Authenticator> authenticator_;
  std::unique_ptr<resolver::Resolver> resolver_;  ///< of the delivery, on the main loop
  Rates rates_;
  LatelyNotes lately_;                       ///< of the main loop
  std::unique_ptr<PasswordPool> passwords_;  ///< does the authenticator's work
  std::unique_ptr<Relay> relay_;
  std::unique_ptr<net::Scope> scope_;  ///< of the main loop
  std::unique_ptr<LiveBackend> backend_;
  std::unique_ptr<ControlApi> api_;
  std::unique_ptr<Control> control_;
  std::unique_ptr<Admin> admin_;  ///< where admin.listen names an address
  net::WallTime started_, config_loaded_;
  std::vector<conf::Setting> settings_;  ///< of what was loaded, until it has its number
  ConfigEpochs epochs_;                  ///< of the main loop
  std::size_t probes_ = 0;               ///< under way
  bool reload_failed_ = false;
  bool reloading_ = false;
  bool reload_again_ = false;  ///< a SIGHUP came while the file was being read
  bool stopping_ = false;
};

}  // namespace waypost::mta
