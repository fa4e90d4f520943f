// What the DNS says of a client, of its sender's domain and of a recipient's, and what a recipient's next hop says of
// it, before RCPT is answered.
#include <algorithm>
#include <utility>

#include "base/event_log.h"
#include "delivery/route.h"
#include "mta/aliases.h"
#include "mta/checks.h"
#include "mta/recipient_asker.h"
#include "mta/session.h"
#include "resolver/name.h"
#include "smtp/address.h"

namespace waypost::mta {
namespace {

using resolver::Answer;
using resolver::Resolver;

constexpr net::Duration kDomainBudget = std::chrono::seconds(1);

/// Questions at once, and who waits until all are answered or the time is over. What is late comes to nothing.
template <class Findings>
struct Inquiry {
  Findings findings;
  std::size_t open = 0;
  std::stop_source done;
  bool is_over = false;  ///< nobody waits any more
  void answered() {
    if (--open == 0) done.request_stop();
  }
};
using ClientInquiry = std::shared_ptr<Inquiry<ClientFindings>>;
using DomainInquiry = std::shared_ptr<Inquiry<Answer<resolver::Mx>>>;

net::Task<> ask_list(Resolver& resolver, ClientInquiry inquiry, std::size_t index, std::string name) {
  inquiry->findings.lists[index] = co_await resolver.a(std::move(name));
  inquiry->answered();
}

/// Names count with their addresses only.
net::Task<> ask_names(Resolver& resolver, ClientInquiry inquiry) {
  const net::Address client = inquiry->findings.client;
  Answer<std::string> names = co_await resolver.ptr(resolver::reverse_name(client));
  std::vector<Answer<net::Address>> addresses;
  for (std::size_t i = 0; i < names.records.size() && i < kMostNames && !inquiry->is_over; ++i) {
    const std::string name = names.records[i];
    Answer<net::Address> found;
    if (client.family == 4)
      found = co_await resolver.a(name);
    else
      found = co_await resolver.aaaa(name);
    addresses.push_back(std::move(found));
  }
  inquiry->findings.addresses = std::move(addresses);
  inquiry->findings.names = std::move(names);
  inquiry->answered();
}

net::Task<> ask_helo(Resolver& resolver, ClientInquiry inquiry) {
  const std::string name = inquiry->findings.helo;
  std::vector<Answer<net::Address>> found;
  found.push_back(co_await resolver.a(name));
  if (!inquiry->is_over) found.push_back(co_await resolver.aaaa(name));
  inquiry->findings.helo_addresses = std::move(found);
  inquiry->answered();
}

net::Task<> ask_domain(Resolver& resolver, DomainInquiry inquiry, std::string domain) {
  inquiry->findings = co_await resolver.mx(std::move(domain));
  inquiry->answered();
}

}  // namespace

/// Nobody vouches for the client: it is no more than an address that speaks to us.
bool Session::is_stranger() const {
  return listener_.role == conf::Role::mx && !client_.may_send();
}

/// Something has to be found out before it is known whether the recipient is taken.
bool Session::has_to_ask(const smtp::Path& recipient) const {
  return has_to_ask_dns(recipient) || next_hop_to_ask(recipient) != nullptr;
}

/// Who knows whether there is such a recipient, or nullptr: we do.
const conf::NextHop* Session::next_hop_to_ask(const smtp::Path& recipient) const {
  const conf::Domain* domain = config_->find_domain(recipient.mailbox.domain);
  const bool asks = context_.asker != nullptr && domain != nullptr && is_to_be_asked(*domain, recipient.mailbox);
  return asks ? &*domain->deliver : nullptr;
}

bool Session::has_to_ask_dns(const smtp::Path& recipient) const {
  const std::string& domain = recipient.mailbox.domain;
  if (context_.resolver == nullptr || smtp::is_postmaster(recipient.mailbox)) return false;
  if (is_stranger()) {
    const bool client = config_->checks.any() && !client_verdict_;
    const bool sender = config_->checks.sender_domain && !transaction_->sender_verdict;
    return client || sender;
  }
  if (listener_.role != conf::Role::submission || recipient.mailbox.is_literal()) return false;
  const conf::Route* route =
      delivery::route_of(*config_, transaction_->envelope.reverse_path, client_.login, smtp::domain_key(domain));
  const bool by_dns = route == nullptr || route->next_hops.empty();
  return config_->find_domain(domain) == nullptr && by_dns;
}

/// What was found out of the client and its sender, if they were asked about.
std::optional<smtp::Reply> Session::known_refusal() const {
  if (!is_stranger()) return std::nullopt;
  if (client_verdict_ && *client_verdict_) return **client_verdict_;
  if (transaction_->sender_verdict) return *transaction_->sender_verdict;
  return std::nullopt;
}

net::Task<smtp::Reply> Session::ask_and_take(smtp::Rcpt rcpt, smtp::Path path) {
  std::optional<smtp::Reply> refused = known_refusal();
  if (has_to_ask_dns(path)) refused = co_await ask_dns(path);
  if (!refused) refused = co_await ask_next_hop(path);
  if (refused) {
    log_rejected("RCPT", &transaction_->envelope, rcpt.forward_path.text(), *refused);
    co_return *std::move(refused);
  }
  co_return take_recipient(rcpt, path);
}

net::Task<std::optional<smtp::Reply>> Session::ask_dns(smtp::Path recipient) {
  if (!looking_) looking_.emplace(context_.runtime, [](std::string_view what) { log::failure(std::string(what)); });
  if (is_stranger()) {
    if (!client_verdict_) client_verdict_ = co_await look_at_client();
    const smtp::Path sender = transaction_->envelope.reverse_path;
    const bool asks = config_->checks.sender_domain && !transaction_->sender_verdict && !sender.is_null();
    if (asks && !sender.mailbox.is_literal()) {
      const Answer<resolver::Mx> answer = co_await look_up_domain(sender.mailbox.domain);
      transaction_->sender_verdict = sender_refusal(sender.mailbox.domain, answer);
    } else if (!transaction_->sender_verdict) {
      transaction_->sender_verdict.emplace();
    }
    co_return known_refusal();
  }
  const Answer<resolver::Mx> answer = co_await look_up_domain(recipient.mailbox.domain);
  co_return recipient_refusal(recipient.mailbox.domain, answer);
}

net::Task<std::optional<smtp::Reply>> Session::ask_next_hop(smtp::Path recipient) {
  const conf::NextHop* next_hop = next_hop_to_ask(recipient);
  if (next_hop == nullptr) co_return std::nullopt;
  const RecipientAsker::Answer answer = co_await context_.asker->ask(*next_hop, recipient, stop_);
  if (answer == RecipientAsker::Answer::known) co_return std::nullopt;
  const bool unknown = answer == RecipientAsker::Answer::unknown;
  co_return unknown ? smtp::reply::unknown_recipient() : smtp::reply::unverified_recipient();
}

net::Task<std::optional<smtp::Reply>> Session::look_at_client() {
  const conf::Config::Checks& checks = config_->checks;
  const auto inquiry = std::make_shared<Inquiry<ClientFindings>>();
  ClientFindings& findings = inquiry->findings;
  findings.client = peer_;
  findings.helo = helo_;
  findings.lists.resize(checks.lists.size());
  const bool asks_helo = checks.helo == conf::Config::Checks::Helo::resolves && smtp::is_domain(helo_);
  // All are counted before the first is asked: an answer from the cache comes at once.
  inquiry->open = checks.lists.size() + (checks.reverse_dns ? 1 : 0) + (asks_helo ? 1 : 0);
  if (inquiry->open > 0) {
    Resolver& resolver = *context_.resolver;
    for (std::size_t i = 0; i < checks.lists.size(); ++i) {
      looking_->spawn(ask_list(resolver, inquiry, i, resolver::reversed(peer_) + "." + checks.lists[i].zone));
    }
    if (checks.reverse_dns) looking_->spawn(ask_names(resolver, inquiry));
    if (asks_helo) looking_->spawn(ask_helo(resolver, inquiry));
    co_await context_.runtime.sleep_for(checks.timeout, inquiry->done.get_token());
    inquiry->is_over = true;
  }
  const ClientFindings found = findings;
  const std::string name = confirmed_name(found);
  if (!name.empty()) set_peer_name(name);
  co_return refusal(checks, found);
}

net::Task<Answer<resolver::Mx>> Session::look_up_domain(std::string domain) {
  const auto inquiry = std::make_shared<Inquiry<Answer<resolver::Mx>>>();
  inquiry->open = 1;
  looking_->spawn(ask_domain(*context_.resolver, inquiry, std::move(domain)));
  co_await context_.runtime.sleep_for(kDomainBudget, inquiry->done.get_token());
  co_return inquiry->findings;
}

}  // namespace waypost::mta
