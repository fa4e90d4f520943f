#include "mta/mailq.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <string>

#include "mta/output.h"

namespace waypost::mta {
namespace {

constexpr int kIdWidth = 17;  // Postfix's, of long queue ids

/// "Fri Nov 27 09:14:02 ", in the zone of this machine: the front of what ctime(3) makes.
std::string arrival_text(const Json& message) {
  const std::optional<net::WallTime> time = time_of_json(text_of(message, "arrival"));
  if (!time) return "";
  const std::time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(time->time_since_epoch()).count();
  std::tm parts{};
  localtime_r(&seconds, &parts);
  std::array<char, 64> text{};
  (void)std::strftime(text.data(), text.size(), "%a %b %e %H:%M:%S ", &parts);
  return text.data();
}

std::string row(const std::string& id, const std::string& size, const std::string& arrival, const std::string& who) {
  std::array<char, 128> front{};
  (void)std::snprintf(front.data(), front.size(), "%-*s %8s %20.20s ", kIdWidth, id.c_str(), size.c_str(),
                      arrival.c_str());
  return front.data() + who + "\n";
}

std::string padded(const std::string& id, char mark) {
  return id + std::string(id.size() < kIdWidth - 1 ? kIdWidth - 1 - id.size() : 0, ' ') + mark;
}

/// `*`: it is being tried, or is about to be; `!`: held.
char mark_of(const Json& recipients) {
  const auto any = [&recipients](const char* state) {
    return std::any_of(recipients.begin(), recipients.end(),
                       [state](const Json& each) { return text_of(each, "state") == state; });
  };
  if (any("active")) return '*';
  return any("held") && !any("deferred") ? '!' : ' ';
}

void print_message(const Json& message, std::ostream& to) {
  const Json& recipients = message["recipients"];
  const std::string from = shown(message, "from");
  to << row(padded(text_of(message, "id"), mark_of(recipients)), std::to_string(number_of(message, "size")),
            arrival_text(message), from.empty() ? "MAILER-DAEMON" : from);
  for (const Json& recipient : recipients) {
    const std::string state = text_of(recipient, "state");
    if (state != "active" && state != "deferred" && state != "held") continue;
    const std::string reply = shown(recipient, "reply");
    const std::string host = shown(recipient, "host");
    if (!reply.empty()) to << "(" << (host.empty() ? "" : host + ": ") << reply << ")\n";
    to << row("", "", "", shown(recipient, "address"));
  }
  to << "\n";
}

}  // namespace

int print_mailq(Console& console) {
  ControlRequest request;
  request.path = "/v1/queue";
  request.query["limit"] = std::to_string(ControlApi::kMaxPage);
  std::uint64_t messages = 0;
  std::uint64_t octets = 0;
  std::string resume;
  do {
    if (!resume.empty()) request.query["after"] = resume;
    const std::optional<Json> page = console.fetch(request);
    if (!page) return console.exit_code;
    for (const Json& message : list_of(*page, "messages")) {
      if (messages++ == 0) console.out << "-Queue ID-        --Size-- ----Arrival Time---- -Sender/Recipient-------\n";
      octets += number_of(message, "size");
      print_message(message, console.out);
    }
    resume = text_of(*page, "resume");
  } while (!resume.empty());
  if (messages == 0) {
    console.out << "Mail queue is empty\n";
    return 0;
  }
  console.out << "-- " << (octets + 1023) / 1024 << " Kbytes in " << messages << " Request"
              << (messages == 1 ? "" : "s") << ".\n";
  return 0;
}

}  // namespace waypost::mta
