// mta/cmd_queue_change.cpp: `waypost queue hold|release|retry|delete|bounce|reroute|redirect`.
#include <algorithm>

#include <sysexits.h>

#include "mta/cmd_queue.h"
#include "mta/long_work.h"
#include "mta/output.h"
#include "queue/id.h"

namespace waypost::mta {
namespace {

std::string done_word(const std::string& verb) {
  if (verb == "hold") return "held";
  if (verb == "release") return "released";
  if (verb == "delete") return "deleted";
  if (verb == "bounce") return "bounced";
  if (verb == "reroute") return "rerouted";
  if (verb == "redirect") return "redirected";
  return "to be tried now:";
}

std::string messages_and_recipients(const Json& answer) {
  return counted(number_of(answer, "messages"), "message", "messages") + ", " +
         counted(number_of(answer, "recipients"), "recipient", "recipients");
}

void write_preview(const std::string& verb, const Json& answer, Console& console) {
  const std::optional<net::WallTime> oldest = time_of_json(text_of(answer, "oldest"));
  console.out << shown(answer, "words") << "\n";
  console.out << "would " << verb << " " << messages_and_recipients(answer) << " ("
              << octets_text(number_of(answer, "octets")) << ")";
  if (oldest)
    console.out << ", oldest " << age_text(std::chrono::duration_cast<std::chrono::seconds>(console.now() - *oldest));
  console.out << ".";
  if (!answer["sample"].empty()) console.out << " Sample:";
  for (const Json& id : answer["sample"]) console.out << " " << id.get<std::string>();
  console.out << "\n";
}

bool can_be_undone(const QueueChangeOptions& options) {
  return options.verb == "hold" || options.verb == "release" || (options.verb == "delete" && !options.for_good);
}

std::string after_words(const QueueChangeOptions& options) {
  if (options.verb == "bounce" || options.verb == "redirect") return " (not to be undone)";
  if (options.verb != "delete") return "";
  return options.for_good ? " (for good; no bounces are sent)"
                          : " (kept for a day, for `waypost undo`; no bounces are sent)";
}

}  // namespace

int queue_change(const QueueChangeOptions& options, Console& console) {
  const auto usage = [&console](const std::string& why) {
    console.give_up(EX_USAGE, why);
    return console.exit_code;
  };
  if (options.all && !options.messages.empty()) return usage("either --all or ids or a filter");
  if (!options.all && options.messages.empty()) return usage("which messages? Name ids, a filter, or --all");
  const bool by_id =
      !options.all && std::all_of(options.messages.begin(), options.messages.end(),
                                  [](const std::string& id) { return queue::Id::parse(id).has_value(); });
  const bool asks = options.dry_run || (!by_id && !options.yes);
  Json order;
  order["change"] = options.verb;
  if (by_id) {
    order["ids"] = options.messages;
  } else if (options.all) {
    order["all"] = true;
  } else {
    order["filter"] = filter_text(options.messages);
  }
  order["reason"] = options.reason;
  if (options.for_good) order["for_good"] = true;
  if (!options.to.empty()) order["to"] = options.to;
  order["dry_run"] = asks;
  ControlRequest request;
  request.method = "POST";
  request.path = "/v1/queue/change";
  request.body = to_line(order);
  const std::optional<Json> answer = asks ? console.fetch(request) : fetch_long(request, console);
  if (!answer) return console.exit_code;

  std::uint64_t missing = 0;
  if (answer->contains("missing")) {
    for (const Json& id : (*answer)["missing"]) {
      console.err << "waypost: " << id.get<std::string>() << " is not in the queue\n";
      ++missing;
    }
  }
  const bool stopped = note_stopped(*answer, console);
  const std::uint64_t messages = number_of(*answer, "messages");
  const std::uint64_t left = number_of(*answer, "busy") + number_of(*answer, "failed");
  if (const std::uint64_t busy = number_of(*answer, "busy"); busy > 0)
    console.err << "waypost: " << counted(busy, "message is", "messages are")
                << " being attempted just now: look at what comes of it\n";
  if (const std::uint64_t failed = number_of(*answer, "failed"); failed > 0)
    console.err << "waypost: " << counted(failed, "message", "messages") << " could not be ended: see the log\n";
  if (messages == 0 && (left > 0 || stopped)) return 2;
  if (messages == 0) {
    if (missing < options.messages.size() || options.all) console.err << "waypost: nothing to " << options.verb << "\n";
    return 1;
  }
  if (asks) {
    write_preview(options.verb, *answer, console);
    if (options.dry_run) return 0;
    console.out << "repeat with --yes to do it" << after_words(options) << "\n";
    return EX_USAGE;
  }
  console.out << done_word(options.verb) << " " << messages_and_recipients(*answer);
  if (options.verb == "reroute") {
    console.out << ". Back again: waypost queue reroute ... --to usual";
  } else if (can_be_undone(options)) {
    console.out << ". Undo within a day: waypost undo " << number_of(*answer, "change");
  }
  console.out << "\n";
  return left > 0 || stopped || (by_id && messages < options.messages.size()) ? 2 : 0;
}

}  // namespace waypost::mta
