#include <algorithm>
#include <utility>

#include "tests/sim/world_state.h"

namespace waypost::sim {

using namespace std::chrono_literals;

void World::begin(const Item& item) {
  if (item.kind != Item::Kind::client) note(item.text());
  const auto loss = static_cast<tests::Loss>(item.what % 5);
  switch (item.kind) {
    case Item::Kind::client: {
      const bool by_ipv6 = plan_.ipv6 == Ipv6::works && item.seed % 4 == 0;
      clients_.spawn(run_client(scene_, plan_, item, by_ipv6 ? kRelayIpv6 : kRelay));
      return;
    }
    case Item::Kind::crash:
    case Item::Kind::kill: {
      const bool power = item.kind == Item::Kind::crash;
      dies_at_step_ = steps_ + static_cast<std::uint64_t>(item.where);
      dies_by_ = [this, power, item, loss] {
        end_life(power, item.seed, loss);
        later(net::Duration(item.seed % 20'000), [this] { start_life(); });
      };
      return;
    }
    case Item::Kind::restart:
      return restart();
    case Item::Kind::io_error:
    case Item::Kind::cut:
    case Item::Kind::disk_full:
    case Item::Kind::slow_disk:
      return begin_disk(item);
    case Item::Kind::clock: {
      const net::Duration jump = std::chrono::minutes(item.where);
      runtime_.jump_wall(jump);
      if (jump > 0ms) leapt_ += jump;
      return;
    }
    case Item::Kind::dns:
      return begin_dns(item);
    case Item::Kind::host:
      return begin_host(item);
    case Item::Kind::network:
      network_.flaky = true;
      if (item.what % 2 == 0) network_.slowness = 3s;
      if (item.what % 3 == 0) network_.ipv6 = item.seed % 2 == 0 ? Ipv6::unreachable : Ipv6::lost;
      later(item.lasts, [this] {
        network_.flaky = false;
        network_.ipv6 = plan_.ipv6;
        network_.slowness = 50ms;
      });
      return;
    case Item::Kind::operator_:
      return operate(item);
    case Item::Kind::reload: {
      conf::Config config = *config_;
      config.delivery.concurrency = 1 + static_cast<int>(item.seed % 20);
      config.delivery.connections = 2 + static_cast<int>(item.seed % 50);
      config_ = std::make_shared<const conf::Config>(std::move(config));
      if (life_ && !ending_) life_->relay->reconfigured();
      return;
    }
  }
}

void World::begin_host(const Item& item) {
  const auto manner = static_cast<Manner>(item.what);
  Host& host = *hosts_.at(item.where);
  // At times by one family alone.
  host.manner_family.reset();
  if (host.addresses().size() > 1 && item.seed % 2 == 0) host.manner_family = item.seed % 4 == 0 ? 4 : 6;
  if (manner != Manner::refuse && manner != Manner::black_hole) {
    host.manner = manner;
  } else {
    for (const net::Address& address : host.addresses())
      if (host.manner_family.value_or(address.family) == address.family)
        (manner == Manner::refuse ? network_.refusing : network_.black_holes).insert(address);
  }
  later(item.lasts, [this, item] { end_host(item); });
}

void World::end_host(const Item& item) {
  Host& host = *hosts_.at(item.where);
  for (const net::Address& address : host.addresses()) {
    network_.refusing.erase(address);
    network_.black_holes.erase(address);
  }
  host.manner.reset();
}

void World::begin_dns(const Item& item) {
  const Domain& domain = plan_.domains[static_cast<std::size_t>(item.where)];
  using Kind = Domain::Kind;
  if (!life_ || domain.kind == Kind::local || domain.kind == Kind::routed || domain.kind == Kind::lmtp) return;
  tests::FakeResolver& names = *life_->names;
  const auto failure = item.seed % 2 == 0 ? resolver::Status::server_failed : resolver::Status::timed_out;
  switch (item.what % 7) {
    case 0:
      names.lose_servers();
      break;
    case 1:
      names.fail(domain.name, "mx", failure);
      break;
    case 2:  // it moves to another host
      names.forget(domain.name);
      name_host(names, domain.name, static_cast<int>(item.seed % plan_.hosts.size()));
      break;
    case 3:
      names.forget(domain.name);
      ledger_.domain_gone(domain.name);
      break;
    case 4:
      names.forget(domain.name);
      names.add_empty(domain.name);
      ledger_.domain_gone(domain.name);
      break;
    default:
      names.fail(domain.name, "", failure);
  }
  later(item.lasts, [this] {
    if (!life_) return;
    life_->names->lose_servers(false);
    name_domains(*life_->names);
  });
}

/// Counts disk calls from here on, or lets the room run out.
void World::begin_disk(const Item& item) {
  if (item.kind == Item::Kind::slow_disk) {
    commit_takes_ = 4s;
    later(item.lasts, [this] { commit_takes_ = 2ms; });
    return;
  }
  if (item.kind == Item::Kind::disk_full) {
    ledger_.disk_was_full(now(), now() + item.lasts);
    disk_.before = [](const tests::Call& call) {
      const bool grows = call.kind == tests::Call::Kind::write || call.kind == tests::Call::Kind::create;
      return grows ? tests::Fault::full : tests::Fault::none;
    };
    later(item.lasts, [this] { disk_.before = nullptr; });
    return;
  }
  const tests::Fault fault = item.kind == Item::Kind::cut ? tests::Fault::cut : tests::Fault::io;
  // At times it is gone from there on, and the relay has to end by itself.
  const bool for_good = fault == tests::Fault::io && item.seed % 4 == 0;
  disk_gone_ = false;
  disk_.before = [this, item, fault, for_good, left = item.where](const tests::Call& call) mutable {
    if (disk_gone_) return fault;
    const bool counts = call.kind != tests::Call::Kind::read && call.kind != tests::Call::Kind::open;
    if (!counts || left-- > 0) return tests::Fault::none;
    // A file of a Maildir is named by the process.
    const bool of_maildir = call.path.starts_with("/mail/");
    note(std::string("the disk fails: ") + tests::name_of(call.kind) + " " +
         (of_maildir ? call.path.substr(0, call.path.rfind('/')) : call.path));
    left = 1'000'000'000;
    disk_gone_ = for_good;
    // Whatever was going on, the machine is gone soon after.
    if (fault == tests::Fault::cut) later(1s, [this, item] { end_cut(item); });
    return fault;
  };
  later(for_good ? std::min<net::Duration>(item.lasts, 20min) : item.lasts, [this] {
    disk_.before = nullptr;
    disk_gone_ = false;
  });
}

void World::end_cut(const Item& item) {
  if (!disk_.off()) return;
  end_life(true, item.seed, static_cast<tests::Loss>(item.what % 5));
  later(5s, [this] { start_life(); });
}

net::Task<> World::change(World& world, queue::Change what, queue::Filter filter) {
  queue::ChangeRequest request;
  request.change = what;
  request.filter = std::move(filter);
  request.who = "an operator";
  request.now = world.runtime_.wall_now();
  Result<queue::Changed> changed = co_await world.life_->relay->store().change(std::move(request));
  if (changed) world.note("an operator changed " + std::to_string(changed->recipients) + " recipients");
}

/// Whatever was deleted is to be there again: by the audit, since a life may have ended in the midst of it.
net::Task<> World::undo_deletions(World& world) {
  queue::Store& store = world.life_->relay->store();
  Result<std::vector<queue::ChangeRecord>> changes = co_await store.changes(UINT64_MAX, 1000);
  if (!changes) co_return;
  for (const queue::ChangeRecord& change : *changes) {
    if (change.what != "delete") continue;
    Result<queue::Changed> undone =
        co_await store.undo(change.number, "an operator", world.runtime_.wall_now(), nullptr);
    if (undone) world.note("an operator took back " + std::to_string(undone->recipients) + " deletions");
  }
}

/// What was on its way to be taken back in a life that ended, and when all is well what was to be released. What was
/// held when it was deleted is held again when it is taken back.
net::Task<> World::undo_changes(World& world) {
  co_await undo_deletions(world);
  if (world.healed_ && !world.ending_) co_await change(world, queue::Change::release, queue::Filter());
}

/// A domain's mail goes for good.
net::Task<> World::remove_for_good(World& world, std::string domain) {
  queue::Store& store = world.life_->relay->store();
  queue::ChangeRequest request;
  request.change = queue::Change::remove;
  request.filter = *queue::parse_filter("destination:" + domain);
  request.who = "an operator";
  request.for_good = true;
  request.now = world.runtime_.wall_now();
  const queue::Filter filter = request.filter;
  Result<queue::Changed> changed = co_await store.change(std::move(request));
  std::set<std::string> left;
  bool known = changed.has_value();
  if (known) {
    world.note("an operator removed " + std::to_string(changed->recipients) + " recipients for good");
    Result<queue::Listing> listing = co_await store.list(filter, std::nullopt, 10'000, world.runtime_.wall_now());
    known = listing.has_value();
    for (std::size_t i = 0; known && i < listing->messages.size(); ++i)
      for (const queue::RecipientRow& row : listing->messages[i].recipients) left.insert(row.forward_path.text());
  }
  world.ledger_.removed(domain, known ? &left : nullptr, world.now());
}

/// Holds or deletes a domain's mail for a while, or tries everything again.
void World::operate(const Item& item) {
  if (!life_ || ending_) return;
  const Domain& domain = plan_.domains[static_cast<std::size_t>(item.where) % plan_.domains.size()];
  queue::Filter filter = *queue::parse_filter("destination:" + domain.name);
  if (item.what % 2 == 0) {
    ++retries_;
    life_->scope.spawn(change(*this, queue::Change::retry, queue::Filter()));
    return;
  }
  if (item.what % 8 == 1) {
    life_->scope.spawn(remove_for_good(*this, domain.name));
    return;
  }
  if (item.what % 4 == 1) {
    life_->scope.spawn(change(*this, queue::Change::remove, filter));
    later(item.lasts, [this] { undo_soon(); });
    return;
  }
  // kHold, among others.
  life_->scope.spawn(change(*this, queue::Change::hold, filter));
  later(item.lasts, [this, filter] {
    if (life_ && !ending_) life_->scope.spawn(change(*this, queue::Change::release, filter));
  });
}

void World::undo_soon() {
  if (life_ && !ending_) life_->scope.spawn(undo_changes(*this));
}

/// From here on all is well, and stays so.
void World::heal() {
  note("all is well now");
  healed_ = true;
  dies_at_step_.reset();
  disk_.before = nullptr;
  disk_gone_ = false;
  commit_takes_ = 2ms;
  network_.flaky = false;
  network_.ipv6 = plan_.ipv6;
  network_.slowness = 50ms;
  network_.refusing.clear();
  network_.black_holes.clear();
  for (const auto& [number, host] : hosts_) host->manner.reset();
  if (life_ && disk_.off()) {
    end_life(true, chance_.next(), tests::Loss::keep_half);
    later(1s, [this] { start_life(); });
  }
  // Where nobody held any mail it has to go by itself: whatever is changed makes the relay read what is due.
  const bool operated = std::any_of(plan_.items.begin(), plan_.items.end(),
                                    [](const Item& item) { return item.kind == Item::Kind::operator_; });
  if (operated) later(1min, [this] { undo_soon(); });
  if (!life_) return;
  life_->names->lose_servers(false);
  name_domains(*life_->names);
}

}  // namespace waypost::sim
