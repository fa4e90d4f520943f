// mta/client_class.h: which [[client]] a client is of, and what follows from that. Pure.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "conf/config.h"
#include "mta/policy.h"
#include "net/tls.h"

namespace waypost::mta {

/// The first class whose conditions all hold, or nullptr. It lives as long as `config`.
const conf::ClientClass* class_of(const conf::Config& config, const Client& client, const conf::Listener& listener);

/// Whom AUTH EXTERNAL would log in (RFC 4422 appendix A): the login of the first class whose certificates have the
/// client's, and whose conditions hold once it is logged in so. "": nobody.
std::string external_login(const conf::Config& config, const Client& client, const conf::Listener& listener);

/// As [[client]] names certificates: the digest of its key, and what it is for where a root vouches for it.
std::vector<std::string> certificate_marks(const net::TlsPeer& peer);

/// Whether classes go by certificates, so that clients are asked for theirs.
bool asks_for_certificates(const conf::Config& config);

std::uint64_t message_size(const conf::Config& config, const Client& client);
std::size_t most_recipients(const conf::Config& config, const Client& client);

/// Whose rates are counted together: a login, or an address (of IPv6 the /64); "" for a class that is counted whole.
std::string rate_key(const conf::ClientClass& client_class, const Client& client);

}  // namespace waypost::mta
