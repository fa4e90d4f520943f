// delivery/dispatcher_by_hand.cpp: recipients that an administrator ends. What is attempted just now is left alone:
// only its attempt knows what becomes of it.
#include <algorithm>
#include <utility>

#include "base/event_log.h"
#include "base/text.h"
#include "delivery/dispatcher.h"
#include "delivery/disposition.h"
#include "delivery/tally.h"

namespace waypost::delivery {
namespace {

constexpr std::size_t kAtOnce = 50;  // messages that are ended in about one commit

}  // namespace

net::Task<Result<std::size_t>> Dispatcher::settle_doubt(queue::Id id, std::string address, bool delivered,
                                                        std::string reason) {
  Result<queue::Overdue> found = co_await store_.unsettled(id);
  if (!found) co_return fail(found.error());
  std::vector<std::size_t> positions;
  std::vector<Outcome> outcomes;
  for (std::size_t at = 0; at < found->recipients.size(); ++at) {
    const queue::DueRecipient& recipient = found->recipients[at];
    const bool meant = address.empty() || equals_no_case(recipient.forward_path.text(), address);
    if (!meant || !is_doubt(recipient.last_reply)) continue;
    positions.push_back(at);
    outcomes.push_back(settled_by_hand(delivered, reason, recipient.last_host));
  }
  co_return co_await end_by_hand(*std::move(found), std::move(positions), std::move(outcomes));
}

/// As an attempt does, at the destinations of these recipients. False: one of them is at it; what was claimed before is
/// to be let go all the same.
bool Dispatcher::claim(const queue::Overdue& found, const std::vector<std::size_t>& positions,
                       std::vector<std::string>& claimed) {
  for (const std::size_t at : positions) {
    const std::string& destination = found.destinations[at].name;
    if (std::find(claimed.begin(), claimed.end(), destination) != claimed.end()) continue;
    if (!schedule_.claim(found.message->id, destination)) return false;
    claimed.push_back(destination);
  }
  return true;
}

void Dispatcher::let_go(queue::Id message, const std::vector<std::string>& claimed) {
  read_store_ = true;  // what was claimed from the window is in the store
  for (const std::string& destination : claimed) {
    schedule_.release(message, destination);
    read_unread(destination);
  }
  wake();
}

net::Task<Result<std::size_t>> Dispatcher::end_by_hand(queue::Overdue found, std::vector<std::size_t> positions,
                                                       std::vector<Outcome> outcomes) {
  if (positions.empty()) co_return std::size_t{0};
  const queue::Id id = found.message->id;
  std::vector<std::string> claimed;
  Result<std::size_t> settled = std::size_t{0};
  const bool free = claim(found, positions, claimed);
  if (free) {
    queue::Due due;
    due.message = found.message;
    for (const std::size_t at : positions) due.recipients.push_back(std::move(found.recipients[at]));
    std::shared_ptr<const queue::Content> content;
    Result<std::shared_ptr<const queue::Content>> read = co_await store_.content(id);
    if (read) content = *read;
    Tally tally(std::move(due));
    for (std::size_t at = 0; at < outcomes.size(); ++at) tally.record({at}, {outcomes[at]});
    tally.stop();
    const Result<> recorded = co_await settle(tally, tally.unsettled(), content);
    if (recorded)
      settled = tally.entries().size() - tally.unsettled().size();
    else
      settled = fail(recorded.error());
  }
  let_go(id, claimed);
  if (!free) co_return fail(Errc::busy, id.text() + " is being attempted just now: look at what comes of it");
  co_return settled;
}

net::Task<Result<std::size_t>> Dispatcher::forward(queue::Overdue found, std::vector<std::size_t> positions,
                                                   std::shared_ptr<const HandOrder> order) {
  const queue::Id id = found.message->id;
  std::vector<std::string> claimed;
  Result<std::size_t> forwarded = std::size_t{0};
  const bool free = claim(found, positions, claimed);
  if (free) {
    queue::ForwardRequest request;
    request.message = id;
    for (const std::size_t at : positions) request.recipients.push_back(found.recipients[at].index);
    if (order->kind == HandOrder::Kind::redirect) request.to = order->to;
    request.next_hop = order->next_hop;
    request.reason = order->reason;
    request.now = runtime_.wall_now();
    forwarded = co_await store_.forward(std::move(request));
    ++redirected_;
  }
  let_go(id, claimed);
  if (!free) co_return fail(Errc::busy, id.text() + " is being attempted just now");
  co_return forwarded;
}

net::Task<ByHand> Dispatcher::by_hand(HandOrder wanted) {
  const auto order = std::make_shared<const HandOrder>(std::move(wanted));
  ByHand done;
  const queue::Id newest = store_.draft().id();
  queue::Id after;
  bool goes_on = true;
  while (goes_on) {
    const Result<queue::Matches> page = co_await store_.match(order->filter, after, runtime_.wall_now());
    if (!page) done.cut_short = page.error();
    std::vector<queue::Matches::Message> messages;
    if (page) messages = page->messages;
    std::erase_if(messages, [newest](const queue::Matches::Message& each) { return each.id > newest; });
    for (std::size_t at = 0; at < messages.size() && !done.cut_short && !done.stopped; at += kAtOnce) {
      net::Scope crew(runtime_, [](std::string_view what) { log::failure("by hand: " + std::string(what)); });
      const std::size_t end = std::min(at + kAtOnce, messages.size());
      for (std::size_t each = at; each < end; ++each) crew.spawn(by_hand(messages[each], order, done));
      co_await crew.drained();
      if (order->progress) order->progress->add(end - at);
      const bool more = end < messages.size() || page->resume;
      done.stopped = more && order->progress && order->progress->is_stopped();
      if (stopping_) done.cut_short = Error(Errc::cancelled, "the daemon is stopping");
    }
    goes_on = !done.cut_short && !done.stopped && page->resume && *page->resume < newest;
    if (goes_on) after = *page->resume;
  }
  // The next hop may have failed before, for others.
  if (order->kind != HandOrder::Kind::bounce && done.recipients > 0) changed();
  co_return done;
}

net::Task<> Dispatcher::by_hand(queue::Matches::Message message, std::shared_ptr<const HandOrder> order, ByHand& done) {
  Result<queue::Overdue> found = co_await store_.unsettled(message.id);
  if (!found) {
    // It has left meanwhile; or it cannot be read, and nobody can be told of it.
    if (found.error().code != Errc::not_found) ++done.failed;
    co_return;
  }
  std::vector<std::size_t> positions;
  for (std::size_t at = 0; at < found->recipients.size(); ++at) {
    const auto& meant = message.recipients;
    if (std::find(meant.begin(), meant.end(), found->recipients[at].index) != meant.end()) positions.push_back(at);
  }
  if (positions.empty()) co_return;
  const bool bounces = order->kind == HandOrder::Kind::bounce;
  Result<std::size_t> ended = std::size_t{0};
  if (bounces) {
    std::vector<Outcome> outcomes(positions.size(), bounced_by_hand(order->reason));
    ended = co_await end_by_hand(*std::move(found), std::move(positions), std::move(outcomes));
  } else {
    ended = co_await forward(*std::move(found), std::move(positions), order);
  }
  if (!ended && ended.error().code == Errc::busy) ++done.busy;
  const bool failed = !ended ? ended.error().code != Errc::busy : bounces && *ended == 0;
  done.failed += failed ? 1 : 0;
  if (!ended) co_return;
  done.messages += *ended > 0 ? 1 : 0;
  done.recipients += *ended;
}

}  // namespace waypost::delivery
