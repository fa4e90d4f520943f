#include "mta/relay.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "base/event_log.h"
#include "mta/policy.h"

namespace waypost::mta {
namespace {

constexpr net::Duration kPoll = std::chrono::milliseconds(20);

void on_exception(std::string_view what) {
  log::failure("an exception: " + std::string(what));
}

}  // namespace

Relay::Side::Side(std::size_t loop, const RelayParts& parts, RecipientCache& recipients,
                  const std::atomic<bool>& accepting)
    : runtime(*parts.loops[loop]),
      store(parts.queue.store(runtime)),
      asker({runtime, parts.resolvers.empty() ? parts.resolver : *parts.resolvers[loop], recipients, parts.config,
             parts.own_addresses, std::max<std::size_t>(RecipientAsker::kMostConnections / parts.loops.size(), 1),
             parts.tls_client}),
      context{runtime,      *store,      parts.limits,
              parts.config, accepting,   parts.tls,
              parts.auth,   parts.rates, parts.resolvers.empty() ? nullptr : parts.resolvers[loop],
              &asker},
      server(context),
      scope(runtime, on_exception) {}

Relay::Relay(RelayParts parts)
    : parts_(std::move(parts)),
      sides_(make_sides()),
      dispatcher_(*parts_.loops.front(), store(), parts_.resolver, parts_.config, parts_.own_addresses,
                  parts_.open_folder, {}, parts_.tls_client) {
  for (const std::string& folder : parts_.drop_folders) {
    Side& first = *sides_.front();
    maildrops_.push_back(std::make_unique<Maildrop>(first.context, first.server, folder));
  }
  dispatcher_.set_postmasters([this] { return postmasters(*parts_.config()); });
}

Relay::~Relay() = default;

std::vector<std::unique_ptr<Relay::Side>> Relay::make_sides() {
  std::vector<std::unique_ptr<Side>> sides;
  for (std::size_t i = 0; i < parts_.loops.size(); ++i) {
    sides.push_back(std::make_unique<Side>(i, parts_, recipients_, *accepting_));
  }
  return sides;
}

void Relay::start(const std::vector<Port>& ports) {
  net::Runtime& main = *parts_.loops.front();
  queue::StoreEvents events;
  events.arrived = [this, &main](std::vector<queue::Due> due) {
    auto shared = std::make_shared<std::vector<queue::Due>>(std::move(due));
    main.post([this, shared] { dispatcher_.arrived(std::move(*shared)); });
  };
  events.changed = [this, &main] { main.post([this] { dispatcher_.changed(); }); };
  // The storage thread outlives this relay, and may meet a failing disk at its last checkpoint.
  events.failed = [accepting = accepting_, failed = parts_.failed](const Error& error) {
    *accepting = false;
    failed(error);
  };
  parts_.queue.set_events(std::move(events));
  dispatcher_.start();
  for (const std::unique_ptr<Side>& side : sides_) {
    const Result<> started = side->server.start(ports);
    if (!started) log::failure("listening: " + started.error().what);
  }
  for (const auto& maildrop : maildrops_) maildrop->start();
}

net::Task<bool> Relay::wind_down() {
  net::Runtime& main = *parts_.loops.front();
  draining_ = sides_.size();
  for (const std::unique_ptr<Side>& side : sides_) {
    Side* each = side.get();
    each->runtime.post([this, each] { each->scope.spawn(drain(*each)); });
  }
  dispatcher_.stop();
  const net::TimePoint patient_until = main.now() + kGrace;
  bool aborted = false;
  while (draining_ > 0 || dispatcher_.running()) {
    if (!aborted && main.now() > patient_until) {
      dispatcher_.abort();
      aborted = true;
    }
    // Sessions were given their own time, which is longer (Session::kGrace).
    if (main.now() > patient_until + kGrace + kAbort) co_return false;
    co_await main.sleep_for(kPoll, std::stop_token());
  }
  co_return true;
}

net::Task<> Relay::drain(Side& side) {
  const bool has_maildrops = &side == sides_.front().get();
  if (has_maildrops)
    for (const auto& maildrop : maildrops_) maildrop->stop();
  side.server.stop();
  if (side.context.resolver != nullptr) side.context.resolver->stop();
  if (has_maildrops)  // first: they may have begun one more session each
    for (const auto& maildrop : maildrops_) co_await maildrop->drained();
  co_await side.server.drained();
  side.asker.stop();
  co_await side.asker.drained();
  parts_.loops.front()->post([this] { --draining_; });
}

}  // namespace waypost::mta
