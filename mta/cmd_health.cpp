#include "mta/cmd_health.h"

#include <memory>
#include <optional>

#include "base/escape.h"

namespace waypost::mta {

int health(bool json, Console& console) {
  ControlRequest request;
  request.path = "/v1/health";
  const std::optional<Json> answer = console.fetch(request);
  if (!answer) return console.exit_code;
  const Json& alerts = list_of(*answer, "alerts");
  if (json) {
    console.print(*answer);
    return alerts.empty() ? 0 : 1;
  }
  for (const Json& alert : alerts) console.out << "! " << escape(alert.get<std::string>(), 2000) << "\n";
  if (alerts.empty()) console.out << "ok\n";
  return alerts.empty() ? 0 : 1;
}

void add_health(CLI::App& app, Console& console) {
  CLI::App* verb = app.add_subcommand("health", "Whether all is well, as an exit code for probes");
  auto json = std::make_shared<bool>(false);
  verb->add_flag("--json", *json, "One JSON object, keys stable");
  verb->footer("Example: waypost health || page-the-postmaster");
  verb->callback([json, &console] { console.exit_code = health(*json, console); });
}

}  // namespace waypost::mta
