// tests/mta/terminal.h: the tool before a terminal, its verbs asking a FakeBackend.
#pragma once
#include <algorithm>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "mta/cmd_attempt.h"
#include "mta/cmd_audit.h"
#include "mta/cmd_bench.h"
#include "mta/cmd_cert.h"
#include "mta/cmd_classify.h"
#include "mta/cmd_config.h"
#include "mta/cmd_dest.h"
#include "mta/cmd_explain.h"
#include "mta/cmd_health.h"
#include "mta/cmd_log.h"
#include "mta/cmd_probe.h"
#include "mta/cmd_queue.h"
#include "mta/cmd_rates.h"
#include "mta/cmd_status.h"
#include "mta/cmd_store.h"
#include "mta/cmd_top.h"
#include "mta/cmd_trace.h"
#include "mta/cmd_why.h"
#include "mta/completion.h"
#include "tests/mta/fake_backend.h"

namespace waypost::mta {

using tests::kFirst;
using tests::kSecond;

inline std::size_t lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

struct Terminal {
  tests::FakeBackend backend;
  ControlApi api{backend};
  std::ostringstream out, err;
  std::optional<Error> away;
  Console console{out,
                  err,
                  [this] { return file; },
                  [this](const ControlRequest& request) -> Result<ControlAnswer> {
                    if (away) return fail(*away);
                    return api.handle(request);
                  },
                  [] { return tests::kNow; },
                  [this] { return Result<std::string>(data_dir); }};
  std::string data_dir = "/no/such/folder";
  std::string file = "none.toml";  ///< the configuration

  /// Runs a command line as the tool does. Returns its exit code.
  int run(std::vector<std::string> arguments) {
    CLI::App app("test", "waypost");
    app.require_subcommand(1);
    add_status(app, console);
    add_top(app, console);
    add_bench(app, console);
    add_health(app, console);
    add_log(app, console);
    add_queue(app, console);
    add_trace(app, console);
    add_why(app, console);
    add_explain(app, console);
    add_probe(app, console);
    add_completion(app, console);
    add_audit(app, console);
    add_dest(app, console);
    add_attempt(app, console);
    add_rates(app, console);
    add_store(app, console);
    add_classify(app, console);
    add_config(app, console);
    add_cert(app, console);
    add_reload(app, console);
    out.str("");
    err.str("");
    console.exit_code = 0;
    arguments = protect_negated_terms(arguments);
    std::reverse(arguments.begin(), arguments.end());
    try {
      app.parse(std::move(arguments));
    } catch (const CLI::ParseError& error) {
      return error.get_exit_code() == 0 ? 0 : 64;
    }
    return console.exit_code;
  }
  bool said(const std::string& what) const { return out.str().find(what) != std::string::npos; }
  bool complained(const std::string& what) const { return err.str().find(what) != std::string::npos; }
};

}  // namespace waypost::mta
