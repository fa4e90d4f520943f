// mta/waypost.cpp: the administrator's tool. waypost(8)
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <sysexits.h>
#include <unistd.h>

#include "base/escape.h"
#include "conf/load.h"
#include "conf/suggest.h"
#include "mta/client.h"
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
#include "mta/cmd_user.h"
#include "mta/cmd_why.h"
#include "mta/completion.h"
#include "mta/output.h"
#include "mta/secret.h"

namespace waypost::mta {
namespace {

/// Where the relay of this configuration is found. A file with errors serves, as far as it could be read: the daemon
/// may run with the one before it. Errors: unsupported (the file that was named cannot be read).
Result<std::unique_ptr<RelayClient>> find_relay(const std::string& file, bool named, std::ostream& notes) {
  const conf::Loaded loaded = conf::load(file);
  if (!loaded.errors.empty()) {
    const conf::Finding& first = loaded.errors.front();
    const bool unreadable = first.line == 0 && first.key.empty();
    // Whoever may use the socket may not be allowed to read the file in its usual place: then its usual paths serve.
    if (unreadable && named) return fail(Errc::unsupported, first.text());
    if (!unreadable) notes << "waypost: note: " << file << " has errors, see waypost config check\n";
  }
  return std::make_unique<RelayClient>(loaded.config.control_socket, loaded.config.data_dir, notes);
}

/// What was asked, what came of it, and how long it took.
void note_question(const ControlRequest& request, const Result<ControlAnswer>& answer,
                   std::chrono::steady_clock::duration took) {
  std::string what = request.method + " " + request.path;
  char before = '?';
  for (const auto& [name, value] : request.query) {
    what += before + name + "=" + value;
    before = '&';
  }
  std::cerr << "waypost: " + escape(what, 2000) + ": " +
                   (answer ? std::to_string(answer->status) + ", " + octets_text(answer->body.size())
                           : escape(answer.error().what, 2000)) +
                   ", " + std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()) + " ms\n";
}

/// What is wrong with a command line, and where to read on.
std::string wrong_usage(const CLI::App* app, const CLI::Error& error) {
  std::string name = app->get_name();
  while (!app->get_subcommands().empty()) {
    app = app->get_subcommands().front();
    name += " " + app->get_name();
  }
  std::vector<std::string> verbs;
  for (const CLI::App* verb : app->get_subcommands(nullptr))
    if (!verb->get_name().empty()) verbs.push_back(verb->get_name());  // else it is a group of options
  const std::vector<std::string> words = app->remaining();
  std::string what = error.what();
  if (!verbs.empty() && !words.empty() && !words.front().starts_with('-')) {
    const std::string meant = conf::nearest(words.front(), verbs);
    what = "there is no verb \"" + escape(words.front(), 100) + "\"" +
           (meant.empty() ? "" : ": did you mean \"" + meant + "\"?");
  } else if (!verbs.empty() && words.empty()) {
    what = "a verb is missing";
  }
  return "waypost: " + what + "\nRun `" + name + " --help` for more\n";
}

int run(int argc, char** argv) {
  CLI::App app("The administrator's tool of the Waypost mail relay: queue, history, configuration.", "waypost");
  std::string file = conf::kUsualFile;
  const CLI::Option* config = app.add_option("-c,--config", file, "The daemon's configuration")
                                  ->type_name("FILE")
                                  ->capture_default_str()
                                  ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  bool quiet = false, verbose = false, colourless = false, exact = false;
  app.add_flag("-q,--quiet", quiet, "No notes and no progress, but errors");
  app.add_flag("-v,--verbose", verbose, "What the relay is asked, and how long it takes");
  app.add_flag("--no-color", colourless, "No colour, as with NO_COLOR in the environment");
  app.add_flag("--bytes", exact, "Sizes in octets");
  app.set_version_flag("--version", "waypost (Waypost) " WAYPOST_VERSION);
  app.require_subcommand(1);
  app.footer("Example: waypost queue list state:deferred\nEach verb has a --help of its own; waypost(8) says more.");

  std::ostream nowhere(nullptr);
  std::unique_ptr<RelayClient> relay;
  const auto find = [&]() -> Result<> {
    if (relay) return {};
    Result<std::unique_ptr<RelayClient>> found = find_relay(file, config->count() > 0, quiet ? nowhere : std::cerr);
    if (!found) return fail(found.error());
    relay = *std::move(found);
    return {};
  };
  Console console{
      std::cout,
      std::cerr,
      [&file] { return file; },
      [&](const ControlRequest& request) -> Result<ControlAnswer> {
        const Result<> found = find();
        if (!found) return fail(found.error());
        const auto began = std::chrono::steady_clock::now();
        Result<ControlAnswer> answer = relay->ask(request);
        if (verbose) note_question(request, answer, std::chrono::steady_clock::now() - began);
        return answer;
      },
      [] { return std::chrono::time_point_cast<net::WallTime::duration>(std::chrono::system_clock::now()); },
      [&]() -> Result<std::string> {
        const Result<> found = find();
        if (!found) return fail(found.error());
        return relay->data_dir();
      },
      0,
      [&file](const Submission& submission) {
        std::signal(SIGPIPE, SIG_IGN);  // a daemon that closes is an answer
        return submit(conf::load(file).config.submit_socket, submission, nullptr);
      }};
  app.parse_complete_callback([&] {
    if (exact) show_exact_octets();
    if (colourless) ::setenv("NO_COLOR", "1", 1);
    console.err_is_terminal = !quiet && ::isatty(STDERR_FILENO) != 0;
  });
  add_status(app, console);
  add_top(app, console);
  add_bench(app, console);
  add_health(app, console);
  add_queue(app, console);
  add_dest(app, console);
  add_attempt(app, console);
  add_trace(app, console);
  add_why(app, console);
  add_explain(app, console);
  add_probe(app, console);
  add_watch(app, console);
  add_audit(app, console);
  add_rates(app, console);
  add_store(app, console);
  add_classify(app, console);
  add_config(app, console);
  add_cert(app, console);
  add_user(app, console, read_secret);
  add_reload(app, console);
  add_log(app, console);
  add_completion(app, console);

  std::vector<std::string> arguments = protect_negated_terms(std::vector<std::string>(argv + 1, argv + argc));
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  app.failure_message(wrong_usage);
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? EX_OK : EX_USAGE;
  }
  std::cout.flush();
  return console.exit_code;
}

}  // namespace
}  // namespace waypost::mta

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  return waypost::mta::run(argc, argv);
}
