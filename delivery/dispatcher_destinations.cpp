// delivery/dispatcher_destinations.cpp: what is known of destinations and of their sites: which of their mail stays in
// the store, and what the end of an attempt changes.
#include <algorithm>
#include <utility>

#include "base/event_log.h"
#include "delivery/dispatcher.h"
#include "delivery/reply_rules.h"
#include "delivery/slow.h"
#include "queue/retry.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMaxIdleDestinations = 50'000;
constexpr net::Duration kJoined = 1h;
constexpr std::chrono::hours kForgetSite{24};  // after the end of its back-off, as the store does

using Kind = queue::DestinationState::Kind;

/// What no attempt changes, or what is as the store has it.
void keep_orders(queue::DestinationState& known, const queue::DestinationState& stored) {
  known.held_until = stored.held_until;
  known.held_reason = stored.held_reason;
  known.spacing = stored.spacing;
  known.slow_until = stored.slow_until;
  known.slow_reason = stored.slow_reason;
}

queue::DestinationState without_failure(queue::DestinationState state) {
  state.failures = 0;
  state.next_attempt = state.failing_since = {};
  state.status = state.reason = state.host = state.asked = "";
  return state;
}

}  // namespace

/// As the store has it. A worker may have learnt more since it was read.
void Dispatcher::note_state(queue::DestinationState state) {
  const queue::WallTime now = runtime_.wall_now();
  if (state.kind == Kind::site) {
    const bool well = state.failures == 0 && state.held_until <= now && state.spacing == 0ms;
    const auto found = troubles_.find(state.name);
    if (found == troubles_.end() && well) return;
    Trouble& trouble = found != troubles_.end() ? found->second : troubles_[state.name];
    set_spacing(state);
    trouble.unread = trouble.unread || state.failures > 0;
    if (trouble.state.failures > 0 && trouble.state.next_attempt > now) {
      keep_orders(trouble.state, state);
      return;
    }
    trouble.state = std::move(state);
    return;
  }
  if (state.waits(now) && destinations_.size() >= kMaxIdleDestinations) return;
  const auto [entry, is_new] = destinations_.try_emplace(state.name);
  queue::DestinationState& known = entry->second.state;
  keep_orders(known, state);
  entry->second.slow.set(state.spacing);
  known.site = state.site;
  known.site_until = state.site_until;
  const bool waits = state.failures > 0 && state.next_attempt > now;
  if (!is_new && ((known.failures > 0 && known.next_attempt > now) || (waits && known.failures == 0))) return;
  known = std::move(state);
}

/// What is wrong with the site of a destination, or nullptr: as it was planned lately, or as the store knows it.
Dispatcher::Trouble* Dispatcher::trouble_of(const Destination& destination) {
  const bool planned = !destination.site.empty() && destination.valid_until > runtime_.now();
  const bool joined = destination.state.site_until > runtime_.wall_now();
  if (!planned && !joined) return nullptr;
  const auto found = troubles_.find(planned ? destination.site : destination.state.site);
  return found == troubles_.end() ? nullptr : &found->second;
}

/// True if the store knows that the destination waits with this site.
bool Dispatcher::is_joined(const Destination& destination, const std::string& key) const {
  return destination.state.site == key && destination.state.site_until > runtime_.wall_now();
}

/// True if nothing of this destination is to be attempted now: it waits, or its site does.
bool Dispatcher::waits(const std::string& name) {
  const auto found = destinations_.find(name);
  if (found == destinations_.end()) return false;
  Destination& destination = found->second;
  const queue::WallTime now = runtime_.wall_now();
  Trouble* trouble = trouble_of(destination);
  const bool with_site = trouble != nullptr && trouble->state.waits(now);
  if (!with_site && !destination.state.waits(now)) return false;
  // What is left in the store is read then, whatever the store knows of it.
  destination.unread = true;
  if (with_site) trouble->unread = true;
  if (with_site && !is_joined(destination, trouble->state.name)) scope_.spawn(join_site(name, trouble->state.name));
  queue::WallTime until = destination.state.waits_until();
  if (with_site) until = std::min(trouble->state.waits_until(), destination.state.site_until);
  due_at(until);
  return true;
}

