#include "delivery/host_choice.h"

#include <algorithm>

namespace waypost::delivery {

bool HostChoice::is_before_us(const Peer& peer) const {
  return !ourselves_ || site_.is_preferred(peer.address, *ourselves_);
}

std::optional<HostChoice::Next> HostChoice::next(net::TimePoint now) const {
  if (sessions_ >= kMaxSessions) return std::nullopt;
  const auto is_unwanted = [&](const Peer& peer) { return site_.avoids_family(peer.address.family, now); };
  const bool none_else = std::all_of(candidates_.begin(), candidates_.end(), is_unwanted);
  const auto is_open = [&](const Peer& peer) {
    return !tried_.contains(peer.address) && is_before_us(peer) && (none_else || !is_unwanted(peer));
  };
  auto found = std::find_if(candidates_.begin(), candidates_.end(), is_open);
  if (found == candidates_.end()) {
    found = std::find_if(candidates_.begin(), candidates_.end(), [&](const Peer& peer) {
      return once_more_.contains(peer.address) && is_before_us(peer) && (none_else || !is_unwanted(peer));
    });
    if (found == candidates_.end()) return std::nullopt;
    return Next{*found, std::nullopt};
  }
  if (tried_.size() >= kMaxAddresses) return std::nullopt;
  const bool room = tried_.size() + 1 < kMaxAddresses && found->text() != alone_;
  const Peer* rival = room ? site_.rival(*found, candidates_, now, is_open) : nullptr;
  return Next{*found, rival == nullptr ? std::nullopt : std::optional<Peer>(*rival)};
}

void HostChoice::asked(const net::Address& used, const std::optional<Peer>& other, WayEnd end) {
  tried_.insert(used);
  once_more_.erase(used);
  if (!other) return;
  if (end == WayEnd::failed || end == WayEnd::overtaken) tried_.insert(other->address);
  if (end == WayEnd::overtaken) once_more_.insert(other->address);
}

}  // namespace waypost::delivery
