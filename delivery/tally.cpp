#include "delivery/tally.h"

#include <algorithm>
#include <utility>

namespace waypost::delivery {

std::vector<std::size_t> Tally::open() const {
  std::vector<std::size_t> positions;
  for (std::size_t at = 0; at < entries_.size(); ++at) {
    if (entries_[at].open) positions.push_back(at);
  }
  return positions;
}

std::vector<queue::DueRecipient> Tally::recipients(const std::vector<std::size_t>& positions) const {
  std::vector<queue::DueRecipient> chosen;
  chosen.reserve(positions.size());
  for (const std::size_t at : positions) chosen.push_back(due_.recipients[at]);
  return chosen;
}

bool Tally::any_open() const {
  return std::any_of(entries_.begin(), entries_.end(), [](const Entry& entry) { return entry.open; });
}

std::vector<std::size_t> Tally::taken() const {
  std::vector<std::size_t> positions = unsettled();
  std::erase_if(positions, [this](std::size_t at) { return !entries_[at].outcome.taken(); });
  return positions;
}

std::vector<std::size_t> Tally::unsettled() const {
  std::vector<std::size_t> positions;
  for (std::size_t at = 0; at < entries_.size(); ++at) {
    if (entries_[at].learnt && !entries_[at].settled) positions.push_back(at);
  }
  return positions;
}

void Tally::settled(const std::vector<std::size_t>& positions) {
  for (const std::size_t at : positions) entries_[at].settled = true;
}

bool Tally::any_unlearnt() const {
  return std::any_of(entries_.begin(), entries_.end(), [](const Entry& entry) { return !entry.learnt; });
}

void Tally::record(const std::vector<std::size_t>& positions, const std::vector<Outcome>& outcomes) {
  for (std::size_t i = 0; i < positions.size() && i < outcomes.size(); ++i) {
    Entry& entry = entries_[positions[i]];
    entry.outcome = outcomes[i];
    entry.asked.add(outcomes[i]);
    entry.learnt = true;
    entry.open = outcomes[i].try_next_host;
  }
}

void Tally::host_failed(const HostFailure& failure) {
  for (Entry& entry : entries_)
    if (entry.open) entry.asked.add(failure);
}

std::string Tally::asked_in_vain() const {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [](const Entry& entry) { return !entry.learnt; });
  return found == entries_.end() ? std::string() : found->asked.text();
}

void Tally::close(const Outcome& outcome) {
  for (Entry& entry : entries_) {
    if (!entry.open) continue;
    entry.asked.add(outcome);
    entry = Entry{outcome, true, false, false, std::move(entry.asked)};
  }
}

void Tally::stop(bool again) {
  for (Entry& entry : entries_) {
    const bool put_off = again && entry.open && entry.learnt && entry.outcome.event == queue::Event::attempt_failed;
    if (put_off) entry.outcome.event = queue::Event::attempt_deferred;
    if (put_off && !entry.outcome.status.empty()) entry.outcome.status.front() = '4';
    entry.open = false;
  }
}

void Tally::learn_rest(const Outcome& outcome) {
  for (Entry& entry : entries_) {
    if (!entry.learnt) entry = Entry{outcome, true, false, false, std::move(entry.asked)};
  }
}

}  // namespace waypost::delivery
