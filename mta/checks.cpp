#include "mta/checks.h"

#include <algorithm>

#include "base/escape.h"
#include "smtp/address.h"

namespace waypost::mta {
namespace {

using resolver::Answer;
using resolver::Status;

bool counts(const conf::Config::Checks::List& list, const Answer<net::Address>& answer) {
  if (answer.status != Status::found) return false;
  return std::any_of(answer.records.begin(), answer.records.end(), [&list](const net::Address& each) {
    // Anything else is of somebody who took over the list's name (RFC 5782 §2.1).
    if (each.family != 4 || each.bytes[0] != 127) return false;
    if (!list.answers.empty()) return conf::any_contains(list.answers, each.host());
    // By 127.255.255.x lists say that they do not answer us, as too many ask by our name server.
    return each.bytes[1] != 255 || each.bytes[2] != 255;
  });
}

std::optional<smtp::Reply> refused_by_lists(const conf::Config::Checks& checks, const ClientFindings& findings) {
  int sum = 0;
  std::string against;
  for (std::size_t i = 0; i < checks.lists.size() && i < findings.lists.size(); ++i) {
    const conf::Config::Checks::List& list = checks.lists[i];
    if (!counts(list, findings.lists[i])) continue;
    sum += list.score;
    if (list.score > 0) against += (against.empty() ? "" : ", ") + list.zone;
  }
  if (sum < checks.refuse_at) return std::nullopt;
  return smtp::reply::listed(findings.client.host(), against);
}

std::optional<smtp::Reply> refused_by_name(const ClientFindings& findings) {
  if (!findings.names || !confirmed_name(findings).empty()) return std::nullopt;
  const auto is_trouble = [](Status status) { return status == Status::server_failed || status == Status::timed_out; };
  const bool trouble = is_trouble(findings.names->status) ||
                       std::any_of(findings.addresses.begin(), findings.addresses.end(),
                                   [&is_trouble](const auto& answer) { return is_trouble(answer.status); });
  const std::string host = findings.client.host();
  return trouble ? smtp::reply::no_reverse_dns_now(host) : smtp::reply::no_reverse_dns(host);
}

std::optional<smtp::Reply> refused_by_helo(const conf::Config::Checks& checks, const ClientFindings& findings) {
  using Helo = conf::Config::Checks::Helo;
  const std::string& helo = findings.helo;
  if (checks.helo == Helo::any || smtp::is_address_literal(helo)) return std::nullopt;
  if (!smtp::is_domain(helo) || helo.find('.') == std::string::npos) {
    return smtp::reply::bad_helo("is not fully qualified");
  }
  const auto& answers = findings.helo_addresses;
  const bool is_nowhere = !answers.empty() && std::all_of(answers.begin(), answers.end(), [](const auto& answer) {
    return answer.status == Status::no_domain || answer.status == Status::no_data;
  });
  if (checks.helo == Helo::resolves && is_nowhere) return smtp::reply::bad_helo("is not in the DNS");
  return std::nullopt;
}

bool is_null_mx(const Answer<resolver::Mx>& answer) {
  return answer.status == Status::found && answer.records.size() == 1 && answer.records.front().exchanger.empty();
}

}  // namespace

std::string confirmed_name(const ClientFindings& findings) {
  if (!findings.names || findings.names->status != Status::found) return "";
  const std::vector<std::string>& names = findings.names->records;
  for (std::size_t i = 0; i < names.size() && i < findings.addresses.size(); ++i) {
    const std::vector<net::Address>& addresses = findings.addresses[i].records;
    const bool leads_back = std::any_of(addresses.begin(), addresses.end(), [&findings](const net::Address& each) {
      return each.same_host(findings.client);
    });
    if (leads_back && smtp::is_domain(names[i])) return names[i];
  }
  return "";
}

std::optional<smtp::Reply> refusal(const conf::Config::Checks& checks, const ClientFindings& findings) {
  if (std::optional<smtp::Reply> listed = refused_by_lists(checks, findings)) return listed;
  if (checks.reverse_dns) {
    if (std::optional<smtp::Reply> nameless = refused_by_name(findings)) return nameless;
  }
  return refused_by_helo(checks, findings);
}

std::optional<smtp::Reply> recipient_refusal(const std::string& domain, const Answer<resolver::Mx>& answer) {
  if (answer.status == Status::no_domain) return smtp::reply::no_such_domain(escape(domain, 255));
  if (is_null_mx(answer)) return smtp::reply::takes_no_mail(escape(domain, 255));
  return std::nullopt;
}

std::optional<smtp::Reply> sender_refusal(const std::string& domain, const Answer<resolver::Mx>& answer) {
  if (answer.status == Status::no_domain) return smtp::reply::no_sender_domain(escape(domain, 255));
  if (is_null_mx(answer)) return smtp::reply::sender_takes_no_mail(escape(domain, 255));
  return std::nullopt;
}

}  // namespace waypost::mta