/// True if somebody is about to ask the hosts of a site.
bool Dispatcher::is_asked(const std::string& key) const {
  const auto found = sites_.find(key);
  return found != sites_.end() && (found->second->busy > 0 || found->second->has_turns());
}

/// True if mail of this destination is not to come into the window: it waits, or it or its site fails and one message
/// asks already whether it is back. So backlogs of many that fail leave the window to the others.
bool Dispatcher::stays_in_store(const std::string& name) {
  if (waits(name)) return true;
  const auto found = destinations_.find(name);
  if (found == destinations_.end()) return false;
  Destination& destination = found->second;
  Trouble* trouble = trouble_of(destination);
  const bool asked =
      trouble != nullptr && trouble->state.failures > 0 && (is_asked(trouble->state.name) || schedule_.holds(name));
  if (!asked && (destination.state.failures == 0 || !schedule_.holds(name))) return false;
  destination.unread = true;
  if (asked) trouble->unread = true;
  return true;
}

/// An attempt is over, whatever came of it.
void Dispatcher::release(queue::Id message, const std::vector<Part>& parts, const std::string& key) {
  for (const Part& part : parts) {
    schedule_.finished(message, part.destination, part.recipients);
    const auto found = destinations_.find(part.destination);
    if (found != destinations_.end()) --found->second.busy;
    take_turn(part.destination);
    read_unread(part.destination);
  }
  read_site(key);  // which may be another than it has by now
}

/// What was left in the store of a site's destinations is read if the site is back, or if nothing is on the way any
/// more that would tell.
void Dispatcher::read_site(const std::string& key) {
  const auto found = troubles_.find(key);
  if (found == troubles_.end() || !found->second.unread) return;
  const queue::DestinationState& state = found->second.state;
  if (state.waits(runtime_.wall_now()) || (state.failures > 0 && is_asked(key))) return;
  found->second.unread = false;
  read_store_ = true;
  wake();
}

/// The destination waits: its mail is in the store.
void Dispatcher::drop_waiting(const std::string& name) {
  if (schedule_.waiting(name) > 0) destinations_[name].unread = true;
  schedule_.drop_waiting(name);
  if (wants_to_read()) wake();
}

/// After something went out of the window: what was left in the store is read if the destination, or its site, is back,
/// or if nothing is on the way any more that would tell.
void Dispatcher::read_unread(const std::string& name) {
  const auto found = destinations_.find(name);
  if (found != destinations_.end()) {
    Destination& destination = found->second;
    Trouble* trouble = trouble_of(destination);
    if (trouble != nullptr) read_site(trouble->state.name);
    if (destination.unread && !waits(name) && (destination.state.failures == 0 || !schedule_.holds(name))) {
      destination.unread = false;
      read_store_ = true;
    }
  }
  if (wants_to_read()) wake();
}

Dispatcher::Failing Dispatcher::failing(std::size_t most) const {
  std::vector<std::pair<queue::WallTime, const std::string*>> all;
  for (const auto& [name, destination] : destinations_) {
    if (destination.state.failures > 0) {
      all.emplace_back(destination.state.failing_since, &name);
      continue;
    }
    const auto trouble = troubles_.find(destination.state.site);
    if (trouble != troubles_.end() && trouble->second.state.failures > 0)
      all.emplace_back(trouble->second.state.failing_since, &name);
  }
  Failing out;
  out.destinations = all.size();
  const std::size_t shown = std::min(most, all.size());
  const auto by_time = [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : *a.second < *b.second;
  };
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(shown), all.end(), by_time);
  for (std::size_t i = 0; i < shown; ++i) out.longest.emplace_back(*all[i].second, all[i].first);
  return out;
}

