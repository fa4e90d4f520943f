// delivery/outcome.h: what an attempt made of a recipient or of a host. Made in delivery/disposition.cpp and nowhere
// else.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "delivery/reaction.h"
#include "queue/state.h"

namespace waypost::delivery {

/// Of one recipient.
struct Outcome {
  queue::Event event = queue::Event::attempt_deferred;  ///< attempt_deferred, _delivered, _relayed or _failed
  std::string status = "4.0.0";                         ///< enhanced status code; its class is that of the event
  std::string reply;  ///< the remote's reply or our words; one line, escaped, at most 512 octets
  std::string host;   ///< `mx1.b.example[192.0.2.7]:25`; "" where none was reached
  /// Another host of the destination may do better: it is tried with the next one in this attempt. Where the event is
  /// attempt_failed, it fails only if no other host takes it.
  bool try_next_host = false;
  /// Deferred because this transaction had no room for more recipients, while it took others: a further transaction
  /// with the same host may follow at once (RFC 5321 §4.5.3.1.10). Set by attempt().
  bool next_transaction = false;

  std::string tls;  ///< what the session with the host had: TlsEvidence::text(); "" where nobody asked

  std::optional<Reaction> reaction{};  ///< what a rule wants done about the reply

  bool own_words = false;  ///< `reply` is none of the host's: we saw what it offers

  bool reports = false;  ///< the host that took it promised the notifications that its sender asked for (RFC 3461)

  bool taken() const { return event == queue::Event::attempt_relayed || event == queue::Event::attempt_delivered; }
};

/// Of a host as a whole: nothing was learnt about any recipient. The next host is tried; if all fail, the destination
/// waits with its whole backlog.
struct HostFailure {
  enum class Tls : std::uint8_t {
    none,
    handshake,  ///< STARTTLS was refused, or the handshake failed or stalled: in clear it may go
    policy,     ///< what the policy demands is not to be had
  };
  std::string status = "4.4.1";
  std::string reason;  ///< as Outcome::reply
  std::string host;
  bool ours = false;        ///< our own trouble (descriptors, a stop): says nothing about the host
  bool bad_source = false;  ///< with `ours`: the address to connect from is none of this machine
  Tls tls_trouble = Tls::none;
  std::string tls;  ///< as Outcome::tls
  /// The hosts may be well, for others: what failed is what this destination's policy wants of them, or what came of
  /// its message.
  bool of_destination = false;
  std::optional<Reaction> reaction{};  ///< as Outcome::reaction: slow, wait or other_address
  /// It may have failed because of what it offers, and may do well without.
  enum class Suspect : std::uint8_t { none, pipelining, chunking };
  Suspect suspect = Suspect::none;
  bool login = false;   ///< the host does not let us in as whom we come: the administrator has to look
  std::string asked{};  ///< of all hosts of the attempt, as queue::RecipientOutcome::asked
  bool loop = false;    ///< the host is this one: status is 5.4.6, and no exchanger after it is to be tried
};

}  // namespace waypost::delivery
