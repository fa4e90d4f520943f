#include "mta/limits.h"

#include <algorithm>
#include <functional>
#include <string>

namespace waypost::mta {

std::size_t connection_ceiling(std::size_t descriptors, std::size_t reserved) {
  // Where that is more than all we have, a half for the rest must do.
  std::size_t rest = std::min(reserved, descriptors / 2);
  return std::max<std::size_t>((descriptors - rest) / 4, 1);
}

Limits::Key Limits::key(const net::Address& client) {
  Key key;
  key.family = client.family;
  std::size_t octets = client.family == 4 ? 4 : 8;
  for (std::size_t i = 0; i < octets; ++i) key.bits = key.bits << 8 | client.bytes[i];
  return key;
}

std::size_t Limits::Hash::operator()(const Key& key) const {
  // A peer chooses its address: the multiplication spreads what differs in one end of it only.
  return std::hash<std::uint64_t>()((key.bits + key.family) * 0x9E3779B97F4A7C15U);
}

std::optional<Limits::Token> Limits::acquire(const net::Address& client, std::size_t in_all, std::size_t per_client,
                                             bool ours) {
  Key counted = key(client);
  std::lock_guard lock(mutex_);
  if (connections_.load(std::memory_order_relaxed) >= std::min(in_all, ceiling_)) return std::nullopt;
  if (!ours && kept_for_ours(in_all)) return std::nullopt;
  std::size_t& of_client = clients_[counted];
  if (of_client >= per_client) {
    if (of_client == 0) clients_.erase(counted);
    return std::nullopt;
  }
  ++of_client;
  connections_.fetch_add(1, std::memory_order_relaxed);
  return std::optional<Token>(std::in_place, *this, counted);
}

bool Limits::Token::move_to(const net::Address& client, std::size_t per_client) {
  const Key to = key(client);
  if (!limits_->move(client_, to, per_client)) return false;
  client_ = to;
  return true;
}

bool Limits::move(Key from, Key to, std::size_t per_client) {
  if (from == to) return true;
  std::lock_guard lock(mutex_);
  const auto found = clients_.find(to);
  if (found != clients_.end() && found->second >= per_client) return false;
  ++clients_[to];
  const auto left = clients_.find(from);
  if (left != clients_.end() && --left->second == 0) clients_.erase(left);
  return true;
}

void Limits::release(Key client) {
  std::lock_guard lock(mutex_);
  auto found = clients_.find(client);
  if (found != clients_.end() && --found->second == 0) clients_.erase(found);
  connections_.fetch_sub(1, std::memory_order_relaxed);
}

bool Limits::too_often(const net::Address& client, const conf::Rate& rate, net::WallTime now) {
  const Key counted = key(client);
  const Rates::Key name{std::to_string(counted.family), std::to_string(counted.bits)};
  return rates_.take(name, Rates::Kind::messages, rate, now).wait.has_value();
}

std::size_t Limits::connections_of(const net::Address& client) const {
  std::lock_guard lock(mutex_);
  auto found = clients_.find(key(client));
  return found == clients_.end() ? 0 : found->second;
}

bool Limits::kept_for_ours(std::size_t in_all) const {
  const std::size_t most = std::min(in_all, ceiling_);
  return connections() >= most - most / 10;
}

bool Limits::crowded(std::size_t in_all) const {
  std::size_t most = std::min(in_all, ceiling_);
  return connections() >= most - most / 4;
}

}  // namespace waypost::mta