/// Those without mail in the window, and sites likewise. What fails is kept, within a bound, so that its next message
/// waits with it.
void Dispatcher::forget_destinations() {
  speed_up_all();
  std::erase_if(destinations_, [this](const auto& entry) {
    const auto& [name, destination] = entry;
    if (destination.planning || destination.busy > 0 || schedule_.holds(name) ||
        destination.valid_until > runtime_.now())
      return false;
    if (std::max(destination.pace.next(runtime_.now()), destination.slow.next(runtime_.now())) > runtime_.now())
      return false;
    const bool well = destination.state.failures == 0 && destination.state.held_until <= runtime_.wall_now() &&
                      destination.state.spacing == 0ms;
    return well || destinations_.size() > kMaxIdleDestinations;
  });
  std::erase_if(sites_, [this](const auto& entry) { return is_over(*entry.second); });
  std::erase_if(troubles_, [this](const auto& entry) {
    const auto& [key, trouble] = entry;
    const queue::DestinationState& state = trouble.state;
    const queue::WallTime now = runtime_.wall_now();
    if (state.held_until > now || state.spacing > 0ms || is_asked(key)) return false;
    return state.failures == 0 ? !trouble.unread : state.next_attempt + kForgetSite < now;
  });
}

/// Sites that fail or are held: destinations that do not know yet that these are theirs wait with them. And
/// destinations that are held, which may have no mail that would tell.
net::Task<> Dispatcher::recall() {
  Result<std::vector<queue::DestinationRow>> rows = co_await store_.destinations("", false, runtime_.wall_now());
  if (!rows) {
    if (!stopping_) log::failure("reading what fails or is held: " + rows.error().what);
    co_return;
  }
  // What is not among them is neither held nor slowed any more.
  for (auto& [key, trouble] : troubles_) keep_orders(trouble.state, {});
  for (auto& [name, destination] : destinations_) {
    keep_orders(destination.state, {});
    destination.slow.set(0ms);
  }
  for (auto& [key, site] : sites_) site->slow.set(0ms);
  for (queue::DestinationRow& row : *rows) {
    const queue::DestinationState& state = row.state;
    const bool ordered = state.held_until > runtime_.wall_now() || state.spacing > 0ms;
    if (state.kind == Kind::site || ordered) note_state(std::move(row.state));
  }
}

/// One failure more. Returns false where another worker has said so.
bool Dispatcher::add_failure(queue::DestinationState& state, const HostFailure& failure) {
  const queue::WallTime now = runtime_.wall_now();
  const bool told = failure.reaction && failure.reaction->action == Action::wait;
  if (state.failures > 0 && state.next_attempt > now) {
    if (!told || state.next_attempt >= now + failure.reaction->time) return false;
  }
  // Having no usable exchanger counts for itself: it becomes permanent.
  const bool another = (state.status == kNoUsableExchangerStatus) != (failure.status == kNoUsableExchangerStatus);
  if (state.failures == 0 || another) state.failing_since = now;
  ++state.failures;
  std::vector<std::chrono::seconds> steps = config_()->queue.retry;
  if (told) steps = not_before(failure.reaction->time);
  state.next_attempt = queue::next_attempt(steps, state.failures, now, runtime_.random());
  state.status = failure.status;
  state.reason = queue::with_rule(failure.reason, told ? failure.reaction->rule : "");
  state.host = failure.host;
  state.asked = failure.asked;
  due_at(state.next_attempt);
  return true;
}

net::Task<> Dispatcher::record(queue::DestinationState state) {
  const std::string name = state.name;
  const Result<> settled = co_await store_.settle_destination(std::move(state));
  if (!settled) log::failure("recording what became of " + name + ": " + settled.error().what);
}

net::Task<> Dispatcher::fail_destination(std::string name, HostFailure failure) {
  drop_waiting(name);
  queue::DestinationState state;
  {
    Destination& destination = destinations_[name];
    destination.state.name = name;
    if (!add_failure(destination.state, failure)) co_return;
    destination.valid_until = {};
    state = destination.state;
  }
  log_failing(name, state);
  co_await record(std::move(state));
  read_unread(name);  // it may have been the one that was to ask for its site
}

/// All hosts of a site failed for this destination: the others wait with it.
net::Task<> Dispatcher::fail_site(Site& site, std::string name, HostFailure failure) {
  site.all_failed();
  queue::DestinationState state;
  {
    Trouble& trouble = troubles_[site.plan().key];
    trouble.state.kind = Kind::site;
    trouble.state.name = site.plan().key;
    const bool is_new = add_failure(trouble.state, failure);
    const bool told = failure.reaction && failure.reaction->action == Action::wait;
    if (told) trouble.told_until = trouble.state.next_attempt;
    trouble.unread = true;
    if (is_new) state = trouble.state;
  }
  drop_waiting(name);
  if (!state.name.empty()) {
    log_failing(name, state);
    co_await record(std::move(state));
  }
  co_await join_site(std::move(name), site.plan().key);
}

