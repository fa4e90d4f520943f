#include "tests/sim/ledger.h"

#include <algorithm>
#include <utility>

#include "base/text.h"
#include "tests/delivery/reference_mime.h"

namespace waypost::sim {
namespace {

using namespace std::chrono_literals;

/// A settlement may take this long: slow disks, and outcomes that wait for each other.
constexpr net::Duration kUnrecorded = 60s;
/// A host that is back is asked by then: the last step of the schedule, and more.
constexpr net::Duration kAskedAgain = 12h;
/// The first step of every schedule is a minute at least, less a tenth.
constexpr net::Duration kShortestWait = 50s;
/// What was under way when it was removed may still arrive.
constexpr net::Duration kUnderWay = 1h;
constexpr std::string_view kLocalDomain = "local.example";

std::string domain_of(const std::string& address) {
  return address.substr(address.rfind('@') + 1);
}

/// The value of the first field of that name after `from`; "" if there is none.
std::string field(std::string_view text, std::string_view name, std::size_t from = 0) {
  std::string start = "\r\n" + std::string(name) + ": ";
  std::size_t at = text.find(start, from);
  if (at == std::string_view::npos) return "";
  at += start.size();
  return std::string(text.substr(at, text.find("\r\n", at) - at));
}

/// What stands before the message as it was sent: one Received field, and nothing else.
bool is_trace(std::string_view prefix) {
  int found = 0;
  while (!prefix.empty()) {
    std::size_t end = prefix.find("\r\n");
    if (end == std::string_view::npos) return false;
    std::string_view line = prefix.substr(0, end);
    prefix.remove_prefix(end + 2);
    if (line.starts_with("Received: ")) ++found;
    const bool known = line.starts_with("Received: ") || line.starts_with("\t") || line.starts_with(" ");
    if (!known) return false;
  }
  return found == 1;
}

/// What came by HELO has no 8 bits: it says the same as what was sent, behind its trace.
bool is_converted(std::string_view sent, std::string_view came) {
  const std::size_t begin = came.find(sent.substr(0, sent.find("\r\n") + 2));
  if (is_ascii(sent) || begin == std::string_view::npos || !is_trace(came.substr(0, begin))) return false;
  came.remove_prefix(begin);
  return delivery::reference::is_7bit(came) && delivery::reference::compare(sent, came).empty();
}

std::string with_crlf(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '\n') out += '\r';
    out += c;
  }
  return out;
}

std::string take_line(std::string& text) {
  std::size_t end = text.find("\r\n");
  std::string line = text.substr(0, end);
  text.erase(0, end == std::string::npos ? text.size() : end + 2);
  return line;
}

}  // namespace

void Ledger::broken(std::string promise) {
  if (broken_.size() < 50) broken_.push_back(std::move(promise));
}

bool Ledger::Message::tells(std::string_view what) const {
  if (from.empty()) return false;
  if (notify.empty()) return what != "SUCCESS";
  return notify.find(what) != std::string::npos;
}

int Ledger::offered(std::string token, Message message, const std::vector<std::string>& to) {
  const int number = static_cast<int>(messages_.size());
  messages_.push_back(std::move(message));
  tokens_[std::move(token)] = number;
  for (const std::string& address : to) recipients_[address].message = number;
  return number;
}

void Ledger::told(int message, Message::State state, net::TimePoint now) {
  Message& known = messages_[static_cast<std::size_t>(message)];
  known.state = state;
  known.accepted_at = now;
}

void Ledger::removed(const std::string& domain, const std::set<std::string>* left, net::TimePoint now) {
  removed_.insert(domain);
  if (domain == kLocalDomain) left = nullptr;  // what is in Maildirs is read at the end
  for (auto& [address, recipient] : recipients_) {
    if (recipient.message < 0 || domain_of(address) != domain || !recipient.takes.empty()) continue;
    if (left != nullptr && left->contains(address)) continue;
    recipient.removed = true;
    const Message& message = messages_[static_cast<std::size_t>(recipient.message)];
    if (left != nullptr && message.state == Message::State::accepted && !recipient.removed_at)
      recipient.removed_at = now;
  }
}

