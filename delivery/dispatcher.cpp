#include "delivery/dispatcher.h"

#include <algorithm>
#include <utility>

#include "base/event_log.h"
#include "delivery/route.h"
#include "queue/retry.h"
#include "smtp/address.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;

constexpr net::Duration kIdle = 5s;           // a connection is kept so long for the next message
constexpr net::Duration kLongestSleep = 60s;  // the wall clock may jump: look again
constexpr net::Duration kSweep = 1s;
constexpr std::size_t kSweepLimit = 200;
constexpr auto kNoUsableExchanger = 24h;  // PROTOCOL, "MX exists, none usable": deferred for a day, then 5.4.4
constexpr std::size_t kMaxIdleDestinations = 50'000;

HostFailure trouble_with(std::string status, std::string reason) {
  HostFailure failure;
  failure.status = std::move(status);
  failure.reason = std::move(reason);
  return failure;
}

}  // namespace

Dispatcher::Dispatcher(net::Runtime& runtime, queue::Store& store, resolver::Resolver& resolver, ConfigSource config,
                       std::function<std::vector<net::Address>()> own_addresses)
    : runtime_(runtime),
      store_(store),
      resolver_(resolver),
      config_(std::move(config)),
      own_addresses_(std::move(own_addresses)),
      scope_(runtime, [](std::string_view what) { log::failure("delivery: an exception: " + std::string(what)); }),
      schedule_(queue::Schedule::Limits{}) {}

Dispatcher::~Dispatcher() = default;

void Dispatcher::start() {
  scope_.spawn(run());
  scope_.spawn(sweep());
}

void Dispatcher::stop() {
  stopping_ = true;
  scope_.stop();
  wake();
  for (const auto& [site, idler] : idlers_) idler->request_stop();
}

void Dispatcher::abort() {
  for (const auto& [connection, since] : open_) connection->close();
}

Dispatcher::Stats Dispatcher::stats() const {
  Stats stats = stats_;
  stats.connections = connections_;
  stats.sites = sites_.size();
  stats.held = schedule_.held();
  return stats;
}

// --- the window ---

void Dispatcher::wake() {
  woken_ = true;
  wake_.request_stop();
}

void Dispatcher::due_at(queue::WallTime at) {
  if (next_due_ && *next_due_ <= at) return;
  next_due_ = at;
  wake();
}

void Dispatcher::arrived(std::vector<queue::Due> due) {
  if (stopping_) return;
  for (queue::Due& one : due) {
    const std::string destination = one.destination;
    if (backing_off(destination)) continue;  // it is in the store, and the destination has its time
    if (schedule_.add(std::move(one))) begin(destination);
  }
}

void Dispatcher::changed() {
  schedule_.drop_waiting();
  for (auto& [name, destination] : destinations_) destination.state.next_attempt = {};
  read_store_ = true;
  resume_.reset();
  wake();
}

void Dispatcher::reconfigured() {
  for (auto& [name, destination] : destinations_) destination.valid_until = {};
  changed();
}

/// Reads the store when something is due or there is room again; otherwise arrivals come by themselves.
net::Task<> Dispatcher::run() {
  while (!stopping_) {
    if (next_due_ && *next_due_ <= runtime_.wall_now()) read_store_ = true;
    if (read_store_ || (resume_ && schedule_.has_room()) || schedule_.wants_more()) {
      co_await refill();
      continue;
    }
    net::Duration wait = kLongestSleep;
    if (next_due_) wait = std::min(wait, *next_due_ - runtime_.wall_now() + 1ms);
    if (!woken_) {
      wake_ = std::stop_source();
      co_await runtime_.sleep_until(runtime_.now() + wait, wake_.get_token());
    }
    woken_ = false;
  }
}

net::Task<> Dispatcher::refill() {
  queue::DueQuery query;
  query.now = runtime_.wall_now();
  query.limit = schedule_.limits().recipients - std::min(schedule_.held(), schedule_.limits().recipients);
  query.per_destination = schedule_.limits().per_destination;
  query.held_by_caller = schedule_.held_by_destination();
  query.resume = resume_;
  if (!resume_) {
    // A whole round begins: what it meets later tells anew when something is due.
    next_due_.reset();
    read_store_ = false;
    schedule_.read_again();
  }
  Result<queue::DuePage> page = co_await store_.due(std::move(query));
  if (!page) {
    if (stopping_) co_return;
    log::failure("reading what is due: " + page.error().what);
    due_at(runtime_.wall_now() + 5s);
    resume_.reset();
    co_await runtime_.sleep_for(1s, scope_.stop_token());
    co_return;
  }
  take_page(std::move(*page));
}

