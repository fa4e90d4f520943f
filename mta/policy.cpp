#include "mta/policy.h"

#include <algorithm>
#include <string_view>

#include "base/text.h"
#include "mta/aliases.h"
#include "mta/client_class.h"
#include "smtp/address.h"
#include "smtp/sender_rule.h"

namespace waypost::mta {
namespace {

/// Where mail for the postmaster of this host goes, who has no domain of ours to be at.
smtp::Path postmaster_path(const conf::Config& config) {
  smtp::Path path;
  Result<smtp::Mailbox> mailbox = smtp::parse_mailbox(config.postmaster);
  if (mailbox) {
    path.mailbox = *std::move(mailbox);
  } else {
    path.mailbox.local = "postmaster";
  }
  if (path.mailbox.domain.empty()) {
    path.mailbox.domain = config.domains.empty() ? config.hostname : config.domains.front().name;
  }
  return path;
}

/// `<postmaster>`, postmaster at our own name or at the address that the client reached (RFC 5321 §4.5.1).
bool is_own_postmaster(const conf::Config& config, const Client& client, const smtp::Mailbox& mailbox) {
  if (!smtp::is_postmaster(mailbox)) return false;
  if (mailbox.domain.empty()) return true;
  if (mailbox.is_literal()) return smtp::literal_address(mailbox.domain) == client.local;
  return equals_no_case(mailbox.domain, config.hostname) && config.find_domain(mailbox.domain) == nullptr;
}

/// An address within the local part: the host that the mail goes on to might follow it, and we would have relayed for
/// a stranger by proxy.
bool is_routed(const smtp::Mailbox& mailbox) {
  return mailbox.local.find_first_of("%!@") != std::string::npos;
}

bool is_relay_domain(const conf::Config& config, const std::string& domain) {
  return std::any_of(config.relay.domains.begin(), config.relay.domains.end(),
                     [&](const std::string& pattern) { return conf::matches(pattern, domain); });
}

/// Its mail goes on to another host, which may take a part of the local part for an address (C1).
bool goes_on(const conf::Domain& domain) {
  return domain.deliver && domain.deliver->kind == conf::NextHop::Kind::smtp;
}

/// At a domain of ours. Its postmaster is always somebody: where the domain has nobody of that name, our own.
Decision<smtp::Path> admit_here(const conf::Config& config, const conf::Domain& domain, const smtp::Path& path) {
  const auto moved = domain.relocated.find(to_lower(path.mailbox.local));
  if (moved != domain.relocated.end()) return tl::unexpected(smtp::reply::relocated(moved->second));
  if (is_known(domain, path.mailbox)) return path;
  if (!smtp::is_postmaster(path.mailbox)) return tl::unexpected(smtp::reply::unknown_recipient());
  return domain.deliver ? path : postmaster_path(config);
}

bool covered(const std::vector<std::string>& rules, const smtp::Path& reverse_path) {
  return std::any_of(rules.begin(), rules.end(),
                     [&](const std::string& rule) { return smtp::covers(rule, reverse_path); });
}

bool may_be(const Client& client, const smtp::Path& reverse_path) {
  if (smtp::check_sender_rule(client.login) && smtp::covers(client.login, reverse_path)) return true;
  return covered(client.senders, reverse_path);
}

/// Who has logged in, and may not relay, may write to our own domains.
bool must_log_in(const Client& client, conf::Role role) {
  return role == conf::Role::submission && !client.may_send() && client.login.empty() && client.local_user.empty();
}

}  // namespace

bool is_trusted(const conf::Config& config, const std::string& address) {
  return conf::any_contains(config.relay.networks, address);
}

smtp::Path completed(const conf::Config& config, conf::Role role, smtp::Path path) {
  const bool bare = path.mailbox.domain.empty() && !path.mailbox.local.empty();
  if (role == conf::Role::submission && bare)
    path.mailbox.domain = config.origin.empty() ? config.hostname : config.origin;
  return path;
}

bool is_served(const conf::Config& config, const std::string& domain) {
  return config.find_domain(domain) != nullptr || is_relay_domain(config, domain);
}

smtp::Reply verify(const conf::Config& config, const Client& client, std::string_view text) {
  if (!client.may_send()) return smtp::reply::cannot_verify();
  const bool bracketed = text.starts_with('<') && text.ends_with('>');
  const Result<smtp::Mailbox> mailbox = smtp::parse_mailbox(bracketed ? text.substr(1, text.size() - 2) : text);
  const conf::Domain* domain = mailbox ? config.find_domain(mailbox->domain) : nullptr;
  if (domain == nullptr) return smtp::reply::cannot_verify();
  smtp::Path path;
  path.mailbox = *mailbox;
  // Where all names are taken, or the next hop is asked, nothing is known here.
  const bool anybody = !domain->recipients && domain->deliver && !domain->relocated.contains(to_lower(mailbox->local));
  if (anybody || is_to_be_asked(*domain, *mailbox)) return smtp::reply::cannot_verify();
  const Decision<smtp::Path> admitted = admit_here(config, *domain, path);
  return admitted ? smtp::reply::verified(path.bracketed()) : admitted.error();
}

std::vector<smtp::Path> postmasters(const conf::Config& config) {
  if (config.postmaster.empty()) return {};
  return expand_aliases(config, postmaster_path(config));
}

Decision<smtp::Path> admit_sender(const conf::Config& config, const Client& client, conf::Role role,
                                  const smtp::Path& reverse_path, const smtp::MailParameters& parameters) {
  const conf::ClientClass* of = client.client_class;
  if (of != nullptr && of->require_tls && !client.is_private) return tl::unexpected(smtp::reply::tls_required());
  // The null path comes from every MTA's notifications (RFC 5321 §4.5.5) and from those who may submit: it is a reason
  // to refuse only where clients are held to their senders.
  if (must_log_in(client, role)) return tl::unexpected(smtp::reply::authentication_required());
  bool held = config.auth.sender_must_match && !client.login.empty();
  if (held && !may_be(client, reverse_path)) return tl::unexpected(smtp::reply::sender_not_owned());
  if (of != nullptr && !of->senders.empty() && !covered(of->senders, reverse_path)) {
    return tl::unexpected(smtp::reply::sender_not_allowed());
  }
  const std::uint64_t most = message_size(config, client);
  if (parameters.size && *parameters.size > most) return tl::unexpected(smtp::reply::too_big(most));
  if (of == nullptr || of->sender.empty() || reverse_path.is_null()) return reverse_path;
  smtp::Path forced;
  if (Result<smtp::Mailbox> mailbox = smtp::parse_mailbox(of->sender)) forced.mailbox = *std::move(mailbox);
  return forced;
}

Decision<smtp::Path> admit_recipient(const conf::Config& config, const Client& client, conf::Role role,
                                     const smtp::Path& forward_path) {
  const smtp::Mailbox& mailbox = forward_path.mailbox;
  if (must_log_in(client, role)) return tl::unexpected(smtp::reply::authentication_required());
  if (is_own_postmaster(config, client, mailbox)) return postmaster_path(config);
  if (mailbox.domain.empty() || mailbox.local.empty()) {
    return tl::unexpected(smtp::reply::bad_recipient_syntax("a domain is needed"));
  }
  const bool is_kept_here = client.client_class != nullptr && client.client_class->relay == false;
  bool may_relay = client.may_send() || (config.relay.open && !is_kept_here);
  if (mailbox.is_literal()) {
    if (may_relay) return forward_path;
    return tl::unexpected(smtp::reply::unroutable_literal());
  }
  if (const conf::Domain* domain = config.find_domain(mailbox.domain)) {
    if (!may_relay && goes_on(*domain) && is_routed(mailbox)) return tl::unexpected(smtp::reply::percent_hack());
    return admit_here(config, *domain, forward_path);
  }
  if (may_relay) return forward_path;
  if (is_relay_domain(config, mailbox.domain)) {
    if (is_routed(mailbox)) return tl::unexpected(smtp::reply::percent_hack());
    return forward_path;
  }
  return tl::unexpected(smtp::reply::relay_denied());
}

}  // namespace waypost::mta