void Ledger::attempted(const std::string& recipient, const net::Address& host, net::TimePoint now) {
  Recipient& known = recipients_[recipient];
  ++known.attempts;
  auto [last, is_first] = known.attempted_at.try_emplace(host, now);
  if (!is_first) known.shortest_wait = std::min(known.shortest_wait, now - last->second);
  last->second = now;
}

std::vector<Take*> Ledger::taken(const std::string& from, const std::vector<std::string>& to, const std::string& body,
                                 Take take) {
  std::vector<Take*> out;
  const std::string token = field(body, "X-Token");
  if (from.empty() && body.find("Content-Type: multipart/report") != std::string::npos) {
    if (to.size() != 1) broken("a report with " + std::to_string(to.size()) + " recipients");
    for (const std::string& address : to) {
      std::vector<Take*> more = report(address, body, take);
      out.insert(out.end(), more.begin(), more.end());
    }
    return out;
  }
  if (from.empty() && field(body, "Auto-Submitted") == "auto-generated") return digest(to, body, take);
  auto found = tokens_.find(token);
  if (found == tokens_.end()) {
    broken("a message that nobody sent came to " + (to.empty() ? std::string() : to.front()) + ": token '" + token +
           "'");
    return out;
  }
  const Message& message = messages_[static_cast<std::size_t>(found->second)];
  if (message.from != from) broken(token + " came from <" + from + ">, and was sent from <" + message.from + ">");
  const bool whole =
      body.ends_with(message.body) && is_trace(std::string_view(body).substr(0, body.size() - message.body.size()));
  if (!whole && !is_converted(message.body, body))
    broken(token + " is not as it was sent: " + std::to_string(body.size()) + " octets");
  if (message.state == Message::State::refused) broken(token + " was refused, and came");
  for (const std::string& address : to) {
    Recipient& recipient = recipients_[address];
    if (recipient.message != found->second) {
      broken(token + " came to " + address + ", who was no recipient of it");
      continue;
    }
    if (recipient.removed_at && take.at - *recipient.removed_at > kUnderWay)
      broken(token + " came to " + address + " after it was removed");
    recipient.takes.push_back(take);
    out.push_back(&recipient.takes.back());
  }
  return out;
}

void Ledger::in_maildir(std::string file, Take take) {
  std::string text = with_crlf(file);
  const std::string return_path = take_line(text), delivered_to = take_line(text);
  if (!return_path.starts_with("Return-Path: <") || !delivered_to.starts_with("Delivered-To: ")) {
    broken("a file in a Maildir begins with '" + return_path + "' and '" + delivered_to + "'");
    return;
  }
  const std::string from = return_path.substr(14, return_path.size() - 15);
  std::string to = delivered_to.substr(14);
  std::vector<Take*> takes = taken(from, {to}, text, take);
  (void)takes;
}

/// One report: what it says of whom, and whether it may say it to this address.
std::vector<Take*> Ledger::report(const std::string& to, std::string_view body, Take take) {
  const std::string id = field(body, "Message-ID");
  std::deque<Take>& takes = reports_[id];
  takes.push_back(take);
  std::size_t at = body.find("Content-Type: message/delivery-status");
  const std::size_t end = body.find("Content-Description: Undelivered", at);
  bool any = false;
  while (at < end) {
    const std::size_t next = body.find("\r\nFinal-Recipient: rfc822; ", at);
    if (next == std::string_view::npos || next >= end) break;
    const std::string address = field(body, "Final-Recipient", at).substr(8);
    const std::string action = field(body, "Action", next);
    at = next + 10;
    any = true;
    Recipient& recipient = recipients_[address];
    if (recipient.message < 0) {
      broken("a report of " + address + ", to whom nothing was sent");
      continue;
    }
    const Message& message = messages_[static_cast<std::size_t>(recipient.message)];
    if (message.from.empty()) broken("a report of " + address + " for a null reverse-path");
    if (message.from != to) broken("a report of " + address + " went to " + to + ", not to " + message.from);
    const bool of_success = action == "delivered" || action == "relayed" || action == "expanded";
    const bool is_last = domain_of(address) == kLocalDomain || domain_of(address) == kLmtpDomain;
    if (of_success && (action == "delivered") != is_last) broken("a report of " + address + " says: " + action);
    if (!of_success && !message.tells(action == "delayed" ? "DELAY" : "FAILURE"))
      broken("a report of " + address + ": " + action + ", with NOTIFY=" + message.notify);
    if (action == "failed") recipient.failed.insert(id);
    if (action == "delayed") recipient.delayed.insert(id);
    if (of_success) recipient.reached.insert(id);
  }
  if (!any) broken("a report without a recipient: " + id);
  return {&takes.back()};
}