void Dispatcher::take_page(queue::DuePage page) {
  for (queue::DestinationState& state : page.destinations) {
    Destination& destination = destinations_[state.name];
    // A worker may have learnt more since the page was read.
    if (destination.state.next_attempt <= runtime_.wall_now()) destination.state = std::move(state);
  }
  if (page.next_due) due_at(*page.next_due);
  std::unordered_map<std::string, std::size_t> read;
  for (queue::Due& due : page.due) {
    const std::string destination = due.destination;
    read[destination] += due.recipients.size();
    if (backing_off(destination)) continue;
    schedule_.add(std::move(due));
  }
  for (const auto& [destination, recipients] : read) {
    if (backing_off(destination)) continue;
    if (recipients >= schedule_.limits().per_destination) schedule_.set_more(destination);
    begin(destination);
  }
  resume_ = page.resume;
}

bool Dispatcher::backing_off(const std::string& destination) const {
  const auto found = destinations_.find(destination);
  return found != destinations_.end() && found->second.state.failures > 0 &&
         found->second.state.next_attempt > runtime_.wall_now();
}

void Dispatcher::forget_idle(const std::string& destination) {
  if (schedule_.wants_more()) wake();
  const auto found = destinations_.find(destination);
  if (found == destinations_.end() || found->second.planning || schedule_.waiting(destination) > 0) return;
  if (found->second.state.failures > 0 && destinations_.size() < kMaxIdleDestinations) return;
  if (found->second.valid_until > runtime_.now() && sites_.contains(found->second.site)) return;
  destinations_.erase(found);
}

// --- from a destination to its site ---

void Dispatcher::begin(const std::string& name) {
  if (stopping_ || schedule_.waiting(name) == 0) return;
  Destination& destination = destinations_[name];
  if (destination.planning) return;
  const auto site = sites_.find(destination.site);
  if (site != sites_.end() && destination.valid_until > runtime_.now()) {
    site->second->add_turn(name);
    pump(destination.site);
    return;
  }
  destination.planning = true;
  scope_.spawn(plan(name));
}

net::Task<> Dispatcher::plan(std::string name) {
  net::TimePoint valid_until = runtime_.now() + kLongestSleep;
  HostFailure trouble;
  Destination& entry = destinations_[name];  // stays while `planning` is set
  Plan plan = co_await find_plan(name, entry, valid_until, trouble);
  entry.planning = false;
  if (stopping_) co_return;
  if (plan.key.empty()) {
    co_await fail_destination(name, trouble);
    co_return;
  }
  const std::shared_ptr<const conf::Config> config = config_();
  std::string key = plan.key;
  std::unique_ptr<Site>& site = sites_[key];
  if (site) {
    site->update(std::move(plan), config->delivery.concurrency);
  } else {
    site = std::make_unique<Site>(std::move(plan), config->delivery.concurrency);
  }
  // After failures one connection asks whether the hosts are back.
  if (entry.state.failures > 0) site->all_failed();
  entry.site = key;
  entry.valid_until = valid_until;
  site->add_turn(name);
  pump(key);
}

