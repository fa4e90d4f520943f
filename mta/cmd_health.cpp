#include "mta/cmd_health.h"

#include <optional>

#include "base/escape.h"

namespace waypost::mta {

int health(Console& console) {
  ControlRequest request;
  request.path = "/v1/health";
  const std::optional<Json> answer = console.fetch(request);
  if (!answer) return console.exit_code;
  const Json& alerts = list_of(*answer, "alerts");
  for (const Json& alert : alerts) console.out << "! " << escape(alert.get<std::string>(), 2000) << "\n";
  if (alerts.empty()) console.out << "ok\n";
  return alerts.empty() ? 0 : 1;
}

void add_health(CLI::App& app, Console& console) {
  CLI::App* verb = app.add_subcommand("health", "Whether all is well, as an exit code for probes");
  verb->footer("Example: waypost health || page-the-postmaster");
  verb->callback([&console] { console.exit_code = health(console); });
}

}  // namespace waypost::mta
