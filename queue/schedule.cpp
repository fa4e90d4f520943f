#include "queue/schedule.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace waypost::queue {

/// Every change of what a backlog holds goes through here, so that wants_more() need not look at them all.
void Schedule::set(Backlog& backlog, std::size_t held, bool more) {
  if (is_hungry(backlog)) --hungry_;
  held_ -= backlog.held;
  held_ += held;
  backlog.held = held;
  backlog.more = more;
  if (is_hungry(backlog)) ++hungry_;
}

void Schedule::erase_if_empty(Backlogs::iterator entry) {
  if (entry->second.messages.empty() && !entry->second.more) backlogs_.erase(entry);
}

bool Schedule::add(Due due) {
  // A message of more recipients than there is room for goes in alone: otherwise it would wait for ever.
  if (held_ >= limits_.recipients) {
    more_ = true;
    return false;
  }
  Backlog& backlog = backlogs_[due.destination];
  if (backlog.messages.contains(due.message->id.value)) return false;
  if (backlog.held >= limits_.per_destination) {
    set(backlog, backlog.held, true);
    return false;
  }
  backlog.messages.emplace(due.message->id.value, false);
  set(backlog, backlog.held + due.recipients.size(), backlog.more);
  backlog.waiting.push_back(std::move(due));
  return true;
}

bool Schedule::add_new(Due due) {
  const auto found = backlogs_.find(due.destination);
  if (found != backlogs_.end() && found->second.more) return false;
  return add(std::move(due));
}

std::optional<Due> Schedule::take(const std::string& destination) {
  const auto found = backlogs_.find(destination);
  if (found == backlogs_.end() || found->second.waiting.empty()) return std::nullopt;
  Backlog& backlog = found->second;
  Due due = std::move(backlog.waiting.front());
  backlog.waiting.pop_front();
  backlog.messages[due.message->id.value] = true;
  return due;
}

void Schedule::finished(const Due& due) {
  const auto found = backlogs_.find(due.destination);
  if (found == backlogs_.end()) return;
  Backlog& backlog = found->second;
  if (backlog.messages.erase(due.message->id.value) == 0) return;
  set(backlog, backlog.held - due.recipients.size(), backlog.more);
  erase_if_empty(found);
}

/// What waits, and that there is more.
void Schedule::forget_waiting(Backlog& backlog) {
  std::size_t held = backlog.held;
  for (const Due& due : backlog.waiting) {
    backlog.messages.erase(due.message->id.value);
    held -= due.recipients.size();
  }
  backlog.waiting.clear();
  set(backlog, held, false);
}

void Schedule::drop_waiting(const std::string& destination) {
  const auto found = backlogs_.find(destination);
  if (found == backlogs_.end()) return;
  forget_waiting(found->second);
  erase_if_empty(found);
}

void Schedule::drop_waiting() {
  for (auto entry = backlogs_.begin(); entry != backlogs_.end();) {
    forget_waiting(entry->second);
    entry = entry->second.messages.empty() ? backlogs_.erase(entry) : std::next(entry);
  }
  more_ = true;
}

bool Schedule::claim(Id message, const std::string& destination) {
  Backlog& backlog = backlogs_[destination];
  const auto [entry, absent] = backlog.messages.emplace(message.value, true);
  if (absent) return true;
  if (entry->second) return false;
  const auto due = std::find_if(backlog.waiting.begin(), backlog.waiting.end(),
                                [&](const Due& one) { return one.message->id == message; });
  set(backlog, backlog.held - due->recipients.size(), backlog.more);
  backlog.waiting.erase(due);
  entry->second = true;
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
  return found == backlogs_.end() ? 0 : found->second.waiting.size();
}

bool Schedule::holds(const std::string& destination) const {
  const auto found = backlogs_.find(destination);
  return found != backlogs_.end() && !found->second.messages.empty();
}

void Schedule::read_again() {
  more_ = false;
  for (auto entry = backlogs_.begin(); entry != backlogs_.end();) {
    set(entry->second, entry->second.held, false);
    entry = entry->second.messages.empty() ? backlogs_.erase(entry) : std::next(entry);
  }
}

void Schedule::set_more(const std::string& destination) {
  Backlog& backlog = backlogs_[destination];
  set(backlog, backlog.held, true);
}

}  // namespace waypost::queue
