#include "queue/schedule.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace waypost::queue {

bool Schedule::add(Due due) {
  Backlog& backlog = backlogs_[due.destination];
  if (backlog.messages.contains(due.message->id.value)) return false;
  // A message of more recipients than there is room for goes in alone: otherwise it would wait for ever.
  const bool room = held_ < limits_.recipients && backlog.held < limits_.per_destination;
  if (!room) {
    backlog.more = true;
    more_ = true;
    return false;
  }
  backlog.messages.emplace(due.message->id.value, false);
  backlog.held += due.recipients.size();
  held_ += due.recipients.size();
  backlog.waiting.push_back(std::move(due));
  return true;
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
  backlog.held -= due.recipients.size();
  held_ -= due.recipients.size();
  if (backlog.messages.empty() && !backlog.more) backlogs_.erase(found);
}

void Schedule::forget_waiting(Backlog& backlog) {
  for (const Due& due : backlog.waiting) {
    backlog.messages.erase(due.message->id.value);
    backlog.held -= due.recipients.size();
    held_ -= due.recipients.size();
  }
  backlog.waiting.clear();
}

void Schedule::drop_waiting(const std::string& destination) {
  const auto found = backlogs_.find(destination);
  if (found == backlogs_.end()) return;
  forget_waiting(found->second);
  found->second.more = false;
  if (found->second.messages.empty()) backlogs_.erase(found);
}

void Schedule::drop_waiting() {
  for (auto entry = backlogs_.begin(); entry != backlogs_.end();) {
    forget_waiting(entry->second);
    entry->second.more = false;
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
  backlog.held -= due->recipients.size();
  held_ -= due->recipients.size();
  backlog.waiting.erase(due);
  entry->second = true;
  return true;
}

void Schedule::release(Id message, const std::string& destination) {
  const auto found = backlogs_.find(destination);
  if (found == backlogs_.end()) return;
  found->second.messages.erase(message.value);
  if (found->second.messages.empty() && !found->second.more) backlogs_.erase(found);
}

std::size_t Schedule::waiting(const std::string& destination) const {
  const auto found = backlogs_.find(destination);
  return found == backlogs_.end() ? 0 : found->second.waiting.size();
}

bool Schedule::wants_more() const {
  if (!more_ || !has_room()) return false;
  bool someone = false;
  for (const auto& [name, backlog] : backlogs_) {
    if (!backlog.more) continue;
    if (backlog.held <= limits_.per_destination / 2) return true;
    someone = true;
  }
  return !someone;
}

void Schedule::read_again() {
  more_ = false;
  for (auto entry = backlogs_.begin(); entry != backlogs_.end();) {
    entry->second.more = false;
    entry = entry->second.messages.empty() ? backlogs_.erase(entry) : std::next(entry);
  }
}

void Schedule::set_more(const std::string& destination) {
  more_ = true;
  backlogs_[destination].more = true;
}

std::unordered_map<std::string, std::size_t> Schedule::held_by_destination() const {
  std::unordered_map<std::string, std::size_t> held;
  for (const auto& [name, backlog] : backlogs_) held.emplace(name, backlog.held);
  return held;
}

}  // namespace waypost::queue