/// A plan, or one without a key and why there is none for now.
net::Task<Plan> Dispatcher::find_plan(std::string name, Destination& entry, net::TimePoint& valid_until,
                                      HostFailure& trouble) {
  const std::shared_ptr<const conf::Config> config = config_();
  const std::vector<conf::NextHop> next_hops = route(*config, name);
  Plan plan;
  std::string key;
  for (const conf::NextHop& next_hop : next_hops) {
    switch (next_hop.kind) {
      case conf::NextHop::Kind::reject: {
        plan.kind = Plan::Kind::fail;
        const std::optional<smtp::EnhancedCode> code = smtp::parse_enhanced(next_hop.value);
        plan.status = code && code->klass == 5 ? code->text() : "5.7.1";
        plan.text =
            code ? next_hop.value.substr(std::min(next_hop.value.size(), code->text().size() + 1)) : next_hop.value;
        plan.key = next_hop.text();
        co_return plan;
      }
      case conf::NextHop::Kind::discard:
        plan.kind = Plan::Kind::discard;
        plan.key = next_hop.text();
        co_return plan;
      case conf::NextHop::Kind::maildir:
        plan.kind = Plan::Kind::maildir;
        plan.text = next_hop.value;
        plan.key = next_hop.text();
        co_return plan;
      case conf::NextHop::Kind::lmtp_socket:
      case conf::NextHop::Kind::lmtp_tcp:
        trouble = trouble_with("4.3.5", "delivery by LMTP is not in this version");
        continue;
      case conf::NextHop::Kind::smtp:
        break;
    }
    if (config->delivery.tls == conf::Config::DeliveryTls::encrypt ||
        config->delivery.tls == conf::Config::DeliveryTls::verify) {
      trouble = trouble_with("4.7.4", "delivery.tls asks for encryption, which is not in this version");
      continue;
    }
    resolver::LookUp look_up;
    look_up.port = next_hop.host.port != 0 ? next_hop.host.port : config->delivery.port;
    const resolver::Self self{config->hostname, own_addresses_()};
    resolver::Exchangers found;
    if (next_hop.look_up_mx) {
      found = co_await resolver::find_exchangers(resolver_, runtime_, next_hop.host.host, look_up, self);
    } else {
      found = co_await resolver::find_host(resolver_, runtime_, next_hop.host.host, look_up, self);
    }
    valid_until = std::min(valid_until, std::max(found.valid_until, runtime_.now() + 1s));
    if (found.status == resolver::Exchangers::Status::found) {
      plan.hosts.push_back(found.hosts);
      key += (key.empty() ? "" : ",") + found.site;
      continue;
    }
    const bool for_a_day = found.no_usable_exchanger && entry.state.failures > 0 &&
                           runtime_.wall_now() - entry.state.failing_since > kNoUsableExchanger;
    const bool failed = found.status == resolver::Exchangers::Status::failed || for_a_day;
    // A next hop that does not resolve is the configuration's trouble, not the recipient's: it defers.
    const bool of_the_domain = next_hop.look_up_mx ? next_hop.host.host == name : !smtp::literal_address(name).empty();
    if (failed && of_the_domain) {
      plan.kind = Plan::Kind::fail;
      plan.status = for_a_day ? "5.4.4" : found.enhanced;
      plan.text = found.reason;
      plan.key = "fail:" + name + ":" + plan.status;
      co_return plan;
    }
    std::string status = found.enhanced.empty() ? "4.4.3" : found.enhanced;
    status.front() = '4';
    trouble = trouble_with(status, found.reason);
    trouble.ours = found.our_trouble;
  }
  plan.key = key;
  co_return plan;
}

// --- workers ---

/// Sees to it that somebody is on the way to a site's mail. Whoever takes a message calls this for what is left, so
/// that workers become as many as there is work for.
void Dispatcher::pump(const std::string& key) {
  const auto found = sites_.find(key);
  if (stopping_ || found == sites_.end()) return;
  Site& site = *found->second;
  if (!site.has_turns() || site.coming > 0) return;
  for (auto [entry, end] = idlers_.equal_range(&site); entry != end; ++entry) {
    if (entry->second->stop_requested()) continue;
    ++site.coming;
    entry->second->request_stop();
    return;
  }
  if (site.workers >= site.limit()) return;
  if (connections_ >= static_cast<std::size_t>(config_()->delivery.connections)) {
    starved_.insert(key);
    // An idle connection of another site makes room.
    if (!idlers_.empty()) idlers_.begin()->second->request_stop();
    return;
  }
  ++site.workers;
  ++site.coming;
  ++connections_;
  scope_.spawn(work(key));
}

void Dispatcher::pump_all() {
  for (const std::string& key : std::exchange(starved_, {})) pump(key);
}

std::optional<queue::Due> Dispatcher::next_job(Site& site) {
  for (std::optional<std::string> name = site.next_turn(); name; name = site.next_turn()) {
    if (backing_off(*name)) {
      schedule_.drop_waiting(*name);
      continue;
    }
    std::optional<queue::Due> due = schedule_.take(*name);
    if (!due) {
      forget_idle(*name);
      continue;
    }
    if (schedule_.waiting(*name) > 0) site.add_turn(*name);
    return due;
  }
  return std::nullopt;
}

