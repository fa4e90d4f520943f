// delivery/dsn.h: the report of RFC 3464 as text. Pure.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "queue/message.h"
#include "smtp/date.h"

namespace waypost::delivery {

/// What a report says of one recipient.
struct ReportedRecipient {
  enum class Action : std::uint8_t { failed, delayed, delivered, relayed, expanded };
  std::string address;  ///< the forward-path's text
  std::string orcpt;    ///< as the sender gave it; "" if not
  Action action = Action::failed;
  std::string status;                ///< "5.1.1"
  std::string reply;                 ///< the remote's last reply, or our words; one line
  std::string host;                  ///< "mx1.b.example[192.0.2.7]:25"; "" where none was reached
  bool remote_said_it = false;       ///< the reply is the remote's: Diagnostic-Code, not only our words
  std::string words{};               ///< ours, to be said before the reply: "delivery time expired"; "" if none
  std::vector<std::string> asked{};  ///< where several hosts were asked the last time: what each did (Asked)
  bool after_all = false;            ///< delivered or relayed, of which the sender was told that it is delayed
};

struct Report {
  std::string hostname;
  std::string id;  ///< of the report itself
  std::string original_id;
  std::string message_id;  ///< of the original's header, with brackets; "" if unknown
  std::string to;          ///< the original's reverse-path
  std::string envid;       ///< as given; "" if not
  smtp::Time arrival;      ///< of the original
  smtp::Time now;
  smtp::Time expires;  ///< of the original; told where the action is `delayed`
  std::vector<ReportedRecipient> recipients;
  std::string original;  ///< header section, or the whole message, in wire form
  bool whole = false;    ///< `original` is the whole message
};

/// The longest header section that is returned; what is beyond it is cut at a line. The largest message that is. Lines
/// over smtp::kMaxTextLine are left out.
inline constexpr std::size_t kMaxReturnedOctets = 64 * 1024;

/// The header section at the front of a message: up to the blank line, at most kMaxReturnedOctets.
std::string header_section(std::string_view octets);

/// A multipart/report in wire form: words for people, message/delivery-status, the original's header section. No text
/// of a peer, whatever is in it, makes a field or a line of its own. 8-bit originals and addresses in UTF-8 make the
/// report 8-bit; where `to` is in UTF-8, so is its header section (RFC 6533).
std::string compose_report(const Report& report);

}  // namespace waypost::delivery
