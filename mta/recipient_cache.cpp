#include "mta/recipient_cache.h"

#include <iterator>

namespace waypost::mta {

RecipientCache::State RecipientCache::find(const std::string& key, net::TimePoint now) const {
  std::lock_guard lock(guard_);
  if (const Entry* known = known_.find(key)) {
    if (now - known->since < kKnown) return State::known;
    if (now - known->since < kKept) return State::was_known;
  }
  const Entry* unknown = unknown_.find(key);
  return unknown != nullptr && now - unknown->since < kUnknown ? State::unknown : State::nothing;
}

void RecipientCache::put(const std::string& key, bool known, net::TimePoint now) {
  std::lock_guard lock(guard_);
  known_.remove(key);
  unknown_.remove(key);
  (known ? known_ : unknown_).add(key, now);
  known_.trim(kMostKnown, now - kKept);
  unknown_.trim(kMostUnknown, now - kUnknown);
}

std::size_t RecipientCache::size() const {
  std::lock_guard lock(guard_);
  return known_.by_age.size() + unknown_.by_age.size();
}

const RecipientCache::Entry* RecipientCache::Half::find(const std::string& key) const {
  const auto found = by_key.find(key);
  return found == by_key.end() ? nullptr : &*found->second;
}

void RecipientCache::Half::remove(const std::string& key) {
  const auto found = by_key.find(key);
  if (found == by_key.end()) return;
  const std::list<Entry>::iterator entry = found->second;
  by_key.erase(found);
  by_age.erase(entry);
}

void RecipientCache::Half::add(const std::string& key, net::TimePoint now) {
  by_age.push_back({key, now});
  by_key.emplace(by_age.back().key, std::prev(by_age.end()));
}

void RecipientCache::Half::trim(std::size_t most, net::TimePoint oldest) {
  while (!by_age.empty() && (by_age.size() > most || by_age.front().since <= oldest)) {
    by_key.erase(by_age.front().key);
    by_age.pop_front();
  }
}

}  // namespace waypost::mta