/// What the postmaster is told, once: of mail of nobody, and of reports to those who sent.
std::vector<Take*> Ledger::digest(const std::vector<std::string>& to, std::string_view body, Take take) {
  if (to != std::vector<std::string>{kPostmaster}) broken("a digest came to another than the postmaster");
  const std::string id = field(body, "Message-ID");
  std::deque<Take>& takes = reports_[id];
  takes.push_back(take);
  constexpr std::string_view kBefore = "\r\n    <";
  constexpr std::size_t kId = 12;
  bool any = false;
  for (std::size_t at = body.find(kBefore); at != std::string_view::npos; at = body.find(kBefore, at + 1)) {
    const std::size_t from = at + kBefore.size();
    const std::string address(body.substr(from, body.find('>', from) - from));
    digests_[std::string(body.substr(at - kId, kId)) + " to " + address].insert(id);
    any = true;
    const auto recipient = recipients_.find(address);
    const bool of_nobody = recipient != recipients_.end() && recipient->second.message >= 0 &&
                           messages_[static_cast<std::size_t>(recipient->second.message)].from.empty();
    const bool of_report = std::any_of(messages_.begin(), messages_.end(),
                                       [&address](const Message& message) { return message.from == address; });
    if (!of_nobody && !of_report) broken("a digest of " + address + ", to whom nothing of nobody was sent");
  }
  if (!any) broken("a digest of nothing: " + id);
  return {&takes.back()};
}

/// True if the relay could not know, or could not keep, that it was taken.
bool Ledger::excused(const Take& take) const {
  if (!take.confirmed) return true;
  auto end = ends_.find(take.life);
  if (end == ends_.end()) return false;
  const net::Duration unrecorded = kUnrecorded + take.waits;
  if (end->second.badly && end->second.ended - take.at <= unrecorded) return true;
  // An outcome that a full disk does not take is kept in mind until there is room, or the life ends.
  return std::any_of(full_.begin(), full_.end(), [&](const auto& full) {
    return take.at >= full.first - unrecorded && take.at <= full.second &&
           end->second.ended <= full.second + kUnrecorded;
  });
}

void Ledger::settle(const Terms& terms) {
  for (const auto& [address, recipient] : recipients_)
    if (recipient.message >= 0) settle(address, recipient, terms);
  for (const auto& [id, takes] : reports_) {
    const auto known = std::count_if(takes.begin(), takes.end(), [this](const Take& take) { return !excused(take); });
    if (known > 1) broken("report " + id + " came " + std::to_string(takes.size()) + " times");
  }
  for (const auto& [what, ids] : digests_)
    if (ids.size() > 1) broken(what + " is in " + std::to_string(ids.size()) + " digests");
}

