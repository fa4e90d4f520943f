#include "mta/cmd_rates.h"

#include <memory>
#include <optional>

#include "conf/config.h"
#include "conf/units.h"
#include "mta/output.h"

namespace waypost::mta {

int rates(bool json, Console& console) {
  ControlRequest request;
  request.path = "/v1/rates";
  const std::optional<Json> answer = console.fetch(request);
  if (!answer) return console.exit_code;
  if (json) {
    console.print(*answer);
    return 0;
  }
  const Json& rows = list_of(*answer, "rates");
  if (rows.empty()) {
    console.out << "nothing was sent of late by clients of a class with a rate\n";
    return 0;
  }
  Table table;
  table.add({"CLASS", "CLIENT", "USED", "OF", "IN"});
  for (const Json& row : rows) {
    const std::string client = shown(row, "client");
    table.add({shown(row, "class"), client.empty() ? "all" : client, grouped(number_of(row, "used")),
               grouped(number_of(row, "most")) + " " + shown(row, "of"),
               conf::duration_text(std::chrono::seconds(number_of(row, "period")))});
  }
  console.out << table.text();
  return 0;
}

void add_rates(CLI::App& app, Console& console) {
  auto json = std::make_shared<bool>(false);
  CLI::App* verb = app.add_subcommand("rates", "What clients have used of the rates of their class");
  verb->add_flag("--json", *json, "One JSON object, keys stable");
  verb->footer("Example: waypost rates");
  verb->callback([json, &console] { console.exit_code = rates(*json, console); });
}

}  // namespace waypost::mta
