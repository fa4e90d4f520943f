#include "delivery/tls_policy.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "delivery/route.h"
#include "net/address.h"

namespace waypost::delivery {
namespace {

using Level = conf::TlsLevel;
using Verdict = TlsEvidence::Verdict;

constexpr std::size_t kNamesKept = 5;  // of a certificate
constexpr std::size_t kMostText = 500;
constexpr std::string_view kFingerprint = "sha256:";

std::string_view word(Level level) {
  switch (level) {
    case Level::none:
      return "none";
    case Level::opportunistic:
      return "opportunistic";
    case Level::encrypt:
      return "encrypt";
    case Level::verify:
      return "verify";
    case Level::fingerprint:
      return "fingerprint";
  }
  return "";
}

std::string_view word(Verdict verdict) {
  switch (verdict) {
    case Verdict::none:
      return "none";
    case Verdict::untrusted:
      return "untrusted";
    case Verdict::trusted:
      return "trusted";
    case Verdict::verified:
      return "verified";
    case Verdict::fingerprint:
      return "fingerprint matched";
  }
  return "";
}

void apply(const conf::HopTls& tls, std::string source, TlsTerms& terms) {
  terms.names = tls.names;
  for (const std::string& each : tls.fingerprints) terms.fingerprints.push_back(each.substr(kFingerprint.size()));
  if (!tls.level) return;
  terms.level = *tls.level;
  terms.source = std::move(source);
}

bool is_address(const std::string& host) {
  return net::Address::parse(host, 0).has_value();
}

/// "*.b.example" as the library has it.
std::string library_name(const std::string& pattern) {
  return pattern.starts_with("*.") ? pattern.substr(1) : pattern;
}

std::vector<std::string> names_to_verify(const TlsQuestion& question) {
  const TlsTerms& terms = question.terms;
  std::vector<std::string> names;
  for (const std::string& each : terms.names) names.push_back(library_name(each));
  if (!names.empty()) return names;
  if (terms.host_is_given) return is_address(question.host) ? names : std::vector<std::string>{question.host};
  const std::string& domain = terms.domain.empty() ? question.destination : terms.domain;
  if (domain.empty() || domain.starts_with('[')) return names;
  return {domain, "." + domain};
}

/// Fit for a value among others: log readers part values at commas, and look for parentheses.
std::string plain(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == ',' || c == ';' || c == '(' || c == ')'; }, ' ');
  return text;
}

TlsEvidence verdict_of(TlsEvidence evidence, Verdict verdict, std::string why = "") {
  evidence.verdict = verdict;
  evidence.why = plain(std::move(why));
  return evidence;
}

}  // namespace

TlsTerms tls_terms(const conf::Config& config, const std::string& destination, const conf::NextHop& next_hop) {
  TlsTerms terms;
  terms.level = config.delivery.tls;
  const std::string name = domain_of(destination);
  const conf::Domain* domain = config.find_domain(name);
  const conf::Route* route = route_of(config, destination);
  if (domain != nullptr && domain->deliver && !rerouted_to(destination)) {
    apply(domain->tls, "domain " + domain->name, terms);
  } else if (route != nullptr) {
    conf::HopTls tls = route->tls;
    if (route->login) tls.level = route->tls_level(config.delivery.tls);
    const std::string number = std::to_string(route - config.routes.data() + 1);
    apply(tls, "route " + (route->name.empty() ? number : route->name), terms);
  }
  terms.host_is_given = !next_hop.look_up_mx;
  if (next_hop.look_up_mx && next_hop.host.host != name) terms.domain = next_hop.host.host;
  terms.implicit = next_hop.implicit_tls;
  return terms;
}

