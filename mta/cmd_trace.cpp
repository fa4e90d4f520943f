#include "mta/cmd_trace.h"

#include <memory>

#include <sysexits.h>

#include "mta/output.h"

namespace waypost::mta {
namespace {

/// "from <a@example.org>, 2.1 KB, Message-ID <1@example.org>", of the event that accepted it.
std::string headline(const Json& events) {
  for (const Json& event : events) {
    if (text_of(event, "event") != "accepted") continue;
    std::string out = "from <" + shown(event, "from") + ">, " + octets_text(number_of(event, "size"));
    if (const std::string id = shown(event, "message_id"); !id.empty()) out += ", message-id " + id;
    if (const std::string other = shown(event, "other"); !other.empty()) out += ", because of " + other;
    return out;
  }
  return "";
}

void add_text(std::string& out, const std::string& text) {
  if (!text.empty()) out += (out.empty() ? "" : "  ") + text;
}

}  // namespace

std::vector<std::string> event_row(const Json& event) {
  const std::string kind = text_of(event, "event");
  const bool waiting = kind == "waiting";
  std::string text;
  add_text(text, shown(event, "host"));
  add_text(text, shown(event, "status"));
  add_text(text, shown(event, "text"));
  if (const std::string tls = shown(event, "tls"); !tls.empty()) add_text(text, "tls " + tls);
  if (kind != "accepted") add_text(text, shown(event, "other"));
  const std::string next = shown_time(event, "next_attempt");
  const std::string state = text_of(event, "state");
  if (state == "active") {
    add_text(text, "is tried now");
  } else if (state == "held") {
    add_text(text, "held");
  } else if (!next.empty()) {
    add_text(text, "next try " + next);
  }
  if (waiting) add_text(text, "gives up " + shown_time(event, "expires"));
  return {waiting ? "" : shown_time(event, "time"), kind == "waiting" ? "waits" : kind, shown(event, "recipient"),
          text};
}

int trace(const TraceOptions& options, Console& console) {
  ControlRequest request;
  request.path = "/v1/trace";
  if (!options.id.empty()) request.query["id"] = options.id;
  if (!options.message_id.empty()) request.query["message_id"] = options.message_id;
  if (!options.from.empty()) request.query["from"] = options.from;
  if (!options.to.empty()) request.query["to"] = options.to;
  if (!options.since.empty()) {
    const Result<net::WallTime> since = parse_when(options.since, console.now());
    if (!since) {
      console.give_up(EX_USAGE, "--since: " + since.error().what);
      return console.exit_code;
    }
    request.query["since"] = utc_seconds(*since);
  }
  if (request.query.empty()) {
    console.give_up(EX_USAGE, "which messages? Name an id, --message-id, --from, --to or --since");
    return console.exit_code;
  }
  if (options.limit != 0) request.query["limit"] = std::to_string(options.limit);
  const std::optional<Json> answer = console.fetch(request);
  if (!answer) return console.exit_code;
  if (list_of(*answer, "messages").empty()) {
    console.err << "waypost: nothing matches\n";
    return 1;
  }
  bool first = true;
  for (const Json& message : list_of(*answer, "messages")) {
    if (options.json) {
      for (const Json& event : message["events"]) console.print(event);
      continue;
    }
    if (!first) console.out << "\n";
    first = false;
    console.out << text_of(message, "id") << "  " << headline(message["events"]) << "\n";
    Table table;
    for (const Json& event : message["events"]) table.add(event_row(event));
    console.out << table.text("  ");
  }
  return 0;
}

void add_trace(CLI::App& app, Console& console) {
  auto options = std::make_shared<TraceOptions>();
  CLI::App* verb = app.add_subcommand("trace", "The life of messages, also of those that left the queue");
  verb->add_option("id", options->id, "The message")->type_name("ID");
  verb->add_option("--message-id", options->message_id, "Its Message-ID")->type_name("M");
  verb->add_option("--from", options->from, "Its reverse-path, or a pattern")->type_name("A");
  verb->add_option("--to", options->to, "A forward-path of it, or a pattern")->type_name("A");
  verb->add_option("--since", options->since, "Not before: 2h (ago), \"2026-11-22 09:14\"")->type_name("T");
  verb->add_option("--limit", options->limit, "So many messages at most")->type_name("N");
  verb->add_flag("--json", options->json, "JSON Lines, one per event, keys stable");
  verb->footer("Example: waypost trace --to bob@b.example --since 1d");
  verb->callback([options, &console] { console.exit_code = trace(*options, console); });
}

}  // namespace waypost::mta
