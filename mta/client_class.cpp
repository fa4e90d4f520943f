#include "mta/client_class.h"

#include <algorithm>

#include "base/text.h"
#include "conf/values.h"

namespace waypost::mta {
namespace {

constexpr std::uint8_t kSubscriber = 64;  // bits of IPv6 that one of them has for itself

template <class T, class Holds>
bool any_or_none(const std::vector<T>& conditions, Holds holds) {
  return conditions.empty() || std::any_of(conditions.begin(), conditions.end(), holds);
}

bool is_of(const conf::ClientClass& of, const Client& client, const conf::Listener& listener) {
  return any_or_none(of.networks, [&](const conf::Network& each) { return each.contains(client.address); }) &&
         any_or_none(of.listeners, [&](const conf::HostPort& each) { return each == listener.address; }) &&
         any_or_none(of.logins, [&](const std::string& each) { return conf::is_login(each, client.login); }) &&
         any_or_none(of.certificates, [&](const std::string& each) {
           return std::find(client.certificates.begin(), client.certificates.end(), each) != client.certificates.end();
         });
}

}  // namespace

const conf::ClientClass* class_of(const conf::Config& config, const Client& client, const conf::Listener& listener) {
  const auto found = std::find_if(config.clients.begin(), config.clients.end(),
                                  [&](const conf::ClientClass& each) { return is_of(each, client, listener); });
  return found == config.clients.end() ? nullptr : &*found;
}

std::string external_login(const conf::Config& config, const Client& client, const conf::Listener& listener) {
  if (client.certificates.empty()) return "";
  for (const conf::ClientClass& each : config.clients) {
    if (each.login.empty() || each.certificates.empty()) continue;
    Client as = client;
    as.login = each.login;
    if (is_of(each, as, listener)) return each.login;
  }
  return "";
}

std::vector<std::string> certificate_marks(const net::TlsPeer& peer) {
  std::vector<std::string> marks{"sha256:" + peer.spki_sha256};
  if (peer.verified) marks.insert(marks.end(), peer.names.begin(), peer.names.end());
  return marks;
}

bool asks_for_certificates(const conf::Config& config) {
  return std::any_of(config.clients.begin(), config.clients.end(),
                     [](const conf::ClientClass& each) { return !each.certificates.empty(); });
}

std::uint64_t message_size(const conf::Config& config, const Client& client) {
  const conf::ClientClass* of = client.client_class;
  return of != nullptr ? of->message_size.value_or(config.limits.message_size) : config.limits.message_size;
}

std::size_t most_recipients(const conf::Config& config, const Client& client) {
  const conf::ClientClass* of = client.client_class;
  const int most = of != nullptr ? of->recipients.value_or(config.limits.recipients) : config.limits.recipients;
  return static_cast<std::size_t>(most);
}

std::string rate_key(const conf::ClientClass& client_class, const Client& client) {
  if (client_class.rate_together) return "";
  if (!client.login.empty()) return to_lower(client.login);
  if (client.address.find(':') == std::string::npos) return client.address;
  const Result<conf::Network> whole = conf::parse_network(client.address);
  if (!whole) return client.address;
  conf::Network subscriber = *whole;
  subscriber.prefix = kSubscriber;
  std::fill(subscriber.bytes + kSubscriber / 8, subscriber.bytes + sizeof subscriber.bytes, std::uint8_t{0});
  return subscriber.text();
}

}  // namespace waypost::mta
