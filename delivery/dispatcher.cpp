#include "delivery/dispatcher.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/event_log.h"
#include "queue/retry.h"
#include "smtp/address.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;

constexpr net::Duration kIdle = 5s;  // a connection is kept so long for the next message
constexpr net::Duration kBetweenRounds = 100ms;
constexpr net::Duration kLongestSleep = 60s;  // the wall clock may jump: look again
constexpr auto kNoUsableExchanger = 24h;      // PROTOCOL, "MX exists, none usable": deferred for a day, then 5.4.4
constexpr std::string_view kNoUsableExchangerStatus = "4.4.4";
constexpr int kMessagesInTurn = 20;  // that a worker delivers before it gives way to a site without any

/// Of an LMTP server on this machine.
Plan::Hop socket_hop(const std::string& path) {
  resolver::Exchanger server;
  server.name = "localhost";
  server.addresses.push_back(net::Address::local(path));
  return {{server}, Protocol::lmtp};
}

/// Those by which one of its hosts can be reached.
std::vector<net::Address> sources_for(const Plan& plan, std::vector<net::Address> sources) {
  std::set<std::uint8_t> families;
  for (const Plan::Hop& hop : plan.hops)
    for (const resolver::Exchanger& host : hop.hosts)
      for (const net::Address& address : host.addresses) families.insert(address.family);
  std::erase_if(sources, [&families](const net::Address& source) { return !families.contains(source.family); });
  return sources;
}

HostFailure trouble_with(std::string status, std::string reason) {
  HostFailure failure;
  failure.status = std::move(status);
  failure.reason = std::move(reason);
  return failure;
}

}  // namespace

Dispatcher::Dispatcher(net::Runtime& runtime, queue::Store& store, resolver::Resolver& resolver, ConfigSource config,
                       std::function<std::vector<net::Address>()> own_addresses, queue::OpenFolder open_folder,
                       queue::Schedule::Limits window, TlsSource tls)
    : runtime_(runtime),
      store_(store),
      resolver_(resolver),
      config_(std::move(config)),
      own_addresses_(std::move(own_addresses)),
      open_folder_(std::move(open_folder)),
      tls_(std::move(tls)),
      scope_(runtime, [](std::string_view what) { log::failure("delivery: an exception: " + std::string(what)); }),
      schedule_(window) {}

Dispatcher::~Dispatcher() = default;

void Dispatcher::start() {
  clock_seen_ = runtime_.now();
  wall_seen_ = runtime_.wall_now();
  sources_.configure(*config_());
  scope_.spawn(run());
  scope_.spawn(sweep());
}

void Dispatcher::stop() {
  stopping_ = true;
  scope_.stop();
  wake();
  for (const auto& [site, idler] : idlers_) idler->woken.request_stop();
}

void Dispatcher::abort() {
  for (const auto& [connection, since] : open_) connection->close();
}

Dispatcher::Stats Dispatcher::stats() const {
  Stats stats = stats_;
  stats.connections = connections_;
  stats.sites = sites_.size();
  stats.held = schedule_.held();
  stats.destinations = destinations_.size();
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
  if (stopping_ || !knows_states_) return;          // what comes before the first reading is read with it
  if (!take_redirected(*config_(), due).empty()) {  // accepted before the routes were replaced
    read_store_ = true;
    wake();
  }
  for (queue::Due& one : due) {
    const std::string destination = one.destination;
    if (stays_in_store(destination)) continue;
    if (schedule_.add_new(std::move(one))) begin(destination);
  }
}

void Dispatcher::changed() {
  schedule_.drop_waiting();
  // Limits may be others, too: who waits for its pace comes anew.
  for (auto& [name, destination] : destinations_) {
    destination.state.next_attempt = {};
    destination.wants_turn = destination.timed = false;
  }
  for (auto& [key, site] : sites_) site->timed = false;
  for (auto& [key, trouble] : troubles_) trouble.state.next_attempt = trouble.told_until = {};
  knows_states_ = false;
  recall_ = true;
  read_store_ = true;
  resume_.reset();
  wake();
}

