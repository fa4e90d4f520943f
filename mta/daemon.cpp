#include "mta/daemon.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <utility>

#include <sysexits.h>
#include <unistd.h>

#include "base/event_log.h"
#include "base/text.h"
#include "base/thread_name.h"
#include "mta/client.h"
#include "mta/interfaces.h"
#include "mta/maildrop.h"
#include "mta/privileges.h"
#include "mta/service_manager.h"
#include "mta/state_file.h"
#include "queue/disk_space.h"
#include "queue/lock.h"
#include "resolver/ares_resolver.h"
#include "resolver/cache.h"

namespace waypost::mta {
namespace {

using namespace std::chrono_literals;

// Files, sockets of the resolver, the store, connections of the control socket and the admin address: never for
// clients.
constexpr std::size_t kReservedDescriptors =
    92 + Control::kMaxConnections + Admin::kMaxConnections + Daemon::kProbesAtOnce * delivery::kMostProbed;

constexpr net::Duration kKeepRates = 10s;
constexpr const char* kRatesFile = "rates";
constexpr const char* kDropGroup = "waypost-drop";  // of the helper program that sendmail(1) runs
constexpr const char* kSecretFile = "secret";

int exit_code(const Error& error) {
  switch (error.code) {
    case Errc::busy:
      return EX_CANTCREAT;
    case Errc::denied:
      return EX_NOPERM;
    case Errc::unsupported:
      return EX_CONFIG;
    case Errc::full:
      return EX_TEMPFAIL;
    default:
      return EX_IOERR;
  }
}

int socket_exit_code(const Error& error) {
  if (error.code == Errc::invalid) return EX_CONFIG;
  return error.code == Errc::denied ? EX_NOPERM : EX_CANTCREAT;
}

/// The one of `passed` that listens on `address`, which is no longer among them then; or null.
std::shared_ptr<net::ListenSocket> take_passed(std::vector<std::shared_ptr<net::ListenSocket>>& passed,
                                               const net::Address& address) {
  const auto is_it = [&](const std::shared_ptr<net::ListenSocket>& socket) { return socket->local() == address; };
  const auto found = std::find_if(passed.begin(), passed.end(), is_it);
  if (found == passed.end()) return nullptr;
  std::shared_ptr<net::ListenSocket> socket = std::move(*found);
  passed.erase(found);
  return socket;
}

}  // namespace

Daemon::Daemon(conf::Loaded loaded) : config_(std::move(loaded.config)), settings_(std::move(loaded.settings)) {}

Daemon::~Daemon() = default;

int Daemon::run() {
  if (const int failed = open(); failed != 0) return failed;
  begin();
  loops_.front().runtime->run();
  for (Loop& loop : loops_) {
    if (loop.thread.joinable()) loop.thread.join();
  }
  // Loops first, then what they stand on. The threads of control socket and admin address wait for no loop any more:
  // wind_down() saw to it.
  admin_.reset();
  control_.reset();
  api_.reset();
  backend_.reset();
  relay_.reset();
  passwords_.reset();
  authenticator_.reset();
  resolver_.reset();
  scope_.reset();
  queue_.reset();
  history_.reset();
  ports_.clear();
  loops_.clear();
  log::stopped();
  log::flush();
  return EX_OK;
}

int Daemon::open() {
  const std::shared_ptr<const conf::Config> config = config_.get();
  // A file is made by the user who has to open it again.
  log::Options log = log_options(*config);
  if (geteuid() == 0 && !config->user.empty() && log::is_file(log.target)) log.target = "stderr";
  if (const Result<> opened = log::open(log); !opened) {
    log::failure(opened.error().what);
    return EX_CANTCREAT;
  }
  log::starting(WAYPOST_VERSION, config->file);
  const std::size_t descriptors = raise_descriptor_limit();
  ceiling_ = connection_ceiling(descriptors, kReservedDescriptors);
  limits_ = std::make_unique<Limits>(ceiling_);
  config_.set(within_descriptors(*config));
  make_loops();
  if (const int failed = listen(); failed != 0) return failed;
  if (const int failed = open_admin(); failed != 0) return failed;
  if (const int failed = read_certificates(); failed != 0) return failed;
  const std::string socket_folder = config->control_socket.substr(0, config->control_socket.rfind('/'));
  const std::string& submit_socket = config->submit_socket.empty() ? config->control_socket : config->submit_socket;
  const std::string submit_folder = submit_socket.substr(0, submit_socket.rfind('/'));
  for (const Result<>& made :
       {make_folder_for(config->data_dir, 0710, config->user), make_folder_for(socket_folder, 0755, config->user),
        make_folder_for(submit_folder, 0755, config->user),
        make_folder_for(config->data_dir + "/maildrop", 01730, config->user, kDropGroup)}) {
    if (made) continue;
    log::failure(made.error().what);
    return exit_code(made.error());
  }
  Result<Confinement> confined = confine(*config);
  if (!confined) {
    log::failure(confined.error().what);
    return confined.error().code == Errc::not_found ? EX_CONFIG : exit_code(confined.error());
  }
  confinement_ = *std::move(confined);
  open_log_again(log);
  log::confined(text_of(confinement_));
  if (const int failed = open_queue(); failed != 0) return failed;
  number_config();
  if (const int failed = open_submit_socket(); failed != 0) return failed;
  return open_control();
}

log::Options Daemon::log_options(const conf::Config& config) {
  log::Options options;
  options.target = config.log.target;
  options.json = config.log.json;
  options.name = config.log.syslog_name;
  options.hostname = config.hostname;
  options.level = log::parse_level(config.log.level).value_or(options.level);
  return options;
}

/// The thread that writes it is to be confined, too. Where its file is closed to us now, the `first` log goes on: mail
/// matters more.
void Daemon::open_log_again(const log::Options& first) {
  const Result<> opened = log::open(log_options(*config_.get()));
  if (opened) return;
  if (!log::is_file(first.target)) (void)log::open(first);
  log::warning(opened.error().what + ": the log stays " +
               (log::is_file(first.target) ? "as it was opened at the start" : "on stderr"));
}

/// Delivery has as many connections as clients may have: each side leaves the other its descriptors (RELIABILITY F44).
conf::Config Daemon::within_descriptors(conf::Config config) const {
  const int most = static_cast<int>(std::min<std::size_t>(ceiling_, std::numeric_limits<int>::max()));
  if (config.delivery.connections > most) {
    log::warning("the limit of open files allows " + std::to_string(most) + " connections out, not the " +
                 std::to_string(config.delivery.connections) + " of delivery.connections");
    config.delivery.connections = most;
  }
  return config;
}

void Daemon::make_loops() {
  const unsigned wanted = config_.get()->threads;
  const unsigned threads = wanted != 0 ? wanted : std::max(1U, std::thread::hardware_concurrency());
  for (unsigned i = 0; i < threads; ++i) {
    Loop loop;
    loop.runtime = net::LoopRuntime::create();
    loops_.push_back(std::move(loop));
  }
}

/// What a service manager holds for us, so that no connection is refused while we are started anew.
std::vector<std::shared_ptr<net::ListenSocket>> Daemon::passed_sockets() {
  std::vector<std::shared_ptr<net::ListenSocket>> passed;
  for (const int descriptor : passed_descriptors()) {
    Result<std::shared_ptr<net::ListenSocket>> socket = loops_.front().runtime->adopt(descriptor);
    if (socket)
      passed.push_back(*std::move(socket));
    else
      log::warning("of the service manager: " + socket.error().what);
  }
  return passed;
}

int Daemon::listen() {
  std::vector<std::shared_ptr<net::ListenSocket>> passed = passed_sockets();
  for (const conf::Listener& listener : config_.get()->listeners) {
    const std::optional<net::Address> address = net::Address::parse(listener.address.host, listener.address.port);
    if (!address) {
      log::failure("listener " + listener.address.text() + ": not a numeric address");
      return EX_CONFIG;
    }
    if (std::shared_ptr<net::ListenSocket> socket = take_passed(passed, *address)) {
      ports_.push_back(Port{std::move(socket), listener});
      continue;
    }
    Result<std::shared_ptr<net::ListenSocket>> socket = loops_.front().runtime->listen(*address);
    if (!socket) {
      const bool is_denied = socket.error().code == Errc::denied;
      log::failure(socket.error().what + (is_denied ? "; under systemd waypost.socket has to name it, too" : ""));
      return is_denied ? EX_NOPERM : EX_UNAVAILABLE;
    }
    ports_.push_back(Port{*socket, listener});
  }
  for (const std::shared_ptr<net::ListenSocket>& socket : passed)
    log::warning("the service manager holds " + socket->local().text() +
                 ", but no [[listener]] has this address: " + "who connects there gets no answer");
  return 0;
}

int Daemon::open_admin() {
  const std::optional<conf::HostPort>& where = config_.get()->admin.listen;
  if (!where) return 0;
  const std::optional<net::Address> address = net::Address::parse(where->host, where->port);
  if (!address) {
    log::failure("admin.listen " + where->text() + ": not a numeric address");
    return EX_CONFIG;
  }
  Result<std::shared_ptr<net::ListenSocket>> socket = loops_.front().runtime->listen(*address);
  if (!socket) {
    log::failure("admin.listen: " + socket.error().what);
    return socket.error().code == Errc::denied ? EX_NOPERM : EX_UNAVAILABLE;
  }
  admin_ = std::make_unique<Admin>(*std::move(socket));
  return 0;
}

/// While we are root, if we are: nobody else need be able to read a key.
int Daemon::read_certificates() {
  LoadedCertificates loaded = load_certificates(*config_.get(), net::system_clock().wall_now(), Reader::starting);
  for (const conf::Finding& finding : loaded.warnings) log::config_warning(finding.text());
  for (const conf::Finding& finding : loaded.errors) log::config_error(finding.text());
  if (!loaded.errors.empty()) return EX_CONFIG;
  certificates_.set(std::move(loaded.certificates));
  certificates_.set_client(std::move(loaded.client));
  return 0;
}

int Daemon::open_queue() {
  Result<std::unique_ptr<queue::Files>> files = queue::open_files(config_.get()->data_dir);
  Result<> opened;
  if (files) {
    files_ = std::move(*files);
    opened = open_databases();
    // What was accepted must be able to leave, whoever filled the disk while we were down (RELIABILITY F9).
    const bool is_full = !opened && opened.error().code == Errc::full;
    if (is_full && queue::DiskSpace(*files_).give_up_ballast()) opened = open_databases();
  } else {
    opened = fail(files.error());
  }
  if (opened) return 0;
  const bool is_damaged = opened.error().code == Errc::damaged;
  log::failure(opened.error().what + (is_damaged ? "; " + damage_advice(config_.get()->file) : ""));
  return exit_code(opened.error());
}

Result<> Daemon::open_databases() {
  const std::shared_ptr<const conf::Config> config = config_.get();
  history_.reset();  // of the first try: it holds its file
  {
    // The queue takes this lock for good. Asked for first, it tells a second daemon whom that has met, where the
    // history would tell of a locked file.
    const Result<queue::FolderLock> lock = queue::FolderLock::exclusive(config->data_dir);
    if (!lock) return fail(lock.error());
  }
  Result<std::unique_ptr<queue::History>> history =
      queue::open_history(config->data_dir + "/history.db", config->history.keep);
  if (!history && history.error().code == Errc::damaged) {
    // It tells of mail; that mail goes on matters more.
    log::failure(history.error().what + ": history.db is kept as history.db.damaged, and a new one begins");
    for (const char* of : {"", "-wal"}) {
      const std::string name = std::string("history.db") + of;
      const Result<> moved = files_->rename(name, "history.db.damaged" + std::string(of));
      (void)moved;  // without a WAL there is none to move; if the file stays, opening it fails again
    }
    history = queue::open_history(config->data_dir + "/history.db", config->history.keep);
  }
  if (!history) return fail(history.error());
  history_ = std::move(*history);
  queue::StoreOptions options;
  options.data_dir = config->data_dir;
  options.inline_limit = config->queue.inline_limit;
  Result<std::unique_ptr<queue::SqliteQueue>> queue = queue::SqliteQueue::open(options, *files_, *history_);
  if (!queue) return fail(queue.error());
  queue_ = std::move(*queue);
  return {};
}

/// After the queue's lock, which keeps a second daemon away with a better message.
int Daemon::open_control() {
  Result<std::unique_ptr<Control>> control = Control::open(config_.get()->control_socket);
  if (!control) {
    log::failure(control.error().what);
    return socket_exit_code(control.error());
  }
  control_ = std::move(*control);
  return 0;
}

/// Where programs of this machine submit: a port like the others.
int Daemon::open_submit_socket() {
  const std::string path = config_.get()->submit_socket;
  if (path.empty()) return 0;
  Result<std::shared_ptr<net::ListenSocket>> socket = loops_.front().runtime->listen(net::Address::local(path));
  if (!socket) {
    log::failure(socket.error().what);
    return socket_exit_code(socket.error());
  }
  submit_port_ = Port{*std::move(socket), local_listener()};
  return 0;
}

std::unique_ptr<resolver::Resolver> Daemon::make_resolver(net::LoopRuntime& loop) const {
  Result<std::unique_ptr<resolver::Resolver>> ares = resolver::make_ares_resolver(loop, config_.get()->resolver);
  if (!ares) {
    log::failure("resolver: " + ares.error().what);
    log::flush();
    std::_Exit(EX_OSERR);
  }
  return resolver::make_cache(std::move(*ares), loop, resolver::CacheOptions{});
}

/// Everything is open: mail begins to flow.
void Daemon::begin() {
  net::LoopRuntime& main = *loops_.front().runtime;
  started_ = config_loaded_ = main.wall_now();
  const auto on_exception = [](std::string_view what) { log::failure("an exception: " + std::string(what)); };
  scope_ = std::make_unique<net::Scope>(main, on_exception);

  resolver_ = make_resolver(main);
  for (Loop& loop : loops_) loop.resolver = make_resolver(*loop.runtime);
  passwords_ = std::make_unique<PasswordPool>();
  authenticator_ = std::make_unique<Authenticator>(
      [this](std::function<void()> work) { return passwords_->submit(std::move(work)); }, secret());
  if (const std::string& users = config_.get()->auth.users; !users.empty()) authenticator_->look(users);
  const Result<std::string> counts = read_state(*files_, kRatesFile);
  if (counts) rates_.restore(*counts);
  if (!counts && counts.error().code != Errc::not_found) log::warning("rates begin anew: " + counts.error().what);
  std::vector<net::Runtime*> loops;
  std::vector<resolver::Resolver*> resolvers;
  for (const Loop& loop : loops_) loops.push_back(loop.runtime.get());
  for (const Loop& loop : loops_) resolvers.push_back(loop.resolver.get());
  const auto failed = [](const Error& error) {
    // What was not answered with 250 is not ours; what was is on disk. Recovery begins with the next start (RELIABILITY
    // F12).
    log::failure("the queue cannot be written, ending: " + error.what);
    log::flush();
    std::_Exit(EX_IOERR);
  };
  relay_.reset(
      new Relay({std::move(loops), *queue_, *resolver_, std::move(resolvers), *limits_,
                 [this] { return config_.get(); }, [this] { return own_addresses(); }, queue::open_folder, failed,
                 [this](conf::Role role) { return certificates_.get(role); }, [this] { return certificates_.client(); },
                 authenticator_.get(), &rates_, drop_folders(*config_.get())}));
  std::vector<Port> ports = ports_;
  if (submit_port_) ports.push_back(*submit_port_);
  relay_->start(ports);
  scope_->spawn(keep_rates());
  scope_->spawn(keep_lately());
  if (const std::optional<net::Duration> interval = watchdog_interval()) scope_->spawn(keep_watchdog(*interval));

  std::vector<std::string> listening;
  for (const Port& port : ports_) listening.push_back(port.socket->local().text());
  on_signals();
  start_control();
  for (std::size_t i = 1; i < loops_.size(); ++i) {
    loops_[i].thread = std::thread([runtime = loops_[i].runtime.get()] {
      name_thread("loop");
      runtime->run();
    });
  }
  log::ready(join(listening, ", "));
  notify_service_manager("READY=1");
}

/// Of decoys, which would tell who is nobody if they changed with each start.
std::string Daemon::secret() {
  const Result<std::string> kept = read_state(*files_, kSecretFile);
  if (kept && !kept->empty()) return *kept;
  if (!kept && kept.error().code != Errc::not_found)
    log::warning("the secret of logins is made anew: " + kept.error().what);
  std::string made = Authenticator::new_secret();
  const Result<> saved = replace_state(*files_, kSecretFile, made);
  if (!saved) log::warning("the secret of logins is not kept for the next start: " + saved.error().what);
  return made;
}

/// What a crash may cost of what was counted: kKeepRates of it.
net::Task<> Daemon::keep_rates() {
  net::Runtime& main = *loops_.front().runtime;
  bool failing = false;
  bool goes_on = true;
  while (goes_on) {
    goes_on = co_await main.sleep_for(kKeepRates, scope_->stop_token());
    std::optional<std::string> text = rates_.changed_text();
    if (!text) continue;
    auto saved = std::make_shared<Result<>>();
    const auto save = [this, saved, all = *std::move(text)] { *saved = replace_state(*files_, kRatesFile, all); };
    co_await main.offload(save);
    if (!*saved) rates_.mark_changed();
    if (!*saved && !failing) log::warning("rates are not kept for the next start: " + saved->error().what);
    failing = !*saved;
  }
}

/// Not of the storage thread: a disk that is slow is no reason to be killed.
net::Task<> Daemon::keep_watchdog(net::Duration interval) {
  net::Runtime& main = *loops_.front().runtime;
  bool goes_on = true;
  while (goes_on) {
    goes_on = co_await main.sleep_for(interval, scope_->stop_token());
    pass_watchdog(1);
  }
}

/// From loop to loop: the service manager is told after the last one, hence while all of them turn.
void Daemon::pass_watchdog(std::size_t next) {
  if (next == loops_.size()) return notify_service_manager("WATCHDOG=1");
  loops_[next].runtime->post([this, next] { pass_watchdog(next + 1); });
}

void Daemon::on_signals() {
  net::LoopRuntime& main = *loops_.front().runtime;
  const auto on = [&main](int signal, std::function<void()> handler) {
    const Result<> set = main.on_signal(signal, std::move(handler));
    if (!set) log::failure("signals: " + set.error().what);
  };
  on(SIGTERM, [this] { stop("SIGTERM"); });
  on(SIGINT, [this] { stop("SIGINT"); });
  on(SIGHUP, [this] { hang_up(); });
}

void Daemon::stop(const std::string& why) {
  if (stopping_) {
    // A second signal: no more patience. What was accepted is on disk.
    log::stopping(why + " again: at once");
    relay_->abort();
    log::flush();
    std::_Exit(EX_OK);
  }
  stopping_ = true;
  log::stopping(why);
  notify_service_manager("STOPPING=1");
  scope_->spawn(wind_down());
}

net::Task<> Daemon::wind_down() {
  net::Runtime& main = *loops_.front().runtime;
  // The tool finds the socket gone; its requests under way are answered, or told that the daemon stops.
  control_->unlink();
  submit_port_.reset();
  backend_->stop();
  const bool ended = co_await relay_->wind_down();
  if (!ended) cut_off();
  scope_->stop();
  const net::TimePoint until = main.now() + Relay::kGrace;
  // This task is one of the scope's; the others are a reload, or what an administrator asked.
  while (scope_->running() > 1) {
    if (main.now() > until) cut_off();
    co_await main.sleep_for(20ms, std::stop_token());
  }
  resolver_->stop();
  for (const Loop& loop : loops_) loop.runtime->stop();  // their resolvers were stopped with their sessions
}

void Daemon::cut_off() {
  log::warning("some sessions did not end in time and are cut off");
  log::flush();
  std::_Exit(EX_OK);
}

std::vector<net::Address> Daemon::own_addresses() const {
  std::vector<net::Address> own;
  for (const Port& port : ports_) {
    const net::Address& address = port.socket->local();
    if (!address.is_wildcard()) {
      own.push_back(address);
      continue;
    }
    for (net::Address one : interface_addresses()) {
      if (one.family != address.family) continue;
      one.port = address.port;
      own.push_back(one);
    }
  }
  return own;
}

}  // namespace waypost::mta
