#include "mta/completion.h"

#include <algorithm>
#include <memory>
#include <utility>

#include <sysexits.h>

#include "queue/filter.h"

namespace waypost::mta {
namespace {

constexpr std::size_t kMostValues = 100;

bool is_shown(const CLI::App* verb) {
  return !verb->get_name().empty() && !verb->get_group().empty();
}

void add_options(const CLI::App& verb, std::vector<std::string>& out) {
  for (const CLI::Option* option : verb.get_options())
    for (const std::string& name : option->get_lnames()) out.push_back("--" + name);
  // Groups of options are verbs without a name.
  for (const CLI::App* group : verb.get_subcommands([](const CLI::App* each) { return each->get_name().empty(); }))
    add_options(*group, out);
}

/// The type name of an option's value, "ID|FILTER" of a positional; "" of a flag.
std::string kind_of(const CLI::Option& option) {
  return option.get_items_expected_max() == 0 ? "" : option.get_type_name();
}

void add_values(const std::string& kind, const LiveValues& live, std::vector<std::string>& out) {
  for (std::size_t at = 0; at <= kind.size();) {
    const std::size_t end = std::min(kind.find('|', at), kind.size());
    const std::string one = kind.substr(at, end - at);
    at = end + 1;
    if (one == "FILTER")
      for (const std::string& field : queue::filter_fields()) out.push_back(field + ":");
    else if (one == "SHELL")
      out.insert(out.end(), {"bash", "zsh", "fish"});
    else if (one == "ID" || one == "DOMAIN")
      for (std::string& value : live(one)) out.push_back(std::move(value));
  }
}

/// The option that a word before the last one was, if its value is still to come.
const CLI::Option* awaited(const CLI::App& verb, const std::string& word) {
  if (!word.starts_with('-')) return nullptr;
  const CLI::Option* option = verb.get_option_no_throw(word);
  return option != nullptr && option->get_items_expected_max() > 0 ? option : nullptr;
}

}  // namespace

std::vector<std::string> candidates(const CLI::App& app, const std::vector<std::string>& words,
                                    const LiveValues& live) {
  const std::string last = words.empty() ? "" : words.back();
  const CLI::App* verb = &app;
  const CLI::Option* open = nullptr;
  std::size_t given = 0;  // positionals of the verb
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    if (open != nullptr) {
      open = nullptr;
      continue;
    }
    open = awaited(*verb, words[i]);
    if (open != nullptr || words[i].starts_with('-')) continue;
    const auto below =
        verb->get_subcommands([&words, i](const CLI::App* each) { return each->get_name() == words[i]; });
    if (below.empty()) {
      ++given;
      continue;
    }
    verb = below.front();
    given = 0;
  }

  std::vector<std::string> all;
  if (open != nullptr) {
    add_values(kind_of(*open), live, all);
  } else if (last.starts_with('-')) {
    add_options(*verb, all);
  } else {
    for (const CLI::App* below : verb->get_subcommands(is_shown)) all.push_back(below->get_name());
    for (const CLI::Option* option : verb->get_options()) {
      if (!option->get_positional()) continue;
      const bool takes_more = option->get_items_expected_max() > 1 || given-- == 0;
      if (takes_more) add_values(kind_of(*option), live, all);
      if (takes_more) break;
    }
  }
  std::erase_if(all, [&last](const std::string& each) { return !each.starts_with(last); });
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

std::string completion_script(const std::string& shell) {
  // A value such as `from:` is gone on with, hence without a space behind it. Bash takes a colon for the end of a word.
  if (shell == "bash")
    return R"(# bash completion for waypost(8)
_waypost() {
  local current words cword
  if declare -F _get_comp_words_by_ref >/dev/null; then
    _get_comp_words_by_ref -n : -w words -i cword
  else
    words=("${COMP_WORDS[@]}")
    cword=$COMP_CWORD
  fi
  current=${words[cword]}
  mapfile -t COMPREPLY < <("${words[0]}" complete -- "${words[@]:1:cword}" 2>/dev/null)
  if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *: ]]; then compopt -o nospace; fi
  if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions "$current"; fi
}
complete -o default -F _waypost waypost
)";
  if (shell == "zsh")
    return R"(#compdef waypost
# zsh completion for waypost(8)
_waypost() {
  local -a found
  found=("${(@f)$("${words[1]}" complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  found=(${found:#})
  if (( ! $#found )); then _files; return; fi
  compadd -Q -S '' -- ${(M)found:#*:}
  compadd -Q -- ${found:#*:}
}
if [ "$funcstack[1]" = "_waypost" ]; then _waypost "$@"; else compdef _waypost waypost; fi
)";
  if (shell == "fish")
    return R"(# fish completion for waypost(8)
function __waypost_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] complete -- $words[2..-1] 2>/dev/null
end
complete -c waypost -f -a '(__waypost_complete)'
)";
  return "";
}

namespace {

/// What the relay knows; none where it does not answer, for whatever reason.
std::vector<std::string> ask_for(const std::string& kind, Console& console) {
  ControlRequest request;
  request.live = true;
  request.within = std::chrono::milliseconds(200);  // who types waits
  request.path = kind == "ID" ? "/v1/queue" : "/v1/dest";
  if (kind == "ID") request.query["limit"] = std::to_string(kMostValues);
  const Result<ControlAnswer> answer = console.ask(request);
  const Json found = answer && answer->status == 200 ? parse_json(answer->body) : Json();
  std::vector<std::string> out;
  const char* list = kind == "ID" ? "messages" : "destinations";
  if (!found.is_object() || !found.contains(list)) return out;
  for (const Json& each : found[list]) {
    if (text_of(each, "kind") == "site") continue;
    out.push_back(text_of(each, kind == "ID" ? "id" : "name"));
    if (out.size() == kMostValues) break;
  }
  return out;
}

}  // namespace

void add_completion(CLI::App& app, Console& console) {
  auto shell = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand("completion", "A script that completes command lines, for a shell");
  verb->add_option("shell", *shell, "bash, zsh or fish")->required()->type_name("SHELL");
  verb->footer("Example: waypost completion bash > /etc/bash_completion.d/waypost");
  verb->callback([shell, &console] {
    const std::string script = completion_script(*shell);
    if (script.empty())
      console.give_up(EX_USAGE, "no completion for " + *shell + ": bash, zsh or fish");
    else
      console.out << script;
  });

  auto words = std::make_shared<std::vector<std::string>>();
  CLI::App* complete = app.add_subcommand("complete", "")->group("");
  complete->add_option("words", *words);
  complete->callback([words, &app, &console] {
    const LiveValues live = [&console](const std::string& kind) { return ask_for(kind, console); };
    for (const std::string& each : candidates(app, *words, live)) console.out << each << "\n";
  });
}

}  // namespace waypost::mta
