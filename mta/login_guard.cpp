#include "mta/login_guard.h"

#include <algorithm>
#include <cmath>

namespace waypost::mta {
namespace {

double decayed(double failures, net::Duration passed) {
  if (passed <= net::Duration(0)) return failures;
  return failures * std::exp2(-std::chrono::duration<double>(passed) / LoginGuard::kHalfLife);
}

/// Doubles with each failure from the first that is not free.
net::Duration delay_after(double failures, double free) {
  const double over = failures - free;
  if (over < 0.5) return net::Duration(0);
  const auto delay = std::chrono::duration<double>(LoginGuard::kFirstDelay) * std::exp2(std::min(over, 30.0) - 1);
  return std::min(std::chrono::duration_cast<net::Duration>(delay), LoginGuard::kLongestDelay);
}

std::string place_of(const std::string& account, const std::string& network) {
  return network + ' ' + account;
}

}  // namespace

std::string LoginGuard::network(const net::Address& client) {
  net::Address base = client;
  base.port = 0;
  const std::size_t kept = client.family == 4 ? 3 : 8;
  std::fill(base.bytes.begin() + static_cast<std::ptrdiff_t>(kept), base.bytes.end(), std::uint8_t{0});
  return base.host() + (client.family == 4 ? "/24" : "/64");
}

LoginGuard::Record& LoginGuard::touch(Table& table, const std::string& key, net::TimePoint now) const {
  auto [found, is_new] = table.map.try_emplace(key);
  Record& record = found->second;
  if (is_new) {
    record.place = table.order.insert(table.order.begin(), key);
    record.at = now;
  } else {
    table.order.splice(table.order.begin(), table.order, record.place);
  }
  record.failures = decayed(record.failures, now - record.at);
  record.at = std::max(record.at, now);
  if (table.map.size() > most_kept_) {
    table.map.erase(table.order.back());
    table.order.pop_back();
  }
  return record;
}

LoginGuard::Record* LoginGuard::find_place(const std::string& key, net::TimePoint now) {
  const auto found = places_.map.find(key);
  if (found == places_.map.end() || now - found->second.logged_in > kKnownFor) return nullptr;
  return &touch(places_, key, now);
}

net::Duration LoginGuard::begin(const std::string& account, const std::string& network, net::TimePoint now) {
  if (Record* place = find_place(place_of(account, network), now)) {
    const net::Duration delay = delay_after(place->failures, kFreeOfAccount);
    place->failures += 1;
    return delay;
  }
  Record& of_account = touch(accounts_, account, now);
  Record& of_network = touch(networks_, network, now);
  const net::Duration delay =
      std::max(delay_after(of_account.failures, kFreeOfAccount), delay_after(of_network.failures, kFreeOfNetwork));
  of_account.failures += 1;
  of_network.failures += 1;
  return delay;
}

void LoginGuard::succeeded(const std::string& account, const std::string& network, net::TimePoint now) {
  const std::string key = place_of(account, network);
  const bool was_known = find_place(key, now) != nullptr;
  Record& place = touch(places_, key, now);
  place.logged_in = now;
  place.failures = 0;
  if (!was_known) take_back(account, network, now);
}

void LoginGuard::put_off(const std::string& account, const std::string& network, net::TimePoint now) {
  Record* place = find_place(place_of(account, network), now);
  if (place == nullptr)
    take_back(account, network, now);
  else
    place->failures = std::max(0.0, place->failures - 1);
}

void LoginGuard::take_back(const std::string& account, const std::string& network, net::TimePoint now) {
  for (Record* record : {&touch(accounts_, account, now), &touch(networks_, network, now)})
    record->failures = std::max(0.0, record->failures - 1);
}

}  // namespace waypost::mta
