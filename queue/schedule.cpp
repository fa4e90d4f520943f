#include "queue/schedule.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace waypost::queue {
namespace {

bool is_not_high(std::uint32_t flow) {
  return Flow{flow}.priority() != Priority::high;
}

}  // namespace

/// Every change of what a backlog holds goes through here, so that wants_more() need not look at them all.
void Schedule::set(Backlog& backlog, std::size_t held, std::size_t ahead, bool more) {
  if (is_hungry(backlog)) --hungry_;
  held_ += held - backlog.held;
  ahead_ += ahead - backlog.ahead;
  backlog.held = held;
  backlog.ahead = ahead;
  backlog.more = more;
  if (is_hungry(backlog)) ++hungry_;
}

void Schedule::erase_if_empty(Backlogs::iterator entry) {
  if (entry->second.messages.empty() && !entry->second.more) backlogs_.erase(entry);
}

bool Schedule::add(Due due) {
  if (is_kept_out(due.message->id, due.destination)) return false;
  // A message of more recipients than there is room for goes in alone: otherwise it would wait for ever.
  if (in_turn() >= limits_.recipients) {
    more_ = true;
    return false;
  }
  const auto entry = backlogs_.try_emplace(due.destination).first;
  Backlog& backlog = entry->second;
  const auto known = backlog.messages.find(due.message->id.value);
  if (known != backlog.messages.end()) {
    known->second.again = known->second.again || due.recipients.size() > known->second.recipients;
    return false;
  }
  if (backlog.held - backlog.ahead >= limits_.per_destination) {
    set_more(due.destination, due.flow);
    return false;
  }
  put(*entry, std::move(due), false);
  return true;
}

bool Schedule::add_new(Due due) {
  if (is_kept_out(due.message->id, due.destination)) return false;
  const auto found = backlogs_.find(due.destination);
  const bool is_full = in_turn() >= limits_.recipients;
  const bool may_be_ahead = ahead_ + due.recipients.size() <= for_new(limits_.recipients);
  if (found == backlogs_.end() || found->second.messages.empty()) {
    if (is_full && !may_be_ahead) {
      more_ = true;
      return false;
    }
    const auto entry = backlogs_.try_emplace(due.destination).first;  // before `due` is moved from
    put(*entry, std::move(due), is_full);
    return true;
  }
  Backlog& backlog = found->second;
  if (backlog.messages.contains(due.message->id.value)) return false;
  const auto lane = backlog.lanes.find(due.flow.value);
  const bool is_known = lane != backlog.lanes.end();
  const bool left_behind = is_known && lane->second.more;
  const bool ahead = is_full || backlog.more || backlog.held - backlog.ahead >= limits_.per_destination;
  const std::size_t few = for_new(limits_.per_destination);
  // A flow that has many in the window is the backlog.
  const bool may_overtake =
      may_be_ahead && backlog.ahead + due.recipients.size() <= few && (!is_known || lane->second.waiting.size() < few);
  if (left_behind || (ahead && !may_overtake)) {
    set_more(due.destination, due.flow);
    return false;
  }
  put(*found, std::move(due), ahead);
  return true;
}

void Schedule::put(Backlogs::value_type& entry, Due due, bool ahead) {
  Backlog& backlog = entry.second;
  places_.emplace(due.message->id.value, &entry.first);
  const std::size_t recipients = due.recipients.size();
  backlog.messages.emplace(due.message->id.value, Backlog::Message{false, ahead ? recipients : 0, recipients});
  set(backlog, backlog.held + recipients, backlog.ahead + (ahead ? recipients : 0), backlog.more);
  Lane& lane = backlog.lanes[due.flow.value];
  if (lane.waiting.empty()) {
    lane.credit = weight(due.flow.priority());
    // Before the others, but behind those that are as high.
    const auto first_other = std::find_if(backlog.turns.begin(), backlog.turns.end(), is_not_high);
    const bool high = due.flow.priority() == Priority::high;
    backlog.turns.insert(high ? first_other : backlog.turns.end(), due.flow.value);
  }
  lane.waiting.push_back(std::move(due));
  ++backlog.waiting;
}

std::optional<Due> Schedule::take(const std::string& destination) {
  const auto found = backlogs_.find(destination);
  if (found == backlogs_.end() || found->second.waiting == 0) return std::nullopt;
  Backlog& backlog = found->second;
  // What is high goes first, but not for ever while others wait.
  auto turn = backlog.turns.begin();
  if (backlog.high_in_a_row >= weight(Priority::high)) turn = std::find_if(turn, backlog.turns.end(), is_not_high);
  if (turn == backlog.turns.end()) turn = backlog.turns.begin();
  const std::uint32_t flow = *turn;
  Lane& lane = backlog.lanes.at(flow);
  Due due = std::move(lane.waiting.front());
  lane.waiting.pop_front();
  --backlog.waiting;
  forget_place(due.message->id.value, found->first);
  backlog.high_in_a_row = is_not_high(flow) ? 0 : backlog.high_in_a_row + 1;
  backlog.messages[due.message->id.value].in_flight = true;
  const bool over = lane.waiting.empty();
  if (over || --lane.credit == 0) {
    backlog.turns.erase(turn);
    if (!over) backlog.turns.push_back(flow);
    lane.credit = weight(due.flow.priority());
  }
  if (over && !lane.more) backlog.lanes.erase(flow);
  return due;
}

