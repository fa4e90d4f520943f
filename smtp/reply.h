// smtp/reply.h: replies (RFC 5321 §4.2) and enhanced status codes (RFC 3463). No I/O.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace waypost::smtp {

/// `4.4.1`: class (2, 4, 5), subject, detail.
struct EnhancedCode {
  std::uint8_t klass = 0;
  std::uint16_t subject = 0;
  std::uint16_t detail = 0;
  std::string text() const;
  bool operator==(const EnhancedCode&) const = default;
};
/// `5.1.1` alone, or at the front of a text and followed by a space or its end. nullopt: it is none.
std::optional<EnhancedCode> parse_enhanced(std::string_view text);

/// What a server says. One of ours has its lines without codes; one parsed has the enhanced code taken off them too.
struct Reply {
  int code = 0;  ///< 200..599
  std::optional<EnhancedCode> enhanced;
  std::vector<std::string> lines;  ///< at least one, may be ""

  bool positive() const { return code >= 200 && code < 300; }
  bool intermediate() const { return code >= 300 && code < 400; }
  bool transient() const { return code >= 400 && code < 500; }
  bool permanent() const { return code >= 500 && code < 600; }
  /// As sent: each line with code, `-` or space, enhanced code, text, CRLF. Lines over 510 octets are cut.
  std::string wire() const;
  /// On one line for a log or a DSN: `550 5.1.1 no such user / see ...`; not escaped.
  std::string text() const;
};

/// Replies by what they mean. Their texts stand here and nowhere else.
namespace reply {
Reply greeting(std::string_view hostname);                                 // 220
Reply helo(std::string_view hostname);                                     // 250
Reply ehlo(std::string_view hostname, std::vector<std::string> keywords);  // 250, a line a keyword
Reply ok();                                                                // 250 2.0.0
Reply sender_ok();                                                         // 250 2.1.0
Reply recipient_ok();                                                      // 250 2.1.5
Reply start_input();                                                       // 354
Reply chunk_received(std::uint64_t octets);                                // 250 2.0.0
Reply queued(std::string_view id);                                         // 250 2.0.0
Reply start_tls();                                                         // 220 2.0.0
Reply closing(std::string_view hostname);                                  // 221 2.0.0
Reply cannot_verify();                                                     // 252 2.0.0
Reply verified(std::string_view address);                                  // 250 2.1.5, to VRFY
Reply nothing_waits(std::string_view domain);                              // 251 2.0.0, to ETRN
Reply sending(std::uint64_t recipients, std::string_view domain);          // 253 2.0.0, to ETRN
Reply cannot_send(std::string_view domain);                                // 458 4.3.0, to ETRN
Reply not_served(std::string_view domain);                                 // 459 4.7.1, to ETRN
Reply authenticated();                                                     // 235 2.7.0
Reply challenge(std::string_view base64);                                  // 334
Reply help(std::vector<std::string> lines);                                // 214 2.0.0
Reply unknown_command();                                                   // 500 5.5.2
Reply line_too_long();                                                     // 500 5.5.2
Reply not_offered(std::string_view verb);                                  // 502 5.5.1
Reply bad_syntax(std::string_view what);                                   // 501 5.5.2
Reply bad_parameter(std::string_view what);                                // 501 5.5.4
Reply unknown_parameter(std::string_view keyword);                         // 555 5.5.4
Reply bad_sequence(std::string_view what);                                 // 503 5.5.1
Reply no_valid_recipients();                                               // 554 5.5.1
Reply bad_sender_syntax(std::string_view what);                            // 501 5.1.7
Reply bad_recipient_syntax(std::string_view what);                         // 501 5.1.3
Reply needs_smtputf8();                                                    // 553 5.6.7
Reply too_big(std::uint64_t limit);                                        // 552 5.3.4
Reply too_many_recipients();                                               // 452 4.5.3
Reply relay_denied();                                                      // 554 5.7.1
Reply authentication_required();                                           // 530 5.7.0
Reply authentication_failed();                                             // 535 5.7.8
Reply authentication_cancelled();                                          // 501 5.7.0
Reply authentication_put_off();                                            // 454 4.7.0
Reply authentication_line_too_long();                                      // 500 5.5.6
Reply unknown_mechanism();                                                 // 504 5.5.4
Reply sender_not_owned();                                                  // 553 5.7.1
Reply sender_not_allowed();                                                // 553 5.7.1
Reply encryption_required();                                               // 538 5.7.11
Reply tls_required();                                                      // 530 5.7.0
Reply rate_reached(std::string_view rate, std::string_view wait);          // 450 4.7.1
Reply percent_hack();                                                      // 550 5.7.1
Reply unknown_recipient();                                                 // 550 5.1.1
Reply unverified_recipient();                                              // 451 4.3.0
Reply relocated(std::string_view address);                                 // 551 5.1.6
Reply no_such_domain(std::string_view domain);                             // 550 5.1.2
Reply takes_no_mail(std::string_view domain);                              // 556 5.1.10
Reply no_sender_domain(std::string_view domain);                           // 550 5.1.8
Reply sender_takes_no_mail(std::string_view domain);                       // 550 5.7.27
Reply listed(std::string_view address, std::string_view zones);            // 554 5.7.1
Reply no_reverse_dns(std::string_view address);                            // 550 5.7.25
Reply no_reverse_dns_now(std::string_view address);                        // 450 4.7.25
Reply bad_helo(std::string_view why);                                      // 550 5.7.1
Reply talked_too_early();                                                  // 554 5.5.1
Reply unroutable_literal();                                                // 550 5.1.2
Reply protocol_error(std::string_view what);                               // 554 5.5.0
Reply bad_content(std::string_view what);                                  // 554 5.6.0
Reply bare_line_end();                                                     // 550 5.6.0
Reply loop(int hops);                                                      // 554 5.4.6
Reply insufficient_storage();                                              // 452 4.3.1
Reply tls_unavailable();                                                   // 454 4.7.0
Reply local_error();                                                       // 451 4.3.0
Reply too_many_errors(std::string_view hostname);                          // 421 4.7.0
Reply too_many_logins(std::string_view hostname);                          // 421 4.7.0
Reply login_over(std::string_view hostname);                               // 421 4.7.0
Reply too_many_connections(std::string_view hostname);                     // 421 4.7.0
Reply connecting_too_often(std::string_view hostname);                     // 421 4.7.0
Reply injected(std::string_view hostname);                                 // 421 4.7.0
Reply idle(std::string_view hostname);                                     // 421 4.4.2
Reply shutting_down(std::string_view hostname);                            // 421 4.3.2
Reply not_accepting(std::string_view hostname);  // 421 4.3.2: the store does not take mail now
}  // namespace reply

}  // namespace waypost::smtp
