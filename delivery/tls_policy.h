// delivery/tls_policy.h: what TLS a session with an exchanger must have, and what one has. Pure.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/config.h"
#include "net/tls.h"

namespace waypost::delivery {

/// What the configuration says of TLS with the hosts of a next hop.
struct TlsTerms {
  conf::TlsLevel level = conf::TlsLevel::opportunistic;
  std::string source = "delivery.tls";    ///< who says so: also "route 3", "domain b.example"
  std::vector<std::string> names;         ///< as conf::HopTls
  std::vector<std::string> fingerprints;  ///< of public keys, SHA-256, in lower-case hex
  std::string domain;                     ///< whose exchangers are looked up; "": the destination's
  bool host_is_given = false;             ///< the host's name is the configuration's, and no look-up's
  bool implicit = false;                  ///< TLS from the first octet
  bool operator==(const TlsTerms&) const = default;
};
TlsTerms tls_terms(const conf::Config& config, const std::string& destination, const conf::NextHop& next_hop);

/// Differs where the mail of two destinations with the same next hop is not to share its sessions and its failures. ""
/// of the default.
std::string tls_key(const TlsTerms& terms, const std::string& destination);

struct TlsQuestion {
  TlsTerms terms;
  std::string destination;
  std::string host;          ///< the exchanger's name; its address where it has none
  bool require_tls = false;  ///< the message's own demand (RFC 8689)
  bool given_up = false;     ///< handshakes with this host have failed so often that it gets mail in clear
};

/// What is demanded of one session.
struct TlsPolicy {
  conf::TlsLevel level = conf::TlsLevel::none;
  std::string source;                     ///< as TlsTerms, or "requiretls"; "": nobody says anything of TLS
  std::string server_name;                ///< for SNI; "": none
  std::vector<std::string> names;         ///< verify: one of them; ".b.example": all below it. None: nothing verifies
  std::vector<std::string> fingerprints;  ///< fingerprint: one of them
  bool implicit = false;
  bool given_up = false;  ///< opportunistic: not tried for now
};
/// verify: the certificate is for one of tls_names; else for the host where the configuration names it; else for the
/// domain whose exchangers were looked up, or a name below it: who can forge an answer of the DNS can name any host.
/// A message that asks for REQUIRETLS needs verify at least; TLS from the first octet is encrypt at least.
TlsPolicy tls_policy(const TlsQuestion& question);

/// What one session has, for the log and the history.
struct TlsEvidence {
  enum class Verdict : std::uint8_t {
    none,         ///< in clear
    untrusted,    ///< encrypted; whom with, the certificate does not prove
    trusted,      ///< the roots vouch for the certificate; for which name, nobody asked
    verified,     ///< they do, and it is for one of the policy's names
    fingerprint,  ///< its public key is one of the policy's
  };
  TlsPolicy policy;
  Verdict verdict = Verdict::none;
  std::string version, cipher;  ///< as net::TlsInfo
  int bits = 0;
  std::string why;                 ///< of none and untrusted: "not offered", "self-signed certificate"
  std::vector<std::string> names;  ///< the certificate's, the first of them
  std::optional<net::TlsPeer> certificate{};
  bool is_encrypted() const { return verdict != Verdict::none; }
  /// "TLSv1.3/TLS_AES_256_GCM_SHA384/256 untrusted: self-signed certificate; opportunistic by delivery.tls; for
  /// mx.b.example", "none: not offered; opportunistic by delivery.tls"; "" where policy.source is. One line without
  /// commas and parentheses, at most 500 octets.
  std::string text() const;
};
TlsEvidence in_clear(const TlsPolicy& policy, std::string why);
TlsEvidence judge(const TlsPolicy& policy, const net::TlsInfo& info);

/// True if a session with this evidence may carry what `policy` is about.
bool is_enough(const TlsPolicy& policy, const TlsEvidence& evidence);

/// "verify by route 3".
std::string text(const TlsPolicy& policy);

}  // namespace waypost::delivery