std::vector<std::string> Schedule::waits_beside(Id message, const std::string& destination) const {
  std::vector<std::string> out;
  const auto [first, last] = places_.equal_range(message.value);
  for (auto place = first; place != last; ++place)
    if (*place->second != destination) out.push_back(*place->second);
  return out;
}

const Due* Schedule::find(Id message, const std::string& destination) const {
  const auto found = backlogs_.find(destination);
  if (found == backlogs_.end()) return nullptr;
  for (const auto& [flow, lane] : found->second.lanes)
    for (const Due& due : lane.waiting)
      if (due.message->id == message) return &due;
  return nullptr;
}

std::optional<Due> Schedule::take(Id message, const std::string& destination) {
  const auto found = backlogs_.find(destination);
  if (found == backlogs_.end()) return std::nullopt;
  std::optional<Due> due = pull(*found, message);
  if (due) found->second.messages[message.value].in_flight = true;
  return due;
}

/// What waits, out of turn.
std::optional<Due> Schedule::pull(Backlogs::value_type& entry, Id message) {
  Backlog& backlog = entry.second;
  for (auto lane = backlog.lanes.begin(); lane != backlog.lanes.end(); ++lane) {
    std::deque<Due>& waiting = lane->second.waiting;
    const auto found =
        std::find_if(waiting.begin(), waiting.end(), [&](const Due& one) { return one.message->id == message; });
    if (found == waiting.end()) continue;
    Due due = std::move(*found);
    waiting.erase(found);
    --backlog.waiting;
    forget_place(message.value, entry.first);
    if (!waiting.empty()) return due;
    std::erase(backlog.turns, lane->first);
    if (!lane->second.more) backlog.lanes.erase(lane);
    return due;
  }
  return std::nullopt;
}

void Schedule::forget_place(std::uint64_t message, const std::string& destination) {
  const auto [first, last] = places_.equal_range(message);
  const auto place = std::find_if(first, last, [&](const auto& each) { return each.second == &destination; });
  if (place != last) places_.erase(place);
}

/// A message that is not in the window any more.
void Schedule::forget(Backlog& backlog, std::uint64_t message, std::size_t recipients) {
  const auto entry = backlog.messages.find(message);
  if (entry == backlog.messages.end()) return;
  set(backlog, backlog.held - recipients, backlog.ahead - entry->second.ahead, backlog.more);
  more_ = more_ || entry->second.again;
  backlog.messages.erase(entry);
}

void Schedule::finished(Id message, const std::string& destination, std::size_t recipients) {
  const auto found = backlogs_.find(destination);
  if (found == backlogs_.end()) return;
  forget(found->second, message.value, recipients);
  erase_if_empty(found);
}

/// What waits, and that there is more.
void Schedule::forget_waiting(Backlogs::value_type& entry) {
  Backlog& backlog = entry.second;
  for (const auto& [flow, lane] : backlog.lanes) {
    for (const Due& due : lane.waiting) {
      forget_place(due.message->id.value, entry.first);
      forget(backlog, due.message->id.value, due.recipients.size());
    }
  }
  backlog.lanes.clear();
  backlog.turns.clear();
  backlog.waiting = 0;
  set(backlog, backlog.held, backlog.ahead, false);
}

void Schedule::drop_waiting(const std::string& destination) {
  const auto found = backlogs_.find(destination);
  if (found == backlogs_.end()) return;
  forget_waiting(*found);
  erase_if_empty(found);
}

void Schedule::drop_waiting() {
  for (auto entry = backlogs_.begin(); entry != backlogs_.end();) {
    forget_waiting(*entry);
    entry = entry->second.messages.empty() ? backlogs_.erase(entry) : std::next(entry);
  }
  more_ = true;
}

bool Schedule::claim(Id message, const std::string& destination) {
  if (is_kept_out(message, destination)) return false;
  const auto found = backlogs_.try_emplace(destination).first;
  Backlog& backlog = found->second;
  const auto [entry, absent] = backlog.messages.emplace(message.value, Backlog::Message{true});
  if (absent) return true;
  if (entry->second.in_flight) return false;
  const std::optional<Due> due = pull(*found, message);
  if (!due) return true;
  set(backlog, backlog.held - due->recipients.size(), backlog.ahead - entry->second.ahead, backlog.more);
  entry->second = {true};
  return true;
}

void Schedule::release(Id message, const std::string& destination) {
  const auto found = backlogs_.find(destination);
  if (found == backlogs_.end()) return;
  found->second.messages.erase(message.value);
  erase_if_empty(found);
}

std::size_t Schedule::waiting(const std::string& destination) const {
  const auto found = backlogs_.find(destination);
  return found == backlogs_.end() ? 0 : found->second.waiting;
}

bool Schedule::holds(const std::string& destination) const {
  const auto found = backlogs_.find(destination);
  return found != backlogs_.end() && !found->second.messages.empty();
}

void Schedule::read_again() {
  more_ = false;
  for (auto entry = backlogs_.begin(); entry != backlogs_.end();) {
    Backlog& backlog = entry->second;
    set(backlog, backlog.held, backlog.ahead, false);
    for (auto& [flow, lane] : backlog.lanes) lane.more = false;
    std::erase_if(backlog.lanes, [](const auto& each) { return each.second.waiting.empty(); });
    entry = backlog.messages.empty() ? backlogs_.erase(entry) : std::next(entry);
  }
}

void Schedule::set_more(const std::string& destination, std::optional<Flow> flow) {
  Backlog& backlog = backlogs_[destination];
  if (flow) backlog.lanes[flow->value].more = true;
  set(backlog, backlog.held, backlog.ahead, true);
}

}  // namespace waypost::queue