void Dispatcher::reconfigured() {
  sources_.configure(*config_());
  for (auto& [name, destination] : destinations_) destination.valid_until = {};
  compare_routes_ = true;
  changed();
  pump_starved();  // more connections may be allowed now
}

bool Dispatcher::wants_to_read() const {
  return schedule_.has_room() && (read_store_ || resume_ || schedule_.wants_more());
}

/// Reads the store when something is due or there is room again; otherwise arrivals come by themselves.
net::Task<> Dispatcher::run() {
  while (!stopping_) {
    if (std::exchange(compare_routes_, false)) co_await compare_routes();
    if (std::exchange(recall_, false)) co_await recall();
    knows_states_ = true;
    if (next_due_ && *next_due_ <= runtime_.wall_now()) read_store_ = true;
    net::Duration wait = kLongestSleep;
    if (wants_to_read()) {
      // Rounds are whole walks through the destinations: one that brought nothing is not begun again at once.
      if (resume_ || round_found_ || runtime_.now() >= round_at_) {
        co_await refill();
        continue;
      }
      wait = round_at_ - runtime_.now();
      woken_ = false;
    }
    // With something to read already, it is room that is waited for.
    if (next_due_ && !read_store_) wait = std::min(wait, *next_due_ - runtime_.wall_now() + 1ms);
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
  query.limit = schedule_.room();
  // With those that are held already, which mostly come first: as many as may be held.
  query.per_destination = schedule_.limits().per_destination;
  query.resume = resume_;
  query.chance = runtime_.random();
  if (!resume_) {
    // A whole round begins: what it meets later tells anew when something is due.
    next_due_.reset();
    read_store_ = false;
    round_found_ = false;
    round_at_ = runtime_.now() + kBetweenRounds;
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
    const auto trouble = troubles_.find(state.name);
    if (state.kind == queue::DestinationState::Kind::destination) {
      note_state(std::move(state));
    } else if (trouble != troubles_.end() && trouble->second.state.failures > 0) {
      trouble->second.unread = true;  // of its destinations one was read at most, to ask for all
    }
  }
  if (page.next_due) due_at(*page.next_due);
  std::vector<Redirected> redirected = take_redirected(*config_(), page.due);
  if (!redirected.empty()) scope_.spawn(redirect(std::move(redirected)));
  std::set<std::string> read;
  for (queue::Due& due : page.due) {
    const std::string destination = due.destination;
    if (stays_in_store(destination)) continue;
    if (schedule_.add(std::move(due))) round_found_ = true;
    read.insert(destination);
  }
  for (const queue::DuePage::More& more : page.more)
    if (read.contains(more.destination)) schedule_.set_more(more.destination, more.flow);
  for (const std::string& destination : read) begin(destination);
  resume_ = page.resume;
}

// --- from a destination to its site ---

void Dispatcher::begin(const std::string& name) {
  if (stopping_ || schedule_.waiting(name) == 0) return;
  Destination& destination = destinations_[name];
  if (destination.planning || destination.wants_turn) return;
  const std::string key = destination.site;  // the worker that comes may end what it is of
  const auto site = sites_.find(key);
  if (site != sites_.end() && destination.valid_until > runtime_.now()) {
    site->second->add_turn(name);
    pump(key);
    return;
  }
  destination.planning = true;
  scope_.spawn(plan(name));
}

net::Task<> Dispatcher::plan(std::string name) {
  Destination& entry = destinations_[name];  // stays while `planning` is set
  const std::shared_ptr<const conf::Config> config = config_();
  Found found = co_await find_plan(name);
  entry.planning = false;
  if (stopping_) co_return;
  if (config_() != config) {  // it was replaced meanwhile: where mail goes, and by which policy, is asked again
    begin(name);
    co_return;
  }
  Plan& plan = found.plan;
  if (plan.key.empty()) {
    co_await fail_destination(name, found.trouble);
    co_return;
  }
  std::string key = plan.key;
  entry.site = key;
  entry.tls = std::move(found.tls);
  entry.as = std::move(found.as);
  entry.given = found.given;
  entry.by_dns = found.by_dns;
  entry.valid_until = found.valid_until;
  if (!entry.state.site.empty() && entry.state.site != key) {
    // It waited with the hosts that it had before, and may have been the one that was to ask for them.
    const std::string before = entry.state.site;
    entry.state.site.clear();
    scope_.spawn(join_site(name, key));
    read_site(before);
  }
  Trouble* const of_site = trouble_of(entry);
  const bool fails = of_site != nullptr && of_site->state.failures > 0;
  if (waits(name) || (fails && is_asked(key))) {
    if (of_site != nullptr) of_site->unread = true;
    drop_waiting(name);
    co_await join_site(name, key);
    co_return;
  }
  std::unique_ptr<Site>& site = sites_[key];
  const conf::OutLimit* of_plan = limit_of_site(*config, plan);
  const int most =
      of_plan != nullptr ? of_plan->connections.value_or(config->delivery.concurrency) : config->delivery.concurrency;
  if (site) {
    site->update(std::move(plan), most);
  } else {
    site = std::make_unique<Site>(std::move(plan), most);
  }
  site->pace.set(of_plan != nullptr ? of_plan->rate : std::nullopt);
  const conf::OutLimit* of_domain = limit_of_domain(*config, domain_of(name));
  if (of_site != nullptr) site->slow.set(of_site->state.spacing);
  entry.pace.set(of_domain != nullptr ? of_domain->rate : std::nullopt);
  entry.most_busy = of_domain != nullptr ? of_domain->concurrency.value_or(0) : 0;
  // After failures one connection asks whether the hosts are back. Others may have mail for them that goes well.
  if ((fails || entry.state.failures > 0) && site->workers == 0) site->all_failed();
  site->add_turn(name);
  pump(key);
}

net::Task<Dispatcher::Found> Dispatcher::find_plan(std::string name) {
  const std::shared_ptr<const conf::Config> config = config_();
  const Directions way = route(*config, name);
  const std::string domain = domain_of(name);
  queue::DestinationState state;
  if (const auto known = destinations_.find(name); known != destinations_.end()) state = known->second.state;
  Found out;
  out.valid_until = runtime_.now() + kLongestSleep;
  out.as = way.as;
  out.given = way.given;
  Plan& plan = out.plan;
  plan.weighted = !way.weights.empty();
  std::string key;
  for (std::size_t at = 0; at < way.next_hops.size(); ++at) {
    const conf::NextHop& next_hop = way.next_hops[at];
    switch (next_hop.kind) {
      case conf::NextHop::Kind::reject: {
        plan.kind = Plan::Kind::fail;
        const std::optional<smtp::EnhancedCode> code = smtp::parse_enhanced(next_hop.value);
        plan.status = code && code->klass == 5 ? code->text() : "5.7.1";
        plan.text =
            code ? next_hop.value.substr(std::min(next_hop.value.size(), code->text().size() + 1)) : next_hop.value;
        plan.key = next_hop.text();
        co_return out;
      }
      case conf::NextHop::Kind::discard:
        plan.kind = Plan::Kind::discard;
        plan.key = next_hop.text();
        co_return out;
      case conf::NextHop::Kind::maildir:
        plan.kind = Plan::Kind::maildir;
        plan.text = next_hop.value;
        plan.key = next_hop.text();
        co_return out;
      case conf::NextHop::Kind::lmtp_socket:
        plan.hops.push_back(socket_hop(next_hop.value));
        if (plan.weighted) plan.hops.back().weight = way.weights[at];
        out.tls.emplace_back();
        key += (key.empty() ? "" : ",") + next_hop.text();
        continue;
      case conf::NextHop::Kind::lmtp_tcp:
      case conf::NextHop::Kind::smtp:
        break;
    }
    const bool lmtp = next_hop.kind == conf::NextHop::Kind::lmtp_tcp;
    resolver::LookUp look_up;
    look_up.port = next_hop.host.port != 0 ? next_hop.host.port : config->delivery.port;
    const resolver::Self self{config->hostname, own_addresses_()};
    resolver::Exchangers found;
    const bool literal = !next_hop.look_up_mx && next_hop.host.host == smtp::literal_address(domain);
    out.by_dns = literal || (next_hop.look_up_mx && next_hop.host.host == domain);
    if (literal) {
      found = co_await resolver::find_exchangers(resolver_, runtime_, domain, look_up, self);
    } else if (next_hop.look_up_mx) {
      found = co_await resolver::find_exchangers(resolver_, runtime_, next_hop.host.host, look_up, self);
    } else {
      found = co_await resolver::find_host(resolver_, runtime_, next_hop.host.host, look_up, self);
    }
    out.valid_until = std::min(out.valid_until, std::max(found.valid_until, runtime_.now() + 1s));
    if (found.status == resolver::Exchangers::Status::found) {
      const TlsTerms terms = lmtp ? TlsTerms() : tls_terms(*config, name, next_hop);
      plan.hops.push_back({found.hosts, lmtp ? Protocol::lmtp : Protocol::smtp});
      if (plan.weighted) plan.hops.back().weight = way.weights[at];
      out.tls.push_back(terms);
      // What the configuration wants of its own next hop is a matter of that hop; else policy is the destination's.
      if (!key.empty()) key += ',';
      key += (lmtp ? "lmtp:" : "") + found.site + (out.by_dns ? "" : tls_key(terms, domain));
      continue;
    }
    const bool for_a_day = found.no_usable_exchanger && state.status == kNoUsableExchangerStatus &&
                           runtime_.wall_now() - state.failing_since > kNoUsableExchanger;
    const bool failed = found.status == resolver::Exchangers::Status::failed || for_a_day;
    // A next hop that does not resolve is the configuration's trouble, not the recipient's: it defers.
    if (failed && out.by_dns) {
      plan.kind = Plan::Kind::fail;
      plan.status = for_a_day ? "5.4.4" : found.enhanced;
      plan.text = found.reason;
      plan.key = "fail:" + name + ":" + plan.status;
      co_return out;
    }
    std::string status = found.enhanced.empty() ? "4.4.3" : found.enhanced;
    status.front() = '4';
    out.trouble = trouble_with(status, found.reason);
    out.trouble.ours = found.our_trouble;
  }
  plan.key = key;
  const bool by_route = way.as != nullptr && !way.as->source.empty();
  plan.sources = sources_for(plan, by_route ? way.as->source : client_settings(*config).source);
  // Who comes as somebody else has sessions of its own, and what is held against it is held against no other; nor is
  // what was held against it before it changed.
  if (!key.empty() && way.as != nullptr) plan.key = way.as->name + ": " + key + ";as " + std::to_string(way.as->mark);
  co_return out;
}

/// Also what is not due, and what is left in the store because it waits with others for a host that is not its own any
/// more. What is left by a stop goes when it is due.
net::Task<> Dispatcher::redirect_all() {
  std::shared_ptr<const conf::Config> config = config_();
  queue::Id after;
  while (!stopping_) {
    Result<queue::WaitingPage> page = co_await store_.waiting(after);
    if (!page && !stopping_) log::failure("looking for mail that takes another route now: " + page.error().what);
    if (!page) break;
    co_await redirect(take_redirected(*config_(), page->due));
    if (!page->resume && config == config_()) break;
    after = page->resume.value_or(queue::Id());
    if (!page->resume) config = config_();  // once more, by the routes of now
  }
  redirecting_ = false;
}

/// What waits where no route has it wait any more.
net::Task<> Dispatcher::redirect(std::vector<Redirected> redirected) {
  // What is under way ends where it is.
  std::erase_if(redirected,
                [this](const Redirected& each) { return !schedule_.claim(each.due.message->id, each.from); });
  std::vector<queue::Due> due;
  for (const Redirected& each : redirected) due.push_back(each.due);
  if (due.empty()) co_return;
  const Result<> done = co_await store_.redirect(std::move(due), runtime_.wall_now());
  ++redirected_;
  for (const Redirected& each : redirected) schedule_.release(each.due.message->id, each.from);
  if (done) {
    read_store_ = true;
    wake();
  } else if (!stopping_) {
    log::failure("putting mail where its route has it wait: " + done.error().what);
    due_at(runtime_.wall_now() + 5s);
  }
}

/// Where the configuration sends mail another way than it did, nothing waits for what was.
net::Task<> Dispatcher::compare_routes() {
  const std::uint64_t routes = fingerprint_of_routes(*config_());
  const Result<bool> compared = co_await store_.compare_routes(routes, runtime_.wall_now());
  if (!compared && !stopping_) {
    log::failure("comparing the routes with those before: " + compared.error().what);
    compare_routes_ = true;
    due_at(runtime_.wall_now() + 5s);
  }
  if (!compared || !*compared) co_return;
  for (auto& [name, destination] : destinations_) {
    destination.state.site.clear();
    destination.site.clear();
    destination.valid_until = {};
  }
  read_store_ = true;
  if (!std::exchange(redirecting_, true)) scope_.spawn(redirect_all());
}

// --- workers ---

/// Sees to it that somebody is on the way to a site's mail. Whoever takes a message calls this for what is left, so
/// that workers become as many as there is work for. A site that finds no connection free gets in line if it has none.
void Dispatcher::pump(const std::string& key) {
  const auto found = sites_.find(key);
  if (stopping_ || found == sites_.end()) return;
  Site& site = *found->second;
  if (!site.has_turns() || site.coming > 0) return;
  const auto idler = idler_of(site);
  const net::TimePoint next = next_message(site, idler == idlers_.end() ? nullptr : idler->second->connection);
  if (next > runtime_.now()) return come_at(site, next);
  if (idler != idlers_.end()) {
    ++site.coming;
    wake_idler(idler);
    return;
  }
  if (site.workers >= site.limit()) return;
  if (!connection_free_for(site)) {
    if (site.workers > 0 || site.starved) return;
    site.starved = true;
    starved_.push_back(key);
    // An idle connection of another site makes room.
    if (!idlers_.empty()) wake_idler(idlers_.begin());
    return;
  }
  ++site.workers;
  ++site.coming;
  ++connections_;
  scope_.spawn(work(key));
}

bool Dispatcher::connection_free() const {
  return connections_ < static_cast<std::size_t>(config_()->delivery.connections);
}

/// The last tenth is for sites that have none: hosts that hold on to theirs leave room for the others (F36).
bool Dispatcher::connection_free_for(const Site& site) const {
  const auto most = static_cast<std::size_t>(config_()->delivery.connections);
  const std::size_t kept_free = site.workers > 0 ? most / 10 : 0;
  return connections_ + kept_free < most;
}

void Dispatcher::wake_idler(Idlers::iterator entry) {
  entry->second->listed = false;
  entry->second->woken.request_stop();
  idlers_.erase(entry);
}

void Dispatcher::pump_starved() {
  if (pumping_) return;  // a worker that found nothing to do has ended inside the loop below, which goes on
  pumping_ = true;
  while (!starved_.empty() && !stopping_ && connection_free()) {
    const std::string key = std::move(starved_.front());
    starved_.pop_front();
    const auto found = sites_.find(key);
    if (found == sites_.end()) continue;
    found->second->starved = false;
    pump(key);
  }
  pumping_ = false;
}

/// True if a site without any connection is to have this worker's: there are others for this site, or it had its turn.
bool Dispatcher::gives_way(const Site& site, int messages) const {
  const std::size_t others = wanting_source_.size() - wanting_source_.count(site.plan().key);
  if (others > 0 && messages >= kMessagesInTurn && sources_.limits(site.plan().sources)) return true;
  return starved_.size() > leaving_ && (site.workers - site.leaving > 1 || messages >= kMessagesInTurn);
}

/// The site's rate allows a message again.
net::Task<> Dispatcher::come_back(std::string key, net::TimePoint at) {
  co_await runtime_.sleep_until(at, scope_.stop_token());
  const auto found = sites_.find(key);
  if (found == sites_.end()) co_return;
  found->second->timed = false;
  pump(key);
}

net::Task<> Dispatcher::come_back_for(std::string name, net::TimePoint at) {
  co_await runtime_.sleep_until(at, scope_.stop_token());
  const auto found = destinations_.find(name);
  if (found == destinations_.end()) co_return;
  found->second.timed = false;
  take_turn(name);
}

/// One that had to wait gets in line again.
void Dispatcher::take_turn(const std::string& name) {
  const auto found = destinations_.find(name);
  if (found == destinations_.end() || !std::exchange(found->second.wants_turn, false)) return;
  begin(name);
}

/// False if its limits do not allow a message now: then it comes back by itself.
bool Dispatcher::may_go(const std::string& name, Destination& destination) {
  const net::TimePoint now = runtime_.now();
  const net::TimePoint next = std::max(destination.pace.next(now), destination.slow.next(now));
  const bool full = destination.most_busy > 0 && destination.busy >= destination.most_busy;
  if (!full && next <= now) return true;
  destination.wants_turn = true;
  if (!full && !std::exchange(destination.timed, true)) scope_.spawn(come_back_for(name, next));
  return false;
}

/// When the site's rate, and that of an address to connect from, or of the connection's, allow a message.
net::TimePoint Dispatcher::next_message(const Site& site, const Connection* kept) const {
  const net::TimePoint now = runtime_.now();
  net::TimePoint from = sources_.next(site.plan().sources, now);
  if (kept != nullptr && kept->peer().source) from = std::min(from, sources_.next_kept(*kept->peer().source, now));
  return std::max(site.next_message(now), from);
}

/// One whose connection may be used now, where there is one.
Dispatcher::Idlers::iterator Dispatcher::idler_of(const Site& site) {
  const auto [first, last] = idlers_.equal_range(&site);
  const auto ready = std::find_if(
      first, last, [&](const auto& entry) { return next_message(site, entry.second->connection) <= runtime_.now(); });
  return ready != last ? ready : first != last ? first : idlers_.end();
}

/// Somebody comes when a message is allowed again.
void Dispatcher::come_at(Site& site, net::TimePoint next) {
  const std::string& key = site.plan().key;
  if (sources_.next(site.plan().sources, runtime_.now()) > runtime_.now()) wanting_source_.insert(key);
  if (!std::exchange(site.timed, true)) scope_.spawn(come_back(key, next));
}

/// What the message leaves from: whence the connection is that is kept; or another, and a connection from there.
void Dispatcher::reserve_source(const Site& site, const Connection* kept, Job& job) {
  const net::TimePoint now = runtime_.now();
  const std::vector<net::Address>& pool = site.plan().sources;
  if (!sources_.limits(pool)) return;
  const bool by_it = kept != nullptr && kept->peer().source && sources_.next_kept(*kept->peer().source, now) <= now;
  job.source = by_it ? kept->peer().source : sources_.choose(pool, 0, job.due.message->id.value, now);
  if (!by_it) job.held = sources_.hold(*job.source);
  sources_.take(*job.source, now);
}

std::optional<Dispatcher::Job> Dispatcher::next_job(Site& site, const Connection* kept) {
  if (!site.has_turns()) return std::nullopt;
  const net::TimePoint next = next_message(site, kept);
  if (next > runtime_.now()) {
    come_at(site, next);
    return std::nullopt;
  }
  for (std::optional<std::string> name = site.next_turn(); name; name = site.next_turn()) {
    if (waits(*name)) {
      drop_waiting(*name);
      continue;
    }
    if (schedule_.waiting(*name) == 0) continue;
    const auto entry = destinations_.find(*name);
    if (entry == destinations_.end() || entry->second.site != site.plan().key ||
        entry->second.valid_until <= runtime_.now()) {
      begin(*name);  // it may go elsewhere by now
      continue;
    }
    if (!may_go(*name, entry->second)) continue;
    std::optional<queue::Due> due = schedule_.take(*name);
    if (schedule_.waiting(*name) > 0) site.add_turn(*name);
    ++entry->second.busy;
    entry->second.pace.take(runtime_.now());
    entry->second.slow.take(runtime_.now());
    site.took(runtime_.now());
    const Destination& of = entry->second;
    Job job{*std::move(due), of.tls, of.as, of.by_dns, of.given, {}, {}};
    reserve_source(site, kept, job);
    return job;
  }
  return std::nullopt;
}

/// Keeps a connection for a while. True if there is mail again.
net::Task<bool> Dispatcher::idle(Site& site, const Connection* connection) {
  if (starved_.size() > leaving_) co_return false;
  Idler self;
  self.connection = connection;
  const auto entry = idlers_.emplace(&site, &self);
  co_await runtime_.sleep_until(runtime_.now() + kIdle, self.woken.get_token());
  if (self.listed) idlers_.erase(entry);
  // pump() counts those that it wakes as coming; another that wakes it (stop, room for another site) does not.
  co_return site.has_turns() && next_message(site, connection) <= runtime_.now() && !stopping_;
}

net::Task<> Dispatcher::work(std::string key) {
  Site& site = *sites_.at(key);  // stays while it has workers
  std::unique_ptr<Connection> connection;
  int messages = 0;
  for (;;) {
    std::optional<Job> job;
    const bool usable = connection && connection->usable();
    if (!stopping_) job = next_job(site, usable ? connection.get() : nullptr);
    site.coming = 0;
    if (!job) {
      read_site(key);  // what had its turn may be gone, and have been the one that was to ask
      if (stopping_ || !connection || !connection->usable()) break;
      const bool again = co_await idle(site, connection.get());
      if (!again) break;
      continue;
    }
    ++site.busy;
    pump(key);
    co_await deliver(site, std::move(*job), connection);
    if (gives_way(site, ++messages)) break;
  }
  ++site.leaving;
  ++leaving_;
  if (connection) {
    if (connection->usable()) co_await connection->quit();
    open_.erase(connection.get());
    connection.reset();
  }
  --leaving_;
  --site.leaving;
  --site.workers;
  --connections_;
  pump_starved();
  for (const std::string& wanting : std::exchange(wanting_source_, {}))
    if (wanting != key) pump(wanting);
  pump(key);
  // A worker that began just now may have ended already, and the site with it.
  const auto found = sites_.find(key);
  if (found != sites_.end() && is_over(*found->second)) sites_.erase(found);
}

/// True if nothing is lost with the site: its rate holds from one message to the next, and what was learnt has an end.
bool Dispatcher::is_over(const Site& site) const {
  return site.workers == 0 && !site.has_turns() && !site.remembers(runtime_.now());
}

ClientSettings Dispatcher::client_settings(const conf::Config& config) {
  ClientSettings settings;
  settings.hostname = config.hostname;
  settings.connect_timeout = config.delivery.connect_timeout;
  settings.command_timeout = config.delivery.command_timeout;
  settings.data_timeout = config.delivery.data_timeout;
  settings.chunking = config.delivery.chunking;
  settings.send_unconverted = config.delivery.send_unconverted;
  settings.tls_retry = config.delivery.tls_retry;
  for (const std::string& source : config.delivery.source) {
    const std::optional<net::Address> address = net::Address::parse(source, 0);
    if (address) settings.source.push_back(*address);
  }
  return settings;
}

}  // namespace waypost::delivery