void Ledger::settle(const std::string& address, const Recipient& recipient, const Terms& terms) {
  const Message& message = messages_[static_cast<std::size_t>(recipient.message)];
  const std::string domain = domain_of(address);
  const auto known = std::count_if(recipient.takes.begin(), recipient.takes.end(),
                                   [this](const Take& take) { return !excused(take); });
  if (known > 1)
    broken(address + " got its message " + std::to_string(recipient.takes.size()) + " times, " + std::to_string(known) +
           " of them without need");
  if (recipient.failed.size() > 1) broken(std::to_string(recipient.failed.size()) + " bounces of " + address);
  if (recipient.delayed.size() > 1) broken(std::to_string(recipient.delayed.size()) + " delay notices of " + address);
  if (recipient.reached.size() > 1)
    broken(std::to_string(recipient.reached.size()) + " reports that " + address + " was reached");
  if (!recipient.reached.empty() && recipient.takes.empty())
    broken(address + " was reached, says a report, and was not");
  if (!recipient.reached.empty() && !recipient.failed.empty())
    broken(address + " was reached and bounced, say reports");
  if (known > 0 && !recipient.failed.empty()) broken(address + " got its message, and it bounced");
  if (recipient.attempts > terms.attempts)
    broken(address + " was attempted " + std::to_string(recipient.attempts) + " times");

  const net::Duration lifetime = message.from.empty() ? terms.null_lifetime : terms.lifetime;
  const bool expired = terms.now - message.accepted_at + terms.leapt > lifetime;
  const bool cause = recipient.cause || terms.failed.contains(domain) || gone_.contains(domain) || expired;
  if (!recipient.failed.empty() && !cause) broken(address + " bounced without a cause");
  if (message.state != Message::State::accepted || recipient.removed) return;

  const std::string back = domain_of(message.from);
  const bool reachable = !terms.failed.contains(back) && !terms.dead.contains(back) && !gone_.contains(back) &&
                         !removed_.contains(back);  // as reports may be
  // Whoever was told of a delay is told of its end (queue.delay_over), if that notice had its way, too.
  const bool told = !recipient.delayed.empty() || (message.tells("DELAY") && !reachable);
  if (!recipient.reached.empty() && !message.tells("SUCCESS") && !told)
    broken("a report that " + address + " was reached, with NOTIFY=" + message.notify);
  // Whether the relay knows of a Maildir that it has its message is not known.
  const bool is_reached = domain == kLmtpDomain ? known > 0 : domain == kLocalDomain && !recipient.takes.empty();
  if (is_reached && message.tells("SUCCESS") && reachable && recipient.failed.empty() && recipient.reached.empty())
    broken(address + " was reached, and no report says so");
  if (recipient.takes.empty() && recipient.failed.empty()) {
    const bool tells = message.tells("FAILURE") && reachable;
    if (!cause) broken(address + " is lost");
    if (cause && tells) broken(address + " ended, and nobody was told");
    const bool in_digest = std::any_of(digests_.begin(), digests_.end(),
                                       [&address](const auto& each) { return each.first.ends_with(" to " + address); });
    if (message.from.empty() && !in_digest) broken(address + " ended, and no digest tells of it");
  }
  const bool fine = !recipient.cause && address.starts_with("ok-") && !terms.failed.contains(domain) &&
                    !terms.dead.contains(domain) && !gone_.contains(domain);
  if (fine && recipient.takes.empty() && message.accepted_at + lifetime > terms.healed + terms.leapt + kAskedAgain)
    broken(address + " ended, and could have been reached for " + std::to_string(kAskedAgain / 1h) + " hours");
  if (terms.calm && recipient.shortest_wait < kShortestWait)
    broken(address + " was attempted again after " + std::to_string(recipient.shortest_wait.count()) + " ms");
  if (terms.calm && fine) {
    const bool soon = !recipient.takes.empty() && recipient.takes.front().at - message.accepted_at < kUnrecorded;
    // When a Maildir got it is not known.
    if (!soon && domain != kLocalDomain) broken(address + " did not get its message at once");
  }
}

Ledger::Figures Ledger::figures() const {
  Figures out;
  for (const Message& message : messages_) {
    if (message.state == Message::State::accepted) ++out.accepted;
    if (message.state == Message::State::refused) ++out.refused;
    if (message.state == Message::State::unknown) ++out.unknown;
  }
  for (const auto& [address, recipient] : recipients_) {
    if (recipient.message < 0) continue;
    ++out.recipients;
    if (!recipient.takes.empty()) ++out.taken;
    if (recipient.takes.size() > 1) ++out.twice;
  }
  out.reports = static_cast<int>(reports_.size());
  return out;
}

}  // namespace waypost::sim
