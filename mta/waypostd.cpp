// mta/waypostd.cpp: the daemon's command line. waypostd(8)
#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>
#include <sysexits.h>

#include "base/event_log.h"
#include "conf/load.h"
#include "delivery/reply_rules.h"
#include "mta/certificates.h"
#include "mta/daemon.h"
#include "queue/sqlite.h"

int main(int argc, char** argv) {
  using namespace waypost;
  queue::Database::prepare_library();
  CLI::App app("The Waypost mail relay. It stays in the foreground and logs where the configuration says.", "waypostd");
  std::string file = conf::kUsualFile;
  bool check = false;
  app.add_option("-c,--config", file, "The configuration")->type_name("FILE")->capture_default_str();
  app.add_flag("--check", check, "Read the configuration, report what is wrong with it, and exit");
  app.set_version_flag("--version", "waypostd (Waypost) " WAYPOST_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? EX_OK : EX_USAGE;
  }

  conf::Loaded loaded = conf::load(file);
  delivery::check_reply_rules(loaded);
  if (check) mta::check_certificates(loaded, net::system_clock().wall_now());
  for (const conf::Finding& finding : loaded.errors) std::fprintf(stderr, "error: %s\n", finding.text().c_str());
  if (!loaded.errors.empty()) {
    for (const conf::Finding& finding : loaded.warnings) std::fprintf(stderr, "warning: %s\n", finding.text().c_str());
    return EX_CONFIG;
  }
  if (check) {
    for (const conf::Finding& finding : loaded.warnings) std::fprintf(stderr, "warning: %s\n", finding.text().c_str());
    return EX_OK;
  }
  const std::vector<conf::Finding> warnings = loaded.warnings;
  mta::Daemon daemon(std::move(loaded));
  for (const conf::Finding& finding : warnings) log::config_warning(finding.text());
  return daemon.run();
}
