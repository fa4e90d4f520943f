// queue/message.h: what the store takes and gives, as plain values. No SQLite here.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/clock.h"
#include "queue/body.h"
#include "queue/flow.h"
#include "queue/id.h"
#include "queue/state.h"
#include "smtp/envelope.h"

namespace waypost::queue {

using net::WallTime;

/// Who brought a message, as the trace tells it.
struct Origin {
  static constexpr const char* kDigest = "digest";  ///< of what the postmaster is told (Store::commit_digest)
  std::string client;                               ///< numeric address; "" for one that Waypost composed
  std::string helo;
  std::string protocol;     ///< "ESMTP", "SMTP"; "" if composed
  std::string listener;     ///< "mx", "submission", "notification", or kDigest
  std::string user;         ///< authenticated as; "" if not
  std::uint64_t epoch = 0;  ///< of the configuration that took it; 0: unknown
};

/// A message that is to be accepted. Its body goes beside it (queue/body.h).
struct NewMessage {
  Id id;
  smtp::Envelope envelope;                  ///< every recipient has a domain; no address twice
  std::vector<std::string> destinations{};  ///< of each recipient, where it is not domain_key() of the domain; may be
                                            ///< fewer
  std::string trace;                        ///< header lines that go before the body: Received; each ends in CRLF
  Origin origin;
  std::string message_id;  ///< of the header, for the trace; may be ""
  WallTime arrival;
  WallTime expires;
  std::optional<WallTime> warn_at;  ///< when a delay notification is due; nullopt: never
  Priority priority = Priority::normal;
};

/// A notification and its body, put into the queue in the same transaction as what caused it.
struct Notification {
  NewMessage message;
  std::string body;  ///< wire form
};

/// The facts of a message that an attempt needs. Shared by the attempts at all of its destinations.
struct MessageInfo {
  Id id;
  smtp::Path reverse_path;
  WallTime arrival;
  WallTime expires;
  std::uint64_t size = 0;  ///< of trace and body
  smtp::BodyType body = smtp::BodyType::seven_bit;
  bool eight_bit = false;  ///< an octet above 127 in the body
  bool dot_lines = false;  ///< a line of the body begins with a dot
  bool smtputf8 = false;   ///< MAIL said so, and the header section has UTF-8
  bool require_tls = false;
  smtp::Ret ret = smtp::Ret::unspecified;
  std::string envid;
  std::string user;
};

struct DueRecipient {
  std::uint32_t index = 0;  ///< within the message
  smtp::Path forward_path;
  smtp::Notify notify;
  std::string orcpt;
  std::uint32_t attempts = 0;  ///< that were made of this recipient so far (not of its destination)
  std::string last_status;     ///< of the last attempt: "4.2.2"; may be ""
  std::string last_reply;
  std::string last_host;
  bool delay_told = false;  ///< the sender was told that it is delayed
  std::string last_asked;   ///< as RecipientOutcome::asked; in an Overdue alone
};

/// The recipients of one message at one destination that are due.
struct Due {
  std::shared_ptr<const MessageInfo> message;
  std::string destination;  ///< where they wait: domain_key() of their domain, or what the message says instead
  Flow flow{};
  std::vector<DueRecipient> recipients;
  std::shared_ptr<const Content> content;  ///< where it is still in memory; else ask Store::content()
};

/// What is known of a destination, or of a site: the destinations that share exchangers. One row, whatever its backlog
/// (DESIGN: two kinds of failure, two places). What the hosts did is the site's; that there are none, or that they have
/// not the TLS that is wanted for it, is the destination's.
struct DestinationState {
  enum class Kind : std::uint8_t { destination, site };
  Kind kind = Kind::destination;
  std::string name;            ///< as Due::destination; of a site its hosts: "10 mx.b.example:25"
  std::string site;            ///< of a destination: the site that it waits with; "": none so far
  WallTime site_until;         ///< until then: its hosts are looked up again after that
  std::uint32_t failures = 0;  ///< in a row; 0: the last attempt reached it
  WallTime next_attempt;       ///< of anything for it; the past if failures is 0
  WallTime failing_since;
  std::string status;  ///< "4.4.1"
  std::string reason;  ///< of the last failure, for people
  std::string host;
  std::string asked;  ///< of the last failure: as RecipientOutcome::asked

  WallTime held_until;                                ///< an administrator keeps its mail back; the past: nobody does
  static constexpr std::chrono::hours kAfterHold{4};  ///< after it, for so long nothing of it comes to its end
  std::string held_reason;                            ///< and why

  net::Duration spacing{0};  ///< between two messages, while it gets less than others; 0: it does not
  WallTime slow_until;       ///< when it gets more again
  std::string slow_reason;

  /// True if nothing of it is to be attempted at `now`.
  bool waits(WallTime now) const { return held_until > now || (failures > 0 && next_attempt > now); }
  /// When an attempt is allowed again, of one that waits.
  WallTime waits_until() const { return failures > 0 ? std::max(next_attempt, held_until) : held_until; }
};

/// What an attempt made of one recipient.
struct RecipientOutcome {
  std::uint32_t index = 0;
  Event event = Event::attempt_deferred;
  WallTime next_attempt;  ///< where it is deferred
  std::string status;     ///< "2.0.0", "4.2.2"
  std::string reply;      ///< the remote's, or our own words; one line, at most 512 octets
  std::string host;       ///< "mx1.b.example[192.0.2.7]:25"; "" where none was reached
  std::string tls{};      ///< what TLS the session had, for the history; "" where nobody asked
  std::string rule{};     ///< the rule about replies that had a say; "": none
  /// Where several hosts were asked: what each made of it, for people, a line each; at most kMaxAsked octets in all.
  std::string asked{};
  static constexpr std::size_t kMaxAsked = 1024;
};
/// "421 too many [rule greedy]", as log and history have it.
std::string with_rule(const std::string& reply, const std::string& rule);

/// The end of one attempt: committed as one, with the notifications that it causes.
struct Settlement {
  Id message;
  std::vector<RecipientOutcome> recipients;
  std::vector<Notification> notifications;
  bool warned = false;                      ///< a delay notification is among them: no further one
  std::vector<std::uint32_t> delay_told{};  ///< the recipients that it tells of
  /// The reverse-path is null: whom it does not reach is noted for the postmaster (Undelivered), in the same
  /// transaction; not of a digest.
  bool for_digest = false;
};

/// Mail with a null reverse-path, reports most of all, that could not be delivered: nobody but the postmaster is told.
struct Undelivered {
  struct Entry {
    Id message;
    WallTime at;
    std::string address, status, reply, host;  ///< of the recipient, as RecipientOutcome
  };
  static constexpr std::size_t kMaxEntries = 100;
  std::vector<Entry> entries;  ///< oldest first
  std::uint64_t more = 0;      ///< that came after them, and are counted alone
  std::uint64_t upto = 0;      ///< the store's mark: which ones these are
};

/// A message whose time has come to be warned of or given up (Store::overdue).
struct Overdue {
  std::shared_ptr<const MessageInfo> message;
  bool expired = false;                        ///< else: a delay notification is due
  std::vector<DueRecipient> recipients;        ///< those that are deferred
  std::vector<DestinationState> destinations;  ///< of these recipients, in their order
};

}  // namespace waypost::queue
