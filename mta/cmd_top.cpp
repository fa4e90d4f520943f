#include "mta/cmd_top.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <sstream>
#include <utility>

#include <sysexits.h>

#include "conf/units.h"

namespace waypost::mta {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr const char* kGroups = "200";  // destinations that are listed at most
constexpr milliseconds kShortest{100};
// A count goes through the queue: of the daemon's time a tenth at most is spent on it.
constexpr int kAtMostATenth = 9;

/// What `console` has at `path`; what goes wrong is noted, the first of it.
std::optional<Json> look(const Console& console, const char* path, std::map<std::string, std::string> query,
                         std::string& trouble) {
  if (!trouble.empty()) return std::nullopt;
  ControlRequest request;
  request.path = path;
  request.query = std::move(query);
  request.live = true;
  std::ostringstream heard;
  Console quiet = console.aside(heard);
  std::optional<Json> answer = quiet.fetch(request);
  // A message or a destination may have gone meanwhile.
  if (!answer && quiet.exit_code == 1) return Json(nullptr);
  if (!answer) trouble = heard.str().substr(0, heard.str().find('\n'));
  return answer;
}

}  // namespace

top::Answers ask_top(const top::State& state, top::Answers last, Console& console) {
  top::Answers answers;
  std::string& trouble = answers.trouble;
  answers.now = console.now();
  answers.asked = steady_clock::now();
  const auto keep = [&](const Json& old, const char* path, std::map<std::string, std::string> query = {}) {
    std::optional<Json> got = look(console, path, std::move(query), trouble);
    return got ? *std::move(got) : old;
  };
  answers.status = keep(last.status, "/v1/status");
  if (trouble.empty()) {
    answers.before = std::move(last.status);
    answers.between = std::chrono::duration_cast<milliseconds>(answers.asked - last.asked);
  } else {
    answers.before = std::move(last.before);
    answers.between = last.between;
    answers.asked = last.asked;
    if (last.now != net::WallTime()) answers.now = last.now;
  }
  switch (state.view) {
    case top::View::destinations:
      answers.groups = keep(last.groups, "/v1/queue/count", {{"by", "domain"}, {"limit", kGroups}});
      answers.destinations = keep(last.destinations, "/v1/dest");
      break;
    case top::View::messages:
      answers.destinations = keep(last.destinations, "/v1/dest", {{"name", state.destination}});
      answers.messages = keep(last.messages, "/v1/queue", {{"filter", "destination:\"" + state.destination + "\""}});
      break;
    case top::View::message: {
      const std::string path = "/v1/queue/" + state.message;
      answers.message = keep(last.message, path.c_str());
      answers.trace = keep(last.trace, "/v1/trace", {{"id", state.message}});
      break;
    }
  }
  return answers;
}

int run_top(const TopOptions& options, Console& console, const std::function<Result<std::unique_ptr<Screen>>()>& open) {
  const Result<milliseconds> interval = conf::parse_duration(options.interval);
  if (!interval || *interval < kShortest) {
    console.give_up(EX_USAGE, "--interval: " + (interval ? "at least 100ms" : interval.error().what));
    return console.exit_code;
  }
  const Result<std::unique_ptr<Screen>> opened = open();
  if (!opened) {
    console.give_up(EX_USAGE, opened.error().what + "; waypost status and waypost queue count say as much once");
    return console.exit_code;
  }
  Screen& screen = **opened;
  const char* no_colour = std::getenv("NO_COLOR");
  const bool colour = no_colour == nullptr || *no_colour == '\0';
  top::State state;
  top::Answers answers;
  steady_clock::time_point next = steady_clock::now();
  while (!state.over) {
    const steady_clock::time_point began = steady_clock::now();
    if (began >= next) {
      answers = ask_top(state, std::move(answers), console);
      const steady_clock::duration took = steady_clock::now() - began;
      next = began + took + std::max<steady_clock::duration>(*interval, took * kAtMostATenth);
    }
    const top::Size size = screen.size();
    const Result<> drawn = screen.put(top::drawn(top::screen(state, answers, size), colour));
    if (!drawn) return 0;  // who looked at it has gone
    const milliseconds left = std::chrono::ceil<milliseconds>(next - steady_clock::now());
    const Result<std::string> key = screen.key(std::max(left, milliseconds(0)));
    if (!key) return 0;
    const top::View view = state.view;
    state = top::press(std::move(state), top::key_of(*key), top::rows_of(state, answers), top::page_of(size));
    if (state.view != view) next = steady_clock::now();
  }
  return 0;
}

void add_top(CLI::App& app, Console& console) {
  auto options = std::make_shared<TopOptions>();
  CLI::App* verb = app.add_subcommand("top", "The relay live, on a terminal: destinations, their mail, its life");
  verb->add_option("--interval", options->interval, "Between two looks: 500ms, 2s, 1m (2s)")->type_name("TIME");
  verb->footer("Example: waypost top --interval 5s\nKeys are told by `?`.");
  verb->callback([options, &console] { console.exit_code = run_top(*options, console, Screen::open); });
}

}  // namespace waypost::mta