std::string tls_key(const TlsTerms& terms, const std::string& destination) {
  const TlsTerms usual;
  // Whom a message with REQUIRETLS is verified for hangs on these whatever the level.
  std::string key = terms.domain.empty() ? "" : ";of " + terms.domain;
  if (terms.host_is_given) key += ";given";
  if (terms.level == usual.level && terms.source == usual.source && !terms.implicit) return key;
  key += ";" + std::string(word(terms.level)) + " by " + terms.source;
  if (terms.implicit) key += " implicit";
  if (terms.level == Level::fingerprint) key += " " + join(terms.fingerprints, " ");
  if (terms.level != Level::verify) return key;
  if (!terms.names.empty()) return key + " " + join(terms.names, " ");
  if (terms.host_is_given) return key;
  return key + " " + (terms.domain.empty() ? destination : terms.domain);
}

TlsPolicy tls_policy(const TlsQuestion& question) {
  const TlsTerms& terms = question.terms;
  TlsPolicy policy;
  policy.level = terms.level;
  policy.source = terms.source;
  policy.implicit = terms.implicit;
  if (!is_address(question.host)) policy.server_name = question.host;
  if (terms.implicit) policy.level = std::max(policy.level, Level::encrypt);
  if (question.require_tls && policy.level < Level::verify) {
    policy.level = Level::verify;
    policy.source = "requiretls";
  }
  if (policy.level == Level::verify) policy.names = names_to_verify(question);
  if (policy.level == Level::fingerprint) policy.fingerprints = terms.fingerprints;
  policy.given_up = question.given_up && policy.level == Level::opportunistic;
  return policy;
}

TlsEvidence in_clear(const TlsPolicy& policy, std::string why) {
  TlsEvidence evidence;
  evidence.policy = policy;
  return verdict_of(std::move(evidence), Verdict::none, std::move(why));
}

TlsEvidence judge(const TlsPolicy& policy, const net::TlsInfo& info) {
  TlsEvidence evidence;
  evidence.policy = policy;
  evidence.version = info.version;
  evidence.cipher = info.cipher;
  evidence.bits = info.bits;
  if (!info.peer) return verdict_of(std::move(evidence), Verdict::untrusted, "no certificate");
  evidence.certificate = info.peer;
  const net::TlsPeer& peer = *info.peer;
  evidence.names.assign(peer.names.begin(),
                        peer.names.begin() + static_cast<std::ptrdiff_t>(std::min(peer.names.size(), kNamesKept)));
  if (policy.level == Level::fingerprint) {
    const auto& wanted = policy.fingerprints;
    const bool matches = std::find(wanted.begin(), wanted.end(), peer.spki_sha256) != wanted.end();
    if (matches) return verdict_of(std::move(evidence), Verdict::fingerprint);
    return verdict_of(std::move(evidence), Verdict::untrusted,
                      "its public key is " + std::string(kFingerprint) + peer.spki_sha256);
  }
  if (policy.level == Level::verify && policy.names.empty())
    return verdict_of(std::move(evidence), Verdict::untrusted, "there is no name to verify it for");
  if (!peer.verified) return verdict_of(std::move(evidence), Verdict::untrusted, peer.trouble);
  return verdict_of(std::move(evidence), policy.level == Level::verify ? Verdict::verified : Verdict::trusted);
}

bool is_enough(const TlsPolicy& policy, const TlsEvidence& evidence) {
  switch (policy.level) {
    case Level::none:
    case Level::opportunistic:
      return true;
    case Level::encrypt:
      return evidence.is_encrypted();
    case Level::verify:
      return evidence.verdict == Verdict::verified && evidence.policy.names == policy.names;
    case Level::fingerprint:
      return evidence.verdict == Verdict::fingerprint && evidence.policy.fingerprints == policy.fingerprints;
  }
  return false;
}

std::string text(const TlsPolicy& policy) {
  return std::string(word(policy.level)) + " by " + policy.source;
}

std::string TlsEvidence::text() const {
  if (policy.source.empty()) return "";
  std::string out;
  if (is_encrypted()) out = version + "/" + cipher + "/" + std::to_string(bits) + " ";
  out += word(verdict);
  if (!why.empty()) out += ": " + why;
  out += "; " + delivery::text(policy);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const std::string next = (i == 0 ? "; for " : " ") + names[i];
    if (out.size() + next.size() > kMostText) break;
    out += next;
  }
  return out.substr(0, kMostText);
}

}  // namespace waypost::delivery