/// Keeps a connection for a while. True if there is mail again.
net::Task<bool> Dispatcher::idle(Site& site) {
  std::stop_source woken;
  const auto entry = idlers_.emplace(&site, &woken);
  co_await runtime_.sleep_until(runtime_.now() + kIdle, woken.get_token());
  idlers_.erase(entry);
  // pump() counts those that it wakes as coming; another that wakes it (stop, room for another site) does not.
  co_return site.has_turns() && !stopping_;
}

net::Task<> Dispatcher::work(std::string key) {
  Site& site = *sites_.at(key);  // stays while it has workers
  std::unique_ptr<Connection> connection;
  for (;;) {
    std::optional<queue::Due> due;
    if (!stopping_) due = next_job(site);
    site.coming = 0;
    if (!due) {
      if (stopping_ || !connection || !connection->usable()) break;
      const bool again = co_await idle(site);
      if (!again) break;
      continue;
    }
    pump(key);
    co_await deliver(site, std::move(*due), connection);
  }
  if (connection) {
    if (connection->usable()) co_await connection->quit();
    open_.erase(connection.get());
  }
  const auto found = sites_.find(key);
  --found->second->workers;
  --connections_;
  pump(key);
  if (site.workers == 0 && !site.has_turns()) sites_.erase(key);
  pump_all();
}

ClientSettings Dispatcher::client_settings(const conf::Config& config) const {
  ClientSettings settings;
  settings.hostname = config.hostname;
  settings.connect_timeout = config.delivery.connect_timeout;
  settings.command_timeout = config.delivery.command_timeout;
  settings.data_timeout = config.delivery.data_timeout;
  for (const std::string& source : config.delivery.source) {
    const std::optional<net::Address> address = net::Address::parse(source, 0);
    if (address) settings.source.push_back(*address);
  }
  return settings;
}

// --- destinations ---

net::Task<> Dispatcher::fail_destination(std::string name, HostFailure failure) {
  schedule_.drop_waiting(name);
  if (backing_off(name)) co_return;  // another worker has said so
  const std::shared_ptr<const conf::Config> config = config_();
  const queue::WallTime now = runtime_.wall_now();
  queue::DestinationState state;
  {
    Destination& destination = destinations_[name];
    state = destination.state;
    state.name = name;
    if (state.failures == 0) state.failing_since = now;
    ++state.failures;
    state.next_attempt = queue::next_attempt(config->queue.retry, state.failures, now, runtime_.random());
    state.status = failure.status;
    state.reason = failure.reason;
    state.host = failure.host;
    destination.state = state;
    destination.valid_until = {};
  }
  due_at(state.next_attempt);
  log::destination_deferred(name, state.failures,
                            std::chrono::duration_cast<std::chrono::seconds>(state.next_attempt - now), state.host,
                            state.status, state.reason);
  const Result<> settled = co_await store_.settle_destination(state);
  if (!settled) log::failure("recording that " + name + " failed: " + settled.error().what);
}

net::Task<> Dispatcher::destination_reached(std::string name) {
  const auto found = destinations_.find(name);
  if (found == destinations_.end() || found->second.state.failures == 0) co_return;
  queue::DestinationState state;
  state.name = name;
  found->second.state = state;
  log::destination_recovered(name);
  const Result<> settled = co_await store_.settle_destination(state);
  if (!settled) log::failure("recording that " + name + " is reachable: " + settled.error().what);
}

// --- those whose time is over ---

net::Task<> Dispatcher::sweep() {
  while (!stopping_) {
    Result<std::vector<queue::Overdue>> overdue = co_await store_.overdue(runtime_.wall_now(), kSweepLimit);
    if (overdue) {
      bool progress = false;
      for (queue::Overdue& one : *overdue) {
        const bool done = co_await expire_or_warn(std::move(one));
        progress = progress || done;
      }
      if (progress && overdue->size() == kSweepLimit && !stopping_) continue;
    } else if (!stopping_) {
      log::failure("reading what is overdue: " + overdue.error().what);
    }
    co_await runtime_.sleep_for(kSweep, scope_.stop_token());
  }
}

}  // namespace waypost::delivery
