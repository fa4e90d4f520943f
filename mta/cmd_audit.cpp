#include "mta/cmd_audit.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "mta/long_work.h"
#include "mta/output.h"

namespace waypost::mta {
namespace {

/// "2 messages, 3 recipients"; "" of a change that was of none.
std::string how_much(const Json& change) {
  const std::uint64_t messages = number_of(change, "messages"), recipients = number_of(change, "recipients");
  std::string out;
  if (messages > 0) out = counted(messages, "message", "messages");
  if (recipients > 0) out += ", " + counted(recipients, "recipient", "recipients");
  return out;
}

std::string remarks(const Json& change) {
  std::string out = shown(change, "reason");
  if (!out.empty()) out = "(" + out + ")";
  if (const std::uint64_t by = number_of(change, "undone_by"); by > 0)
    out += std::string(out.empty() ? "" : " ") + "undone by " + std::to_string(by);
  return out;
}

}  // namespace

int audit(std::uint64_t limit, bool json, Console& console) {
  Table table;
  table.add({"CHANGE", "TIME", "WHO", "WHAT", "OF", "HOW MUCH", ""});
  std::uint64_t left = limit, before = 0;
  bool any = false;
  while (left > 0) {
    ControlRequest request;
    request.path = "/v1/audit";
    request.query["limit"] = std::to_string(std::min<std::uint64_t>(left, ControlApi::kMaxPage));
    if (before > 0) request.query["before"] = std::to_string(before);
    const std::optional<Json> answer = console.fetch(request);
    if (!answer) return console.exit_code;
    const Json& changes = list_of(*answer, "changes");
    for (const Json& change : changes) {
      before = number_of(change, "change");
      any = true;
      if (json)
        console.print(change);
      else
        table.add({std::to_string(before), shown_time(change, "time"), shown(change, "who"), shown(change, "what"),
                   shown(change, "meant"), how_much(change), remarks(change)});
    }
    if (changes.empty()) break;
    left -= std::min<std::uint64_t>(left, changes.size());
  }
  if (!json && any) console.out << table.text();
  if (!any) console.err << "waypost: nothing was changed yet\n";
  return any ? 0 : 1;
}

int undo(std::uint64_t change, Console& console) {
  Json order;
  order["change"] = change;
  ControlRequest request;
  request.method = "POST";
  request.path = "/v1/undo";
  request.body = to_line(order);
  const std::optional<Json> answer = fetch_long(request, console);
  if (!answer) return console.exit_code;
  const bool stopped = note_stopped(*answer, console);
  if (number_of(*answer, "recipients") == 0 && stopped) return 2;
  if (number_of(*answer, "recipients") == 0) {
    console.err << "waypost: nothing is left of change " << change << " to undo: what it met has gone on since\n";
    return 1;
  }
  console.out << "undone for " << how_much(*answer) << " (change " << number_of(*answer, "change") << ")\n";
  return stopped ? 2 : 0;
}

void add_audit(CLI::App& app, Console& console) {
  struct Options {
    std::uint64_t limit = 50, change = 0;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* list = app.add_subcommand("audit", "What administrators did, the newest first");
  list->add_option("--limit", options->limit, "At most so many changes (50)")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  list->add_flag("--json", options->json, "A JSON object a line, keys stable");
  list->footer("Example: waypost audit --limit 10");
  list->callback([options, &console] { console.exit_code = audit(options->limit, options->json, console); });

  CLI::App* back = app.add_subcommand("undo", "Take a change of the last day back");
  back->add_option("change", options->change, "Its number, as the change said it and `waypost audit` has it")
      ->required()
      ->type_name("CHANGE");
  back->footer("Example: waypost undo 77");
  back->callback([options, &console] { console.exit_code = undo(options->change, console); });
}

}  // namespace waypost::mta
