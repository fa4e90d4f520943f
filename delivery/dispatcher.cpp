#include "delivery/dispatcher.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "base/event_log.h"
#include "base/text.h"
#include "delivery/disposition.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;

constexpr net::Duration kIdle = 5s;  // a connection is kept so long for the next message
constexpr net::Duration kBetweenRounds = 100ms;
constexpr net::Duration kLongestSleep = 60s;  // the wall clock may jump: look again
constexpr int kMessagesInTurn = 20;           // that a worker delivers before it gives way to a site without any

/// True if what is wanted of a host's certificate is a matter of the destination.
bool asks_for_its_own_host(const std::vector<TlsTerms>& tls) {
  return std::any_of(tls.begin(), tls.end(), [](const TlsTerms& terms) {
    return terms.level == conf::TlsLevel::verify && terms.names.empty() && terms.domain.empty() && !terms.host_is_given;
  });
}

/// False for a recipient of which it is not known whether a host has it, and for addresses for which a host has to
/// offer more than for the others.
bool go_together(const queue::DueRecipient& first, const std::vector<queue::DueRecipient>& others) {
  const auto plain = [](const queue::DueRecipient& each) {
    return !is_doubt(each.last_reply) && is_ascii(each.forward_path.text());
  };
  return plain(first) && std::all_of(others.begin(), others.end(), plain);
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
  for (const auto& [number, open] : open_) open.connection->close();
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
    } else if (state.failures > 0 && !state.waits(runtime_.wall_now())) {
      note_state(std::move(state));  // likewise: that it is back could not be recorded
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
  resume_ = std::move(page.resume);
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
    // Of other sites' connections the one that is idle for longest makes room.
    const auto idle_before = [](const auto& one, const auto& other) { return one.second->since < other.second->since; };
    const auto longest = std::min_element(idlers_.begin(), idlers_.end(), idle_before);
    if (longest != idlers_.end()) wake_idler(longest);
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

/// When its limits allow a message; nullopt: at the end of one that is on the way.
std::optional<net::TimePoint> Dispatcher::allowed_from(const Destination& destination) const {
  if (destination.most_busy > 0 && destination.busy >= destination.most_busy) return std::nullopt;
  return std::max(destination.pace.next(runtime_.now()), destination.slow.next(runtime_.now()));
}

/// False if its limits do not allow a message now: then it comes back by itself.
bool Dispatcher::may_go(const std::string& name, Destination& destination) {
  const std::optional<net::TimePoint> next = allowed_from(destination);
  if (next && *next <= runtime_.now()) return true;
  destination.wants_turn = true;
  if (next && !std::exchange(destination.timed, true)) scope_.spawn(come_back_for(name, *next));
  return false;
}

void Dispatcher::took(Destination& destination) {
  ++destination.busy;
  destination.pace.take(runtime_.now());
  destination.slow.take(runtime_.now());
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
  const auto [first, last] = idlers_.equal_range(site.number);
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
    site.took(runtime_.now());
    took(entry->second);
    const Destination& of = entry->second;
    Job job{*std::move(due), {}, of.tls, of.as, of.by_dns, of.given, {}, {}};
    job.parts.push_back({*name, job.due.recipients.size()});
    take_along(site, of, job);
    reserve_source(site, kept, job);
    return job;
  }
  return std::nullopt;
}

/// A host gets one copy of a message, for all who get it there (RFC 5321 §4.5.4.1): with a destination's recipients go
/// those at others of its site, where these want the same of its hosts and their limits allow it now.
void Dispatcher::take_along(const Site& site, const Destination& first, Job& job) {
  const queue::MessageInfo& message = *job.due.message;
  if (site.plan().kind != Plan::Kind::relay || message.require_tls || asks_for_its_own_host(first.tls)) return;
  for (const std::string& name : schedule_.waits_beside(message.id, job.due.destination)) {
    const auto entry = destinations_.find(name);
    if (entry == destinations_.end() || waits(name)) continue;
    Destination& other = entry->second;
    const bool same_hosts = other.site == site.plan().key && other.valid_until > runtime_.now();
    const bool same_terms = other.tls == first.tls && same_identity(other.as, first.as) &&
                            other.by_dns == first.by_dns && other.given == first.given;
    const std::optional<net::TimePoint> next = allowed_from(other);
    if (!same_hosts || !same_terms || !next || *next > runtime_.now()) continue;
    const queue::Due* waiting = schedule_.find(message.id, name);
    if (waiting == nullptr || !go_together(job.due.recipients.front(), waiting->recipients)) continue;
    std::optional<queue::Due> due = schedule_.take(message.id, name);
    took(other);
    job.parts.push_back({name, due->recipients.size()});
    std::move(due->recipients.begin(), due->recipients.end(), std::back_inserter(job.due.recipients));
  }
}

/// Keeps a connection for a while. True if there is mail again.
net::Task<bool> Dispatcher::idle(Site& site, const Connection* connection) {
  if (starved_.size() > leaving_) co_return false;
  Idler self{connection, runtime_.now()};
  const auto entry = idlers_.emplace(site.number, &self);
  co_await runtime_.sleep_until(runtime_.now() + kIdle, self.woken.get_token());
  if (self.listed) idlers_.erase(entry);
  // pump() counts those that it wakes as coming; another that wakes it (stop, room for another site) does not.
  co_return site.has_turns() && next_message(site, connection) <= runtime_.now() && !stopping_;
}

net::Task<> Dispatcher::work(std::string key) {
  Site& site = *sites_.at(key);  // stays while it has workers
  std::unique_ptr<Connection> connection;
  int messages = 0;
  // What has come with a message for other destinations finds its site first: it may go together.
  co_await runtime_.sleep_until(runtime_.now(), scope_.stop_token());
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
    open_.erase(connection->number());
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
