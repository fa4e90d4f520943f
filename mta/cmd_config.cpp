#include "mta/cmd_config.h"

#include <memory>

#include <sysexits.h>

#include "base/escape.h"
#include "conf/load.h"
#include "delivery/reply_rules.h"
#include "mta/certificates.h"
#include "mta/output.h"

namespace waypost::mta {

int config_check(const std::string& file, bool json, Console& console) {
  conf::Loaded loaded = conf::load(file);
  delivery::check_reply_rules(loaded);
  check_certificates(loaded, net::system_clock().wall_now());
  const auto print = [&](const std::vector<conf::Finding>& findings, const char* severity) {
    for (const conf::Finding& finding : findings) {
      if (json)
        console.out << to_line(finding_json(finding, severity)) << "\n";
      else
        console.out << severity << ": " << escape(finding.text(), 2000) << "\n";
    }
  };
  print(loaded.errors, "error");
  print(loaded.warnings, "warning");
  if (!json) {
    console.out << escape(file) << ": ";
    if (loaded.errors.empty() && loaded.warnings.empty()) {
      console.out << "no errors\n";
    } else {
      console.out << (loaded.errors.empty() ? "no errors" : counted(loaded.errors.size(), "error", "errors")) << ", "
                  << counted(loaded.warnings.size(), "warning", "warnings") << "\n";
    }
  }
  return loaded.errors.empty() ? 0 : EX_CONFIG;
}

void add_config(CLI::App& app, Console& console) {
  CLI::App* config = app.add_subcommand("config", "The configuration");
  config->require_subcommand(1);
  config->footer("Example: waypost config check");
  struct Options {
    std::string file;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* check = config->add_subcommand("check", "Report every mistake in the configuration, and change nothing");
  check->add_option("file", options->file, "Another file than the one that --config names")->type_name("FILE");
  check->add_flag("--json", options->json, "JSON Lines, one per finding, keys stable");
  check->footer("Example: waypost config check /etc/waypost/waypost.toml.new");
  check->callback([options, &console] {
    const std::string file = options->file.empty() ? console.config_file() : options->file;
    console.exit_code = config_check(file, options->json, console);
  });
}

}  // namespace waypost::mta
