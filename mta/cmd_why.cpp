#include "mta/cmd_why.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include <sysexits.h>

#include "base/text.h"
#include "mta/output.h"
#include "queue/id.h"

namespace waypost::mta {
namespace {

/// "450 4.2.0 try later, said mx.example[192.0.2.7]:25", "4.4.1 connection refused (mx.example[192.0.2.7]:25)".
std::string last_words(const Json& of, const char* text) {
  std::string out = shown(of, "status");
  const std::string said = shown(of, text), host = shown(of, "host");
  // A reply of SMTP mostly begins with the status.
  if (out.empty() || said.find(out) != std::string::npos) out.clear();
  if (!said.empty()) out += (out.empty() ? "" : " ") + said;
  const bool is_reply = said.size() > 3 && std::all_of(said.begin(), said.begin() + 3, is_digit);
  if (!host.empty()) out += is_reply ? ", said " + host : " (" + host + ")";
  return out;
}

/// "14:09:02 (in 12m)".
std::string moment(const Json& of, const char* key, net::WallTime now) {
  const std::optional<net::WallTime> time = time_of_json(text_of(of, key));
  if (!time) return "some time";
  const std::string at = local_time(*time);
  if (*time <= now) return at;
  return at + " (in " + age_text(std::chrono::duration_cast<std::chrono::seconds>(*time - now)) + ")";
}

bool is_site(const Json& row) {
  return text_of(row, "kind") == "site";
}

std::string name_of(const Json& row) {
  return is_site(row) ? "its site, " + shown(row, "hosts") + "," : shown(row, "name");
}

/// Of a destination, or of its site, that keeps all of its mail back; nullopt: it does not.
std::optional<std::string> kept_back(const Json& row, const std::string& destination, net::WallTime now) {
  if (!row.is_object()) return std::nullopt;
  const std::string state = text_of(row, "state");
  if (state == "held") {
    std::string out = "all mail for " + name_of(row) + " is held until " + moment(row, "until", now);
    if (const std::string because = shown(row, "held_because"); !because.empty()) out += ": " + because;
    return out + ". Changes if: waypost dest resume " + destination + (is_site(row) ? " --site" : "");
  }
  if (state != "failing" || row["until"].is_null()) return std::nullopt;
  return name_of(row) + " cannot be reached since " + shown_time(row, "since") + ", tried " +
         counted(number_of(row, "failures"), "time", "times") + ": " + last_words(row, "reason") + ". Next attempt " +
         moment(row, "until", now);
}

std::string slowed(const Json& row, net::WallTime now) {
  if (!row.is_object() || number_of(row, "spacing_ms") == 0) return "";
  return ". Mail for " + name_of(row) + " is slowed until " + moment(row, "slow_until", now) + ": " +
         shown(row, "slow_because");
}

}  // namespace

std::string why_it_waits(const std::string& id, const Json& recipient, const Json& destination, const Json& site,
                         net::WallTime now) {
  const std::string who = shown(recipient, "address");
  const std::string state = text_of(recipient, "state");
  if (state == "held") {
    std::string out = who + " is held";
    if (const std::string since = shown_time(recipient, "held_since"); !since.empty()) out += " since " + since;
    if (const std::string because = shown(recipient, "held_because"); !because.empty()) out += ": " + because;
    return out + ". It goes on with: waypost queue release " + id;
  }
  if (state != "active" && state != "deferred") return who + " does not wait: " + state;
  for (const Json* row : {&site, &destination})
    if (const std::optional<std::string> back = kept_back(*row, shown(recipient, "destination"), now))
      return who + " waits: " + *back;
  const std::string slow = slowed(site, now) + slowed(destination, now);
  const std::uint64_t tries = number_of(recipient, "tries");
  if (state == "active") return who + " is tried now, or as soon as its turn comes" + slow;
  std::string out = who + " waits until " + moment(recipient, "next_attempt", now) + " after " +
                    counted(tries, "attempt", "attempts");
  if (const std::string last = last_words(recipient, "reply"); !last.empty()) out += "; the last one: " + last;
  return out + slow;
}

int why(const std::string& text, bool json, Console& console) {
  const std::optional<queue::Id> id = queue::Id::parse(text);
  if (!id) {
    console.give_up(EX_USAGE, "not a queue id: " + text);
    return console.exit_code;
  }
  ControlRequest request;
  request.path = "/v1/queue/" + id->text();
  const std::optional<Json> message = console.fetch(request);
  if (!message) return console.exit_code;
  Json told;
  told["id"] = id->text();
  told["recipients"] = Json::array();
  bool expires = false;                            // what is held does not
  std::map<std::string, std::vector<Json>> known;  // a destination, and its site
  for (const Json& recipient : list_of(*message, "recipients")) {
    const std::string name = text_of(recipient, "destination");
    if (!known.contains(name)) {
      ControlRequest ask;
      ask.path = "/v1/dest";
      ask.query["name"] = name;
      const Result<ControlAnswer> answer = console.ask(ask);
      const Json found = answer && answer->status == 200 ? parse_json(answer->body) : Json();
      std::vector<Json>& rows = known[name];
      if (found.is_object() && found.contains("destinations"))
        for (const Json& row : found["destinations"]) rows.push_back(row);
      rows.resize(2);  // what nothing is known of is null
    }
    const std::string why = why_it_waits(id->text(), recipient, known[name][0], known[name][1], console.now());
    if (!json) console.out << why << "\n";
    const std::string state = text_of(recipient, "state");
    told["recipients"].push_back({{"address", text_of(recipient, "address")}, {"state", state}, {"why", why}});
    expires = expires || state == "active" || state == "deferred";
  }
  told["expires"] = expires ? Json(text_of(*message, "expires")) : Json(nullptr);
  if (json)
    console.print(told);
  else if (expires)
    console.out << "It is given up at " << moment(*message, "expires", console.now()) << "\n";
  return 0;
}

void add_why(CLI::App& app, Console& console) {
  auto id = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand("why", "Why a message waits, and what happens next");
  verb->add_option("id", *id, "The message")->required()->type_name("ID");
  auto json = std::make_shared<bool>(false);
  verb->add_flag("--json", *json, "One JSON object, keys stable");
  verb->footer("Example: waypost why 01JD8Q2M3XK7");
  verb->callback([id, json, &console] { console.exit_code = why(*id, *json, console); });
}

}  // namespace waypost::mta