/// A site that gets less mail, and then more by and by.
net::Task<> Dispatcher::slow_site(std::string key, Reaction reaction, std::string reply) {
  const auto site = sites_.find(key);
  if (site == sites_.end()) co_return;
  queue::DestinationState state;
  {
    Trouble& trouble = troubles_[key];
    trouble.state.kind = Kind::site;
    trouble.state.name = key;
    const net::Duration before = trouble.state.spacing;
    const queue::WallTime until = trouble.state.slow_until;
    slow_down(trouble.state, site->second->last_minute(runtime_.now()), reaction.time,
              queue::with_rule(reply, reaction.rule), runtime_.wall_now());
    if (trouble.state.spacing == before && trouble.state.slow_until == until) co_return;
    state = trouble.state;
  }
  site->second->slow.set(state.spacing);
  log::site_slowed(key, state.spacing, reaction.time, state.slow_reason);
  co_await record(std::move(state));
}

/// Of a site that is there now.
void Dispatcher::set_spacing(const queue::DestinationState& state) {
  const auto site = sites_.find(state.name);
  if (site != sites_.end()) site->second->slow.set(state.spacing);
}

/// Those whose time is over.
void Dispatcher::speed_up_all() {
  std::vector<std::string> sites, destinations;
  for (auto& [key, trouble] : troubles_)
    if (speed_up(trouble.state, runtime_.wall_now())) sites.push_back(key);
  for (auto& [name, destination] : destinations_)
    if (speed_up(destination.state, runtime_.wall_now())) destinations.push_back(name);
  for (const std::string& key : sites) {
    const queue::DestinationState& state = troubles_[key].state;
    scope_.spawn(record(state));
    set_spacing(state);
    const auto site = sites_.find(key);
    if (site == sites_.end()) continue;
    site->second->timed = false;
    pump(key);
  }
  for (const std::string& name : destinations) {
    Destination& destination = destinations_[name];
    scope_.spawn(record(destination.state));
    destination.slow.set(destination.state.spacing);
    destination.wants_turn = destination.timed = false;
    begin(name);
  }
}

void Dispatcher::log_failing(const std::string& name, const queue::DestinationState& state) const {
  const auto wait = std::chrono::duration_cast<std::chrono::seconds>(state.next_attempt - runtime_.wall_now());
  log::destination_deferred(name, state.failures, wait, state.host, state.status, state.reason);
}

/// The store is told, so that its mail is not read before the site may be asked again; not for long, since its hosts
/// may be others by then.
net::Task<> Dispatcher::join_site(std::string name, std::string key) {
  queue::WallTime until;
  {
    Destination& destination = destinations_[name];
    destination.state.name = name;
    if (is_joined(destination, key)) co_return;
    until = runtime_.wall_now() + kJoined + kJoined / 4 * (runtime_.random() % 1000) / 1000;
    destination.state.site = key;
    destination.state.site_until = until;
  }
  const Result<> joined = co_await store_.join_site(name, std::move(key), until);
  if (!joined) log::failure("recording the site of " + name + ": " + joined.error().what);
}

net::Task<> Dispatcher::destination_reached(std::string name) {
  const auto found = destinations_.find(name);
  if (found == destinations_.end() || found->second.state.failures == 0) co_return;
  queue::DestinationState state = without_failure(found->second.state);
  found->second.state = state;
  log::destination_recovered(name);
  co_await record(std::move(state));
}

/// A host of the site answers. Its backlog wakes: connections become more as they do well (Site::limit()).
net::Task<> Dispatcher::site_reached(std::string key, std::string name) {
  const auto found = troubles_.find(key);
  if (found == troubles_.end() || found->second.state.failures == 0) co_return;
  if (found->second.told_until > runtime_.wall_now()) co_return;  // what was under way says nothing against that
  queue::DestinationState state = without_failure(found->second.state);
  found->second.state = state;
  log::destination_recovered(name);
  read_site(key);
  co_await record(std::move(state));
}

}  // namespace waypost::delivery
