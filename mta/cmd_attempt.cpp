#include "mta/cmd_attempt.h"

#include <memory>
#include <optional>

#include <sysexits.h>

#include "mta/output.h"

namespace waypost::mta {

int attempt_settle(const SettleOptions& options, Console& console) {
  if (options.delivered == options.failed) {
    console.give_up(EX_USAGE, "which end? Say --delivered or --failed");
    return console.exit_code;
  }
  Json order;
  order["id"] = options.id;
  order["to"] = options.to;
  order["delivered"] = options.delivered;
  order["reason"] = options.reason;
  ControlRequest request;
  request.method = "POST";
  request.path = "/v1/attempt/settle";
  request.body = to_line(order);
  const std::optional<Json> answer = console.fetch(request);
  if (!answer) return console.exit_code;
  const std::uint64_t recipients = number_of(*answer, "recipients");
  if (recipients == 0) {
    console.err << "waypost: nothing of " << shown(*answer, "id") << " is in doubt"
                << (options.to.empty() ? "" : " for this recipient") << "\n";
    return 1;
  }
  console.out << counted(recipients, "recipient", "recipients") << " of " << shown(*answer, "id")
              << (options.delivered ? ": delivered" : ": failed, the sender is told") << "\n";
  return 0;
}

void add_attempt(CLI::App& app, Console& console) {
  CLI::App* attempt = app.add_subcommand("attempt", "Attempts whose end is not known");
  attempt->require_subcommand(1);
  attempt->footer("Example: waypost queue list 'error:\"in doubt\"'");
  auto options = std::make_shared<SettleOptions>();
  CLI::App* settle = attempt->add_subcommand("settle", "Say how an attempt ended that is in doubt");
  settle->add_option("id", options->id, "The message")->type_name("ID")->required();
  settle->add_option("--to", options->to, "This recipient alone")->type_name("ADDRESS");
  settle->add_flag("--delivered", options->delivered, "The host has it: it is not tried again");
  settle->add_flag("--failed", options->failed, "It is to be returned");
  settle->add_option("--reason", options->reason, "For the log and the trace")->type_name("TEXT");
  settle->footer("Example: waypost attempt settle 01JD8Q2M3XK7 --delivered --reason \"their log has it\"");
  settle->callback([options, &console] { console.exit_code = attempt_settle(*options, console); });
}

}  // namespace waypost::mta
