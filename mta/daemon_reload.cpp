// mta/daemon_reload.cpp: the configuration while the daemon runs: it is read again all or nothing, and each one that
// was in force has its number.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/escape.h"
#include "base/event_log.h"
#include "base/text.h"
#include "conf/load.h"
#include "delivery/reply_rules.h"
#include "mta/daemon.h"
#include "mta/service_manager.h"
#include "mta/state_file.h"

namespace waypost::mta {
namespace {

/// The keys that a reload cannot change, of those that differ.
std::vector<std::string> needs_restart(const conf::Config& before, const conf::Config& after) {
  std::vector<std::string> keys;
  const auto differs = [&](const char* key, bool changed) {
    if (changed) keys.emplace_back(key);
  };
  differs("data_dir", before.data_dir != after.data_dir);
  differs("control_socket", before.control_socket != after.control_socket);
  differs("submit_socket", before.submit_socket != after.submit_socket);
  differs("user", before.user != after.user);
  differs("confine", before.confine != after.confine);
  differs("writable", before.writable != after.writable);
  differs("threads", before.threads != after.threads);
  differs("queue.inline_limit", before.queue.inline_limit != after.queue.inline_limit);
  differs("history.keep", before.history.keep != after.history.keep);
  differs("resolver", before.resolver.servers != after.resolver.servers ||
                          before.resolver.timeout != after.resolver.timeout ||
                          before.resolver.tries != after.resolver.tries);
  differs("listener", before.listeners != after.listeners);
  differs("admin.listen", before.admin != after.admin);
  return keys;
}

/// What a reload reads, and all that is wrong with it.
struct Reread {
  conf::Loaded loaded;
  std::shared_ptr<const Certificates> certificates;
  std::shared_ptr<const net::TlsClient> client;
};

/// What the daemon could not read or write, for want of what it gave up at its start. It did without what the
/// configuration in force names already, a folder that was missing then.
void check_confinement(conf::Loaded& fresh, const conf::Config& before, const Confinement& confinement) {
  conf::Config used = fresh.config;
  used.data_dir = before.data_dir;
  used.control_socket = before.control_socket;
  used.submit_socket = before.submit_socket;
  used.writable = before.writable;
  const std::vector<std::string> done_without = beyond(confinement, before);
  for (const std::string& path : beyond(confinement, used)) {
    conf::Finding finding;
    finding.file = before.file;
    finding.message = escape(path) + " is outside of the folders that the daemon confined itself to at its start";
    finding.hint = "restart it: waypostd(8), Confinement";
    const bool is_new = std::find(done_without.begin(), done_without.end(), path) == done_without.end();
    (is_new ? fresh.errors : fresh.warnings).push_back(std::move(finding));
  }
}

Reread reread(const conf::Config& before, const Confinement& confinement, net::WallTime now) {
  Reread fresh;
  fresh.loaded = conf::load(before.file);
  check_confinement(fresh.loaded, before, confinement);
  delivery::check_reply_rules(fresh.loaded);
  if (!fresh.loaded.errors.empty()) return fresh;
  LoadedCertificates read = load_certificates(fresh.loaded.config, now, Reader::reloading);
  fresh.certificates = std::move(read.certificates);
  fresh.client = std::move(read.client);
  fresh.loaded.errors = std::move(read.errors);
  for (conf::Finding& warning : read.warnings) fresh.loaded.warnings.push_back(std::move(warning));
  return fresh;
}

/// systemd knows of a reload from its beginning to its end, which is also that of one that is refused.
struct ReloadNotice {
  ReloadNotice() { notify_service_manager("RELOADING=1"); }
  ~ReloadNotice() { notify_service_manager("READY=1"); }
  ReloadNotice(const ReloadNotice&) = delete;
  ReloadNotice& operator=(const ReloadNotice&) = delete;
};

void keep_epochs(queue::Files& files, const ConfigEpochs& epochs) {
  const Result<> kept = replace_state(files, ConfigEpochs::kFile, epochs.text());
  if (!kept) log::warning("the configuration in force is not kept for config diff: " + kept.error().what);
}

}  // namespace

/// Among those that were in force before.
void Daemon::number_config() {
  const Result<std::string> text = read_state(*files_, ConfigEpochs::kFile);
  if (text) epochs_ = ConfigEpochs::parse(*text);
  if (!text && text.error().code != Errc::not_found)
    log::warning("configurations that were in force before: " + text.error().what);
  conf::Config config = *config_.get();
  config.epoch = epochs_.adopt(config.file, std::move(settings_), net::system_clock().wall_now());
  config_.set(std::move(config));
  keep_epochs(*files_, epochs_);
}

void Daemon::hang_up() {
  if (reloading_)
    reload_again_ = true;  // the file may have changed since it was read
  else
    scope_->spawn(reload_for_signal());
}

net::Task<> Daemon::reload_for_signal() {
  const Result<ReloadReport> report = co_await reload();
  if (!report) log::reload_failed(report.error().what);
}

void Daemon::reload_is_over() {
  reloading_ = false;
  if (std::exchange(reload_again_, false) && !stopping_) scope_->spawn(reload_for_signal());
}

net::Task<Result<ReloadReport>> Daemon::reload() {
  if (stopping_) co_return fail(Errc::cancelled, "the daemon is stopping");
  if (reloading_) co_return fail(Errc::busy, "another reload is under way");
  reloading_ = true;
  const ReloadNotice notice;
  net::LoopRuntime& main = *loops_.front().runtime;
  const std::shared_ptr<const conf::Config> before = config_.get();
  // Off the loop: it reads files, and may ask for the name of the machine.
  auto fresh = std::make_shared<Reread>();
  const auto read = [this, fresh, before, now = main.wall_now()] {
    *fresh = reread(*before, confinement_, now);
    const std::string& users = fresh->loaded.config.auth.users;
    if (fresh->loaded.errors.empty() && !users.empty()) authenticator_->look(users);
  };
  co_await main.offload(read);

  ReloadReport report;
  report.file = before->file;
  report.errors = fresh->loaded.errors;
  report.warnings = fresh->loaded.warnings;
  for (const conf::Finding& finding : report.warnings) log::config_warning(finding.text());
  reload_failed_ = !report.errors.empty();
  if (reload_failed_) {
    for (const conf::Finding& finding : report.errors) log::config_error(finding.text());
    log::reload_failed(before->file + " has " + std::to_string(report.errors.size()) + " errors");
    reload_is_over();
    co_return report;
  }
  report.restart = needs_restart(*before, fresh->loaded.config);
  if (!report.restart.empty()) log::warning("these take effect after a restart only: " + join(report.restart, ", "));
  if (const Result<> opened = log::open(log_options(fresh->loaded.config)); !opened) log::failure(opened.error().what);
  fresh->loaded.config.epoch = epochs_.adopt(before->file, std::move(fresh->loaded.settings), main.wall_now());
  config_.set(within_descriptors(std::move(fresh->loaded.config)));
  // Listeners that were opened for TLS stay so until a restart: they keep what they have.
  if (fresh->certificates) certificates_.set(std::move(fresh->certificates));
  certificates_.set_client(std::move(fresh->client));
  config_loaded_ = main.wall_now();
  log::reloaded(before->file);
  relay_->reconfigured();
  // It has taken effect, whether this can be written or not.
  auto epochs = std::make_shared<ConfigEpochs>(epochs_);
  const auto keep = [this, epochs] { keep_epochs(*files_, *epochs); };
  co_await main.offload(keep);
  reload_is_over();
  co_return report;
}

}  // namespace waypost::mta
