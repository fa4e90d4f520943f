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

int log_reopen(Console& console) {
  ControlRequest request;
  request.method = "POST";
  request.path = "/v1/log/reopen";
  const std::optional<Json> answer = console.fetch(request);
  return answer ? 0 : console.exit_code;
}

void add_health(CLI::App& app, Console& console) {
  CLI::App* verb = app.add_subcommand("health", "Whether all is well, as an exit code for probes");
  verb->footer("Example: waypost health || page-the-postmaster");
  verb->callback([&console] { console.exit_code = health(console); });
}

void add_log(CLI::App& app, Console& console) {
  CLI::App* log = app.add_subcommand("log", "The daemon's log");
  log->require_subcommand(1);
  log->footer("Example: waypost log reopen");
  CLI::App* reopen = log->add_subcommand("reopen", "Have it written to a file of its name again, after a rotation");
  reopen->footer("Example: waypost log reopen");
  reopen->callback([&console] { console.exit_code = log_reopen(console); });
}

}  // namespace waypost::mta
