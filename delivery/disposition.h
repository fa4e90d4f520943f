// delivery/disposition.h: errors and remote replies become outcomes here and nowhere else. Pure.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "delivery/outcome.h"
#include "delivery/tls_policy.h"
#include "smtp/reply.h"

namespace waypost::delivery {

/// `text` of at most so many octets: what is cut off becomes "...". No UTF-8 character is cut in two.
std::string shortened(std::string text, std::size_t max_octets);

/// Where in a session something was answered or went wrong.
/// chunk: of the message, or in the midst of it, where it goes by BDAT.
enum class Stage { connect, banner, ehlo, starttls, handshake, auth, mail, rcpt, data, body, final_dot, rset, chunk };

/// A reply that ends or defers a recipient. Codes of PROTOCOL, "Outbound": 552 to RCPT is as 452; 421 is the host's.
/// The class of the reply code decides; the enhanced code is taken where its class agrees.
/// Class 2 (3 at DATA) is success at final_dot and chunk, and must not be given for other stages.
Outcome of_reply(Stage stage, const smtp::Reply& reply, const std::string& host);

/// True if this reply is about the host, not about a recipient: 421 anywhere, any but 2xx as banner or to EHLO, 503 to
/// MAIL, a class that cannot be an answer to what was said (354 to RCPT, 250 to DATA), "no such command" to the BDAT
/// that it has offered: drop the session then.
bool is_host_failure(Stage stage, const smtp::Reply& reply);
/// Always temporary, also where the host said 5xx: another exchanger may say otherwise (RFC 5321 §5.1).
HostFailure host_failure(Stage stage, const smtp::Reply& reply, const std::string& host);

/// Trouble of ours (descriptors, a stop): it says nothing about a host.
bool is_ours(Errc code);
/// An I/O error: always temporary. Status 4.4.1 (no connection), 4.4.2 (lost or timed out later), 4.5.0 (spoke no
/// SMTP), 4.7.5 (a handshake failed), 4.3.0 (ours).
HostFailure of_error(Stage stage, const Error& error, const std::string& host);

/// The final dot went out and no reply to it came: the host may have the message (RFC 1047).
HostFailure in_doubt(const Error& error, const std::string& host);
/// True of the reply of such an attempt, as it is kept.
bool is_doubt(std::string_view reply);
/// What an administrator found out about it.
Outcome settled_by_hand(bool delivered, const std::string& reason, const std::string& host);
/// What an administrator has bounced.
Outcome bounced_by_hand(const std::string& reason);
/// Of a recipient of that message: deferred, and no other host is tried at once, since this one may have it.
Outcome from_doubt(const HostFailure& failure);

/// True if `text`, said of a host that was reached, is a reply of its own: "450 4.2.1 busy"; else it is our words.
bool is_reply(std::string_view text);
/// What a host made of a recipient, or why it made nothing of it, in a sentence: "mx.b.example [192.0.2.7] answered:
/// 450 4.2.1 busy"; "mx.b.example [192.0.2.7] could not be reached: connection refused". `host` is that of an outcome.
std::string in_words(std::string_view host, std::string_view status, std::string_view reply);

/// The host names itself as we do: mail for it would come back to us. Status 5.4.6, `loop` set.
HostFailure loops_back(const std::string& hostname, const std::string& host);

// TLS that is not to be had (delivery/tls_policy.h): always temporary, whatever the policy.
HostFailure starttls_refused(const smtp::Reply& reply, const std::string& host);  ///< any reply but 220: 4.7.4
HostFailure injected(std::size_t octets, const std::string& host);  ///< 4.7.0: in clear behind the 220 (RFC 3207 §6)
/// The policy demands more than the session has: 4.7.4 where it has no TLS, else 4.7.5.
HostFailure too_little_tls(const TlsEvidence& evidence, const std::string& host);

// A login that does not come about: always temporary, since it is our trouble (RFC 4954 §6). HostFailure::login.
/// Any reply to AUTH but 2xx and 3xx, 421 apart.
HostFailure login_refused(const std::string& user, const smtp::Reply& reply, const std::string& host);
/// The host offers no way to, or does not go through with one.
HostFailure cannot_log_in(const std::string& user, const Error& error, const std::string& host);
/// True of a reply to MAIL or RCPT of a host that the configuration names: it wants another login than it has.
bool wants_login(const smtp::Reply& reply);
HostFailure login_wanted(const smtp::Reply& reply, const std::string& host);

/// Of a recipient whose host failed: deferred, try_next_host unless the trouble is ours; a loop fails.
Outcome from_host_failure(const HostFailure& failure);

/// Of a reason that is ours, what a sender may be told: nothing of logins, routes and addresses of this machine.
std::string for_senders(std::string_view reason);

/// Found out before MAIL, from what the host offers.
Outcome too_big(std::uint64_t octets, std::uint64_t limit, const std::string& host);  ///< failed, 5.3.4
Outcome needs_smtputf8(const std::string& host);  ///< failed, 5.6.7, try_next_host (RFC 6531 §3.5)
/// The message cannot be converted for this host: failed, 5.6.3, try_next_host (RFC 6152 §3).
Outcome needs_conversion(const std::string& why, const std::string& host);
/// Deferred, 4.7.10, try_next_host: the message asks for REQUIRETLS (RFC 8689), and the session is not verified, or
/// the host does not offer to go on with it.
Outcome needs_tls(bool verified, const std::string& host);

/// Our own disk, at final delivery or when a stored body is read: full 4.3.1, io, damaged, busy and others 4.3.0.
/// Deferred, never permanent; no other host is tried.
Outcome of_local_error(const Error& error);

/// Final delivery: 2.0.0.
Outcome delivered(const std::string& host);
/// Final delivery, but the message was delivered to this mailbox before: failed, 5.4.6.
Outcome delivery_loop(const std::string& mailbox, const std::string& host);

}  // namespace waypost::delivery
