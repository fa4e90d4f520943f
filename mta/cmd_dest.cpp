#include "mta/cmd_dest.h"

#include <algorithm>
#include <memory>
#include <optional>

#include <sysexits.h>

#include "conf/units.h"
#include "conf/values.h"
#include "mta/output.h"

namespace waypost::mta {
namespace {

/// A site is called by its first host: "site mx1.b.example and 2 more".
std::string short_name(const Json& row) {
  if (text_of(row, "kind") != "site") return shown(row, "name");
  const std::string hosts = shown(row, "hosts");
  const std::size_t whose = hosts.find(" (");
  const std::string first = hosts.substr(0, std::min(hosts.find(','), whose));
  const std::size_t space = first.find(' ');
  const auto more = std::count(hosts.begin(), hosts.end(), ',');
  return "site " + (space == std::string::npos ? first : first.substr(space + 1)) +
         (more == 0 ? "" : " and " + std::to_string(more) + " more") +
         (whose == std::string::npos ? "" : hosts.substr(whose));
}

/// "20 a minute".
std::string per_minute(const Json& row) {
  const std::uint64_t spacing = std::max<std::uint64_t>(number_of(row, "spacing_ms"), 1);
  return spacing <= 60'000 ? std::to_string(60'000 / spacing) + " a minute"
                           : "one in " + std::to_string(spacing / 60'000) + " minutes";
}

/// ": they move"; "" where there is no reason.
std::string because(const Json& row, const char* key) {
  const std::string reason = shown(row, key);
  return reason.empty() ? "" : ": " + reason;
}

std::string why(const Json& row) {
  if (text_of(row, "state") == "held") return shown(row, "held_because");
  if (text_of(row, "state") == "slowed") return "to " + per_minute(row) + because(row, "slow_because");
  const std::string status = shown(row, "status");
  return status.empty() ? "" : status + " " + shown(row, "reason");
}

/// "1 204", "100 000+".
std::string waiting_text(const Json& row) {
  return grouped(number_of(row, "recipients")) + (row.value("more", false) ? "+" : "");
}

void write_table(const Json& rows, Console& console) {
  Table table;
  table.add({"WAITING", "STATE", "UNTIL", "TRIES", "DESTINATION", "WHY"});
  for (const Json& row : rows)
    table.add({waiting_text(row), shown(row, "state"),
               shown_time(row, text_of(row, "state") == "slowed" ? "slow_until" : "until"),
               grouped(number_of(row, "failures")), short_name(row), why(row)});
  console.out << table.text();
}

/// `site`: that of the destination, which it may wait with; null: none.
void write_one(const Json& row, const Json& site, Console& console) {
  const bool is_site = text_of(row, "kind") == "site";
  console.out << (is_site ? "its site, " + shown(row, "hosts") : shown(row, "name")) << "\n";
  Table table;
  const bool waits = text_of(row, "state") == "well" && site.is_object() && !site["until"].is_null();
  table.add({"state", waits ? "waits with its site" : shown(row, "state")});
  if (const std::string until = shown_time(row, "until"); !until.empty()) table.add({"until", until});
  if (const std::string reason = shown(row, "held_because"); !reason.empty()) table.add({"because", reason});
  if (number_of(row, "spacing_ms") > 0)
    table.add({"slowed", "to " + per_minute(row) + " until " + shown_time(row, "slow_until") + ", then twice as much" +
                             because(row, "slow_because")});
  table.add({"waiting", waiting_text(row) + (number_of(row, "recipients") == 1 ? " recipient" : " recipients")});
  if (number_of(row, "failures") > 0) {
    table.add({"failed", counted(number_of(row, "failures"), "time", "times") + " since " + shown_time(row, "since")});
    table.add({"last", shown(row, "status") + " " + shown(row, "reason")});
    if (const std::string host = shown(row, "host"); !host.empty()) table.add({"host", host});
  }
  console.out << table.text("  ");
}

/// For how long. Errors: invalid.
Result<std::chrono::seconds> time_of(const DestChangeOptions& options, net::WallTime now) {
  if (options.until.empty()) {
    const Result<std::chrono::seconds> time = parse_seconds(options.time);
    return time ? time : fail(Errc::invalid, "--for: " + time.error().what);
  }
  const Result<net::WallTime> until = parse_until(options.until, now);
  if (!until) return fail(Errc::invalid, "--until: " + until.error().what);
  return std::chrono::ceil<std::chrono::seconds>(*until - now);
}

}  // namespace

int dest_list(const std::string& name, bool json, Console& console) {
  ControlRequest request;
  request.path = "/v1/dest";
  if (!name.empty()) request.query["name"] = name;
  const std::optional<Json> answer = console.fetch(request);
  if (!answer) return console.exit_code;
  const Json& rows = list_of(*answer, "destinations");
  if (json) {
    for (const Json& row : rows) console.print(row);
    return 0;
  }
  if (rows.empty()) {
    console.out << "no destination fails, is held or slowed\n";
    return 0;
  }
  if (name.empty()) {
    write_table(rows, console);
    return 0;
  }
  for (std::size_t at = 0; at < rows.size(); ++at)
    write_one(rows[at], at == 0 && rows.size() > 1 ? rows[1] : Json(), console);
  return 0;
}

int dest_change(const DestChangeOptions& options, Console& console) {
  Json order;
  order["change"] = options.verb;
  order["name"] = options.name;
  order["site"] = options.site;
  const bool limit = options.verb == "limit";
  if (limit) {
    const Result<conf::Rate> rate = conf::parse_rate(options.rate);
    const std::uint64_t spacing = rate ? static_cast<std::uint64_t>(rate->period.count()) * 1000 / rate->most : 0;
    if (spacing == 0) {
      console.give_up(EX_USAGE, "--rate: " + (rate ? "at most 1000/1s" : rate.error().what));
      return console.exit_code;
    }
    order["spacing_ms"] = spacing;
  }
  if (limit || options.verb == "hold") {
    const Result<std::chrono::seconds> time = time_of(options, console.now());
    if (!time) {
      console.give_up(EX_USAGE, time.error().what);
      return console.exit_code;
    }
    order["seconds"] = static_cast<std::uint64_t>(time->count());
    order["reason"] = options.reason;
  }
  ControlRequest request;
  request.method = "POST";
  request.path = "/v1/dest/change";
  request.body = to_line(order);
  const std::optional<Json> answer = console.fetch(request);
  if (!answer) return console.exit_code;
  const std::string what = (options.site ? "the site of " : "") + shown(*answer, "name");
  if (limit) {
    console.out << what << " gets " << options.rate << " until " << shown_time(*answer, "until")
                << ", and then twice as much each quarter of an hour\n";
  } else if (options.verb == "hold") {
    console.out << what << " is held until " << shown_time(*answer, "until") << "\n";
  } else if (options.verb == "retry") {
    console.out << what << " is tried now\n";
  } else if (const std::string was = shown(*answer, "was"); was.empty()) {
    console.out << what << " was neither held nor slowed\n";
    return 1;
  } else {
    console.out << what << " is no longer " << was << "\n";
  }
  return 0;
}

void add_dest(CLI::App& app, Console& console) {
  CLI::App* dest = app.add_subcommand("dest", "Destinations that fail, are held or slowed, and why");
  dest->require_subcommand(1);
  dest->footer("Example: waypost dest list");

  auto json = std::make_shared<bool>(false);
  auto name = std::make_shared<std::string>();
  CLI::App* list = dest->add_subcommand("list", "All that fail, are held or slowed");
  list->add_flag("--json", *json, "A JSON object a line, keys stable");
  list->footer("Example: waypost dest list");
  list->callback([json, &console] { console.exit_code = dest_list("", *json, console); });
  CLI::App* show = dest->add_subcommand("show", "One, and the site that it waits with");
  show->add_option("name", *name, "The recipients' domain")->type_name("DOMAIN")->required();
  show->add_flag("--json", *json, "A JSON object a line, keys stable");
  show->footer("Example: waypost dest show b.example");
  show->callback([name, json, &console] { console.exit_code = dest_list(*name, *json, console); });

  auto options = std::make_shared<DestChangeOptions>();
  const auto change = [&](const char* verb, const char* help, const char* example) {
    CLI::App* command = dest->add_subcommand(verb, help);
    command->add_option("name", options->name, "The recipients' domain")->type_name("DOMAIN")->required();
    command->add_flag("--site", options->site, "All destinations of the site that it waits with");
    command->footer(example);
    command->callback([options, verb, &console] {
      options->verb = verb;
      console.exit_code = dest_change(*options, console);
    });
    return command;
  };
  const auto add_time = [&options](CLI::App* command) {
    CLI::Option_group* time = command->add_option_group("until when");
    time->add_option("--for", options->time, "For how long: 90s, 5m, 4h, 5d")->type_name("TIME");
    time->add_option("--until", options->until, "Until when: 08:00, \"2026-11-28 08:00\"")->type_name("TIME");
    time->require_option(1);
    command->add_option("--reason", options->reason, "Shown by list and show")->type_name("TEXT");
  };
  add_time(change("hold", "Keep its mail back for a time; it does not expire meanwhile",
                  "Example: waypost dest hold b.example --until 08:00 --reason \"their migration\""));
  CLI::App* limit =
      change("limit", "Give it so much mail for a time, and then more by and by",
             "Example: waypost dest limit b.example --site --rate 20/1m --for 2h --reason \"they ask for it\"");
  limit->add_option("--rate", options->rate, "Messages in a time, evenly spaced: 20/1m")->type_name("RATE")->required();
  add_time(limit);
  change("resume", "End a hold, and slowness", "Example: waypost dest resume b.example");
  change("retry", "Ask it now, though it failed", "Example: waypost dest retry b.example --site");
}

}  // namespace waypost::mta
