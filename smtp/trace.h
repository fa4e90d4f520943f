// smtp/trace.h: the trace fields that a relay adds (RFC 5321 §4.4): Received, Return-Path, Delivered-To. No I/O.
#pragma once
#include <chrono>
#include <string>
#include <string_view>

#include "smtp/address.h"
#include "smtp/date.h"
#include "smtp/path.h"

namespace waypost::smtp {

/// How a message came in: the WITH of a Received field.
struct Protocol {
  bool esmtp = false;          ///< EHLO, not HELO
  bool tls = false;            ///< below the session
  bool authenticated = false;  ///< AUTH succeeded
  bool utf8 = false;           ///< MAIL said SMTPUTF8
};
/// `SMTP`, `ESMTP`, `ESMTPS`, `ESMTPA`, `ESMTPSA` (RFC 3848), `UTF8SMTP...` (RFC 6531 §4.3).
std::string_view protocol_name(const Protocol& protocol);

struct Received {
  std::string helo;            ///< as the client said it; "" if it said nothing
  std::string client_name;     ///< its name by reverse DNS, confirmed; "" if there is none
  std::string client_address;  ///< `192.0.2.1`, `2001:db8::1`; "" for mail that came by no network
  std::string by;              ///< our hostname
  std::string software;        ///< a comment after it: `Waypost`; "" for none
  std::string user;            ///< in that comment: who of this machine submitted it; there is no FROM then
  Protocol protocol;
  std::string tls;   ///< a comment after FROM, such as `using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384`; "" for none
  int tls_bits = 0;  ///< in that comment: ` (256/256 bits)`
  std::string id;    ///< the queue id
  std::string
      recipient;  ///< the one recipient's address, without brackets; "" if there are several (FOR would tell them)
  Time at;
  std::chrono::minutes utc_offset{0};
};

/// The whole field with its final CRLF. Folded only between tokens, at 78 columns where tokens allow; no line over 998
/// octets. What a peer said goes in as an atom, a domain, a literal or an escaped comment, so that no peer can write a
/// field.
std::string received_field(const Received& received);

/// `Return-Path: <s@a.example>` CRLF. For final delivery only.
std::string return_path_field(const Path& reverse_path);

/// `Delivered-To: r@b.example` CRLF.
std::string delivered_to_field(const Mailbox& recipient);

}  // namespace waypost::smtp
