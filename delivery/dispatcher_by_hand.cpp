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

net::Task<Result<std::size_t>> Dispatcher::end_by_hand(queue::Overdue found, std::vector<std::size_t> positions,
                                                       std::vector<Outcome> outcomes) {
  if (positions.empty()) co_return std::size_t{0};
  const queue::Id id = found.message->id;
  queue::Due due;
  due.message = found.message;
  std::vector<std::string> claimed;
  bool busy = false;
  for (const std::size_t at : positions) {
    due.recipients.push_back(std::move(found.recipients[at]));
    const std::string& destination = found.destinations[at].name;
    if (busy || std::find(claimed.begin(), claimed.end(), destination) != claimed.end()) continue;
    busy = !schedule_.claim(id, destination);
    if (!busy) claimed.push_back(destination);
  }
  std::size_t settled = 0;
  if (!busy) {
    std::shared_ptr<const queue::Content> content;
    Result<std::shared_ptr<const queue::Content>> read = co_await store_.content(id);
    if (read) content = *read;
    Tally tally(std::move(due));
    for (std::size_t at = 0; at < outcomes.size(); ++at) tally.record({at}, {outcomes[at]});
    tally.stop();
    co_await settle(tally, tally.unsettled(), content);
    settled = tally.entries().size() - tally.unsettled().size();
  }
  read_store_ = true;  // what was claimed from the window is in the store
  for (const std::string& destination : claimed) {
    schedule_.release(id, destination);
    read_unread(destination);
  }
  wake();
  if (busy) co_return fail(Errc::busy, id.text() + " is being attempted just now: look at what comes of it");
  co_return settled;
}

net::Task<Result<Dispatcher::Bounced>> Dispatcher::bounce(queue::Filter filter, std::string reason) {
  Bounced bounced;
  queue::Id after;
  while (true) {
    const Result<queue::Matches> page = co_await store_.match(filter, after, runtime_.wall_now());
    if (!page) co_return fail(page.error());
    for (std::size_t at = 0; at < page->messages.size(); at += kAtOnce) {
      if (stopping_) co_return fail(Errc::cancelled, "the daemon is stopping");
      net::Scope crew(runtime_, [](std::string_view what) { log::failure("bounce: " + std::string(what)); });
      const std::size_t end = std::min(at + kAtOnce, page->messages.size());
      for (std::size_t each = at; each < end; ++each) crew.spawn(bounce(page->messages[each], reason, bounced));
      co_await crew.drained();
    }
    if (!page->resume) co_return bounced;
    after = *page->resume;
  }
}

net::Task<> Dispatcher::bounce(queue::Matches::Message message, std::string reason, Bounced& bounced) {
  Result<queue::Overdue> found = co_await store_.unsettled(message.id);
  if (!found) {
    // It has left meanwhile; or it cannot be read, and nobody can be told of it.
    if (found.error().code != Errc::not_found) ++bounced.failed;
    co_return;
  }
  std::vector<std::size_t> positions;
  for (std::size_t at = 0; at < found->recipients.size(); ++at) {
    const auto& meant = message.recipients;
    if (std::find(meant.begin(), meant.end(), found->recipients[at].index) != meant.end()) positions.push_back(at);
  }
  if (positions.empty()) co_return;
  std::vector<Outcome> outcomes(positions.size(), bounced_by_hand(reason));
  const Result<std::size_t> ended = co_await end_by_hand(*std::move(found), std::move(positions), std::move(outcomes));
  if (!ended) {
    ++(ended.error().code == Errc::busy ? bounced.busy : bounced.failed);
    co_return;
  }
  bounced.messages += *ended > 0 ? 1 : 0;
  bounced.recipients += *ended;
}

}  // namespace waypost::delivery
