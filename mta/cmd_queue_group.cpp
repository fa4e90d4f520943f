// mta/cmd_queue_group.cpp: `waypost queue count --by` and `waypost queue shape`.
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "mta/cmd_queue.h"
#include "mta/output.h"
#include "queue/grouping.h"

namespace waypost::mta {
namespace {

std::vector<std::string> group_row(const Json& group, const std::string& key) {
  return {grouped(number_of(group, "recipients")), grouped(number_of(group, "messages")),
          octets_text(number_of(group, "octets")), key};
}

std::vector<std::string> shape_row(const Json& group, const std::string& key) {
  std::vector<std::string> row{key, grouped(number_of(group, "recipients"))};
  for (const Json& column : list_of(group, "ages")) row.push_back(grouped(column.get<std::uint64_t>()));
  return row;
}

std::string key_text(const Json& group) {
  const std::string key = shown(group, "key");
  return key.empty() ? "-" : key;
}

/// Those of --json are printed here. nullopt: said why.
std::optional<Json> fetch_groups(const QueueCountOptions& options, Console& console) {
  ControlRequest request;
  request.path = "/v1/queue/count";
  request.query["filter"] = filter_text(options.filter);
  request.query["by"] = options.by;
  if (options.limit > 0) request.query["limit"] = std::to_string(options.limit);
  std::optional<Json> answer = console.fetch(request);
  if (!answer || !options.json) return answer;
  for (const Json& group : list_of(*answer, "groups")) console.print(group);
  return answer;
}

int end_of_groups(const QueueCountOptions& options, const Json& answer, const Table& table, Console& console) {
  if (list_of(answer, "groups").empty()) {
    if (!options.json)
      console.err << "waypost: " << (options.filter.empty() ? "the queue is empty\n" : "nothing matches\n");
    return options.filter.empty() ? 0 : 1;
  }
  if (!options.json) console.out << table.text();
  return 0;
}

}  // namespace

int queue_groups(const QueueCountOptions& options, Console& console) {
  const std::optional<Json> answer = fetch_groups(options, console);
  if (!answer) return console.exit_code;
  Table table;
  table.add({"RECIPIENTS", "MESSAGES", "SIZE", to_upper(options.by)});
  for (const Json& group : list_of(*answer, "groups")) table.add(group_row(group, key_text(group)));
  if (const std::uint64_t more = number_of(*answer, "left_out"); more > 0)
    table.add(group_row((*answer)["others"], "(" + grouped(more) + " more)"));
  return end_of_groups(options, *answer, table, console);
}

int queue_shape(const QueueCountOptions& options, Console& console) {
  const std::optional<Json> answer = fetch_groups(options, console);
  if (!answer) return console.exit_code;
  Table table;
  std::vector<std::string> header{to_upper(options.by), "TOTAL"};
  for (const int minutes : queue::Group::kMinutes) header.push_back("<" + std::to_string(minutes) + "m");
  header.push_back("older");
  table.add(std::move(header));
  for (const Json& group : list_of(*answer, "groups")) table.add(shape_row(group, key_text(group)));
  if (const std::uint64_t more = number_of(*answer, "left_out"); more > 0)
    table.add(shape_row((*answer)["others"], "(" + grouped(more) + " more)"));
  return end_of_groups(options, *answer, table, console);
}

}  // namespace waypost::mta
