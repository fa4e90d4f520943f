// mta/policy.h: may this client send this? Pure: the configuration and what the client said come in, a decision goes
// out.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

#include "conf/config.h"
#include "smtp/envelope.h"
#include "smtp/parameters.h"
#include "smtp/path.h"
#include "smtp/reply.h"

namespace waypost::mta {

/// Who speaks, as far as admission asks.
struct Client {
  std::string address;                    ///< numeric; "uid=1000" of a user of this machine
  std::string local;                      ///< numeric: the address of ours that it reached
  bool trusted = false;                   ///< is_trusted() of its address
  std::string login;                      ///< whom it has logged in as; "" if it has not
  std::string local_user;                 ///< of this machine, by a Unix socket or the drop folder; "": by network
  std::vector<std::string> senders;       ///< rules (smtp/sender_rule.h) that the login has besides its own address
  bool is_private = false;                ///< nobody but the client reads what is said
  std::vector<std::string> certificates;  ///< certificate_marks() of its own; none: it showed none
  const conf::ClientClass* client_class = nullptr;  ///< class_of() all this, or nullptr
  /// To anyone, through this relay.
  bool may_send() const {
    const bool usual = trusted || !login.empty() || !local_user.empty();
    return client_class != nullptr ? client_class->relay.value_or(usual) : usual;
  }
};

/// True if the address stands in one of relay.networks: it may send to anyone. No address is trusted by itself.
bool is_trusted(const conf::Config& config, const std::string& address);

/// Yes, with the value to go on with; or the reply that refuses.
template <class T>
using Decision = tl::expected<T, smtp::Reply>;

/// An address as it was submitted, with conf::Config::origin where it has no domain.
smtp::Path completed(const conf::Config& config, conf::Role role, smtp::Path path);

/// A domain for which mail is taken from anyone: in relay.domains, or a [[domain]].
bool is_served(const conf::Config& config, const std::string& domain);

/// VRFY (RFC 5321 §3.5): 250 with the address, 550 and 551 for those who may send to anyone, of our own domains; 252
/// for all else, so that nobody harvests addresses (§7.3).
smtp::Reply verify(const conf::Config& config, const Client& client, std::string_view text);

/// MAIL. The path as it is to be stored: a class may have one for all its mail. Refuses with 530 5.7.0 where the class
/// demands TLS, and on a submission listener a client that is neither trusted nor logged in; with 553 5.7.1 where
/// auth.sender_must_match or the class and the client may not be this sender; with 552 5.3.4 where SIZE is over the
/// limit.
Decision<smtp::Path> admit_sender(const conf::Config& config, const Client& client, conf::Role role,
                                  const smtp::Path& reverse_path, const smtp::MailParameters& parameters);

/// Who is told what the postmaster of this host is to know: whom that address stands for. None where none is known.
std::vector<smtp::Path> postmasters(const conf::Config& config);

/// RCPT. The path as it is to be stored: `<postmaster>` has a domain then. Refuses with 530 5.7.0, 554 5.7.1 (relay),
/// 550 5.7.1 (`%`, `!`, `@` in the local part of a relay domain), 550 5.1.1 (unknown here), 551 5.1.6 (moved),
/// 550 5.1.2 (literal), 501 5.1.3 (no domain).
Decision<smtp::Path> admit_recipient(const conf::Config& config, const Client& client, conf::Role role,
                                     const smtp::Path& forward_path);

}  // namespace waypost::mta
