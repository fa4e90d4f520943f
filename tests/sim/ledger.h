// tests/sim/ledger.h: what clients were told and what hosts were given, held against the promises (DESIGN §1).
#pragma once
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "net/address.h"
#include "net/clock.h"

namespace waypost::sim {

/// In a Maildir: digests go there.
inline constexpr const char* kPostmaster = "postmaster@local.example";

/// Its hosts speak LMTP: who they took it for is reached.
inline constexpr const char* kLmtpDomain = "lmtp.example";

/// A message that came at a host or into a Maildir.
struct Take {
  net::TimePoint at;
  int life = 0;            ///< the relay's, at that time
  bool confirmed = false;  ///< the relay has read our 250
  net::Duration waits{0};  ///< the relay may wait so long for the replies of others before it records this one
};

/// Keeps account of one run. Every recipient's address is used for one message only.
class Ledger {
 public:
  // What clients do and hear.
  struct Message {
    enum class State : std::uint8_t { unknown, accepted, refused };
    std::string from;  ///< "" for the null reverse-path
    std::string body;
    std::string notify;            ///< of each recipient: NOTIFY's value; "": nothing was said
    State state = State::unknown;  ///< refused until the body was begun
    net::TimePoint accepted_at;
    bool tells(std::string_view what) const;  ///< a report of that ("FAILURE") may go to `from`
  };
  /// A transaction in which the body is about to be sent. `to`: the recipients that were accepted.
  int offered(std::string token, Message message, const std::vector<std::string>& to);
  void told(int message, Message::State state, net::TimePoint now);

  // What hosts see. Each returns what has to be confirmed.
  void attempted(const std::string& recipient, const net::Address& host, net::TimePoint now);
  /// Somebody said, or the DNS says, that it cannot be delivered ever.
  void failed_for_good(const std::string& recipient) { recipients_[recipient].cause = true; }
  std::vector<Take*> taken(const std::string& from, const std::vector<std::string>& to, const std::string& body,
                           Take take);
  /// Octets of a Maildir's file: line ends are LF, and Return-Path and Delivered-To are on top.
  void in_maildir(std::string file, Take take);
  /// For a while the DNS says that there is no such domain, or that it takes no mail.
  void domain_gone(const std::string& domain) { gone_.insert(domain); }
  /// An administrator removes a domain's mail: what nobody has yet may be gone. `left`: addresses that are still queued
  /// after it; nullptr: it is not known how far it came.
  void removed(const std::string& domain, const std::set<std::string>* left, net::TimePoint now);

  // The life of the relay.
  void life_ended(int life, net::TimePoint at, bool badly) { ends_[life] = {at, badly}; }
  /// Between these, outcomes could not be recorded.
  void disk_was_full(net::TimePoint from, net::TimePoint to) { full_.push_back({from, to}); }

  void broken(std::string promise);
  const std::vector<std::string>& broken_promises() const { return broken_; }

  struct Terms {
    bool calm = false;
    net::Duration lifetime{0};       ///< of mail
    net::Duration null_lifetime{0};  ///< of mail with a null reverse-path
    net::Duration leapt{0};          ///< the wall clock, ahead, in all
    net::TimePoint now;
    net::TimePoint healed;         ///< since then all is well
    int attempts = 0;              ///< of one recipient, at most
    std::set<std::string> dead;    ///< domains that never answer, or have no address
    std::set<std::string> failed;  ///< domains to which nothing can be delivered, as the DNS says
  };
  /// At the end, when the queue is empty.
  void settle(const Terms& terms);

  struct Figures {
    int accepted = 0, refused = 0, unknown = 0, recipients = 0, taken = 0, twice = 0, reports = 0;
  };
  Figures figures() const;

 private:
  struct Recipient {
    int message = -1;
    std::deque<Take> takes;
    std::set<std::string> failed, delayed, reached;  ///< ids of the reports
    bool cause = false;
    bool removed = false;                      ///< or may be
    std::optional<net::TimePoint> removed_at;  ///< known to be
    int attempts = 0;
    std::map<net::Address, net::TimePoint> attempted_at;  ///< by host: the last time
    net::Duration shortest_wait = net::Duration::max();   ///< between two attempts at one of them
  };
  struct Life {
    net::TimePoint ended;
    bool badly = false;
  };
  std::vector<Take*> report(const std::string& to, std::string_view body, Take take);
  std::vector<Take*> digest(const std::vector<std::string>& to, std::string_view body, Take take);
  bool excused(const Take& take) const;
  void settle(const std::string& address, const Recipient& recipient, const Terms& terms);

  std::vector<Message> messages_;
  std::map<std::string, int> tokens_;
  std::map<std::string, Recipient> recipients_;
  std::map<std::string, std::deque<Take>> reports_;       ///< by Message-ID, and digests
  std::map<std::string, std::set<std::string>> digests_;  ///< by queue id and recipient: those that told of it
  std::map<int, Life> ends_;
  std::set<std::string> gone_, removed_;  ///< domains
  std::vector<std::pair<net::TimePoint, net::TimePoint>> full_;
  std::vector<std::string> broken_;
};

}  // namespace waypost::sim
