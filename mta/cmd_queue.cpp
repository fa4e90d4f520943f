#include "mta/cmd_queue.h"

#include <algorithm>
#include <memory>

#include "base/escape.h"
#include "base/text.h"
#include "mta/message_order.h"
#include "mta/output.h"
#include "queue/grouping.h"
#include "queue/id.h"

namespace waypost::mta {
namespace {

constexpr std::uint64_t kPage = 200;

bool is_waiting(const Json& recipient) {
  const std::string state = text_of(recipient, "state");
  return state == "active" || state == "deferred" || state == "held";
}

/// "deferred", or "held, deferred" where its recipients differ.
std::string state_of(const std::vector<const Json*>& waiting) {
  std::string out;
  for (const char* state : {"held", "active", "deferred"}) {
    const bool any = std::any_of(waiting.begin(), waiting.end(),
                                 [state](const Json* recipient) { return text_of(*recipient, "state") == state; });
    if (any) out += (out.empty() ? "" : ",") + std::string(state);
  }
  return out;
}

std::string sender(const Json& message) {
  return "<" + shown(message, "from") + ">";
}

std::string why_of(const Json& recipient) {
  std::string out = shown(recipient, "status");
  const auto add = [&out](const std::string& text) {
    if (!text.empty()) out += (out.empty() ? "" : " ") + text;
  };
  add(shown(recipient, "host"));
  add(shown(recipient, "reply"));
  return out;
}

/// Up to the empty line that ends it, which does not belong to it. All of it where there is no such line.
std::string_view header_section(std::string_view message) {
  const std::size_t end = message.find("\r\n\r\n");
  return end == std::string_view::npos ? message : message.substr(0, end + 2);
}

ControlRequest content_request(const std::string& id, std::uint64_t offset) {
  ControlRequest request;
  request.path = "/v1/queue/" + id + "/content";
  request.query["offset"] = std::to_string(offset);
  return request;
}

/// The header section, at most 1 MiB of it; nullopt: said why.
std::optional<std::string> fetch_header(const std::string& id, Console& console) {
  std::optional<std::string> octets = console.fetch_octets(content_request(id, 0));
  if (!octets) return std::nullopt;
  return std::string(header_section(*octets));
}

/// Everything, a piece at a time.
int write_raw(const std::string& id, Console& console) {
  std::uint64_t offset = 0;
  while (true) {
    const std::optional<std::string> octets = console.fetch_octets(content_request(id, offset));
    if (!octets) return console.exit_code;
    if (octets->empty()) return 0;
    console.out << *octets;
    offset += octets->size();
  }
}

/// What follows the header section, whole lines at a time.
int write_body(const std::string& id, Console& console) {
  std::uint64_t offset = 0;
  bool in_body = false;
  std::string pending;
  while (true) {
    const std::optional<std::string> octets = console.fetch_octets(content_request(id, offset));
    if (!octets) return console.exit_code;
    offset += octets->size();
    pending += *octets;
    if (!in_body) {
      const std::size_t end = pending.find("\r\n\r\n");
      if (end == std::string::npos && !octets->empty()) continue;
      if (end == std::string::npos) return 0;
      pending.erase(0, end + 4);
      in_body = true;
    }
    const std::size_t whole = octets->empty() ? pending.size() : pending.rfind('\n') + 1;
    console.out << shown_lines(std::string_view(pending).substr(0, whole));
    pending.erase(0, whole);
    if (octets->empty()) return 0;
  }
}

// What validators of CLI11 say: the mistake, or nothing.

std::string no_order(const std::string& name) {
  return parse_message_order(name) ? "" : name + " is none of " + std::string(kMessageOrders);
}

std::string no_group(const std::string& name) {
  return queue::parse_group_by(name) ? "" : name + " is none of " + std::string(queue::kGroupByList);
}

}  // namespace

std::vector<std::string> list_heading() {
  return {"ID", "ARRIVED", "SIZE", "STATE", "NEXT", "FROM", "TO", "WHY"};
}

std::vector<std::string> list_row(const Json& message) {
  std::vector<const Json*> waiting;
  for (const Json& recipient : message["recipients"]) {
    if (is_waiting(recipient)) waiting.push_back(&recipient);
  }
  std::string to, next, why;
  if (!waiting.empty()) {
    to = shown(*waiting.front(), "address");
    if (waiting.size() > 1) to += " +" + std::to_string(waiting.size() - 1);
    next = shown_time(*waiting.front(), "next_attempt");
    why = why_of(*waiting.front());
  }
  const std::string state = state_of(waiting);
  if (state == "active") next = "now";
  return {text_of(message, "id"),
          shown_time(message, "arrival"),
          octets_text(number_of(message, "size")),
          state,
          next,
          sender(message),
          to,
          why};
}

void write_envelope(const Json& message, net::WallTime now, std::ostream& out) {
  const std::optional<net::WallTime> arrival = time_of_json(text_of(message, "arrival"));
  Table facts;
  facts.add({"id", text_of(message, "id")});
  facts.add({"from", sender(message)});
  facts.add({"size", grouped(number_of(message, "size")) + " octets"});
  const auto age = arrival ? std::chrono::duration_cast<std::chrono::seconds>(now - *arrival) : std::chrono::seconds(0);
  facts.add({"arrived", shown_time(message, "arrival") + " (" + age_text(age) + " ago)"});
  facts.add({"expires", shown_time(message, "expires")});
  std::string came;
  const auto add = [&came](const std::string& what) {
    if (!what.empty()) came += (came.empty() ? "" : ", ") + what;
  };
  const auto labelled = [&message](const char* label, const char* key) {
    const std::string text = shown(message, key);
    return text.empty() ? text : label + text;
  };
  add(labelled("from ", "client"));
  add(labelled("helo ", "helo"));
  add(labelled("by ", "protocol"));
  add(labelled("as ", "listener"));
  add(labelled("user ", "user"));
  facts.add({"came", came});
  if (const std::string id = shown(message, "message_id"); !id.empty()) facts.add({"message-id", id});
  if (const std::string envid = shown(message, "envid"); !envid.empty()) facts.add({"envid", envid});
  const std::string body = text_of(message, "body");
  if (body != "7bit") facts.add({"body", body});
  out << facts.text();

  out << "recipients\n";
  for (const Json& recipient : message["recipients"]) {
    std::string line = "  <" + shown(recipient, "address") + "> " + shown(recipient, "state");
    const std::uint64_t tries = number_of(recipient, "tries");
    if (tries > 0) line += ", " + counted(tries, "try", "tries");
    const std::string next = shown_time(recipient, "next_attempt");
    if (text_of(recipient, "state") == "deferred") line += ", next " + next;
    out << line << "\n";
    if (const std::string why = why_of(recipient); !why.empty()) out << "      " << why << "\n";
    if (const std::string held = shown_time(recipient, "held_since"); !held.empty()) {
      const std::string reason = shown(recipient, "held_because");
      out << "      held since " << held << (reason.empty() ? "" : ": ") << reason << "\n";
    }
  }
}

std::string filter_text(const std::vector<std::string>& arguments) {
  std::string out;
  for (std::string argument : arguments) {
    if (argument.starts_with("!")) argument[0] = '-';
    const std::size_t colon = argument.find_first_of(":~");
    const std::size_t space = argument.find(' ');
    const bool quoted = argument.find('"') != std::string::npos;
    if (colon != std::string::npos && colon < space && space != std::string::npos && !quoted) {
      // `error:timed out`, or a whole filter in one argument? In a filter every word has its colon.
      const std::vector<std::string_view> words = split(argument, ' ');
      const bool all_terms = std::all_of(words.begin(), words.end(), [](std::string_view word) {
        return word.empty() || word.find_first_of(":~") != std::string_view::npos || queue::Id::parse(word).has_value();
      });
      if (!all_terms) {
        argument.insert(colon + 1, "\"");
        argument += '"';
      }
    }
    out += (out.empty() ? "" : " ") + argument;
  }
  return out;
}

std::vector<std::string> protect_negated_terms(const std::vector<std::string>& arguments) {
  std::vector<std::string> out = arguments;
  for (std::string& argument : out) {
    const std::size_t colon = argument.find_first_of(":~");
    if (argument.size() < 3 || argument[0] != '-' || colon == std::string::npos || colon < 2) continue;
    const bool word = std::all_of(argument.begin() + 1, argument.begin() + static_cast<std::ptrdiff_t>(colon),
                                  [](char c) { return is_alpha(c); });
    if (word) argument[0] = '!';
  }
  return out;
}

int queue_list(const QueueListOptions& options, Console& console) {
  ControlRequest request;
  request.path = "/v1/queue";
  request.query["filter"] = filter_text(options.filter);
  if (!options.after.empty()) request.query["after"] = options.after;
  if (!options.sort.empty()) request.query["sort"] = options.sort;
  std::uint64_t left = options.limit == 0 ? UINT64_MAX : options.limit;
  bool any = false;
  while (left > 0) {
    request.query["limit"] = std::to_string(std::min(left, kPage));
    const std::optional<Json> page = console.fetch(request);
    if (!page) return console.exit_code;
    Table table;
    if (!any) table.add(list_heading());
    for (const Json& message : list_of(*page, "messages")) {
      if (options.json)
        console.print(message);
      else
        table.add(list_row(message));
      any = true;
      --left;
    }
    if (!options.json && any) console.out << table.text();
    const std::string resume = text_of(*page, "resume");
    if (resume.empty()) break;
    request.query["after"] = resume;
  }
  if (any) return 0;
  if (!options.json)
    console.err << "waypost: " << (options.filter.empty() ? "the queue is empty\n" : "nothing matches\n");
  return options.filter.empty() ? 0 : 1;
}

int queue_count(const QueueCountOptions& options, Console& console) {
  ControlRequest request;
  request.path = "/v1/queue/count";
  request.query["filter"] = filter_text(options.filter);
  const std::optional<Json> counts = console.fetch(request);
  if (!counts) return console.exit_code;
  if (options.json) {
    console.print(*counts);
    return 0;
  }
  Table table;
  table.add({"messages", grouped(number_of(*counts, "messages"))});
  table.add({"recipients", grouped(number_of(*counts, "recipients"))});
  table.add({"active", grouped(number_of(*counts, "active"))});
  table.add({"deferred", grouped(number_of(*counts, "deferred"))});
  table.add({"held", grouped(number_of(*counts, "held"))});
  table.add({"size", octets_text(number_of(*counts, "octets"))});
  const std::string oldest = shown_time(*counts, "oldest");
  table.add({"oldest", oldest.empty() ? "-" : oldest});
  console.out << table.text();
  return 0;
}

int queue_show(const QueueShowOptions& options, Console& console) {
  const std::optional<queue::Id> id = queue::Id::parse(options.id);
  if (!id) {
    console.give_up(64, "not a queue id: " + options.id);
    return console.exit_code;
  }
  if (options.raw) return write_raw(id->text(), console);
  if (options.body) return write_body(id->text(), console);
  if (!options.headers) {
    ControlRequest request;
    request.path = "/v1/queue/" + id->text();
    const std::optional<Json> message = console.fetch(request);
    if (!message) return console.exit_code;
    if (options.json) {
      console.print(*message);
      return 0;
    }
    write_envelope(*message, console.now(), console.out);
    if (options.envelope) return 0;
    console.out << "header\n";
  }
  const std::optional<std::string> header = fetch_header(id->text(), console);
  if (!header) return console.exit_code;
  console.out << shown_lines(*header);
  return 0;
}

void add_queue(CLI::App& app, Console& console) {
  CLI::App* queue = app.add_subcommand("queue", "What waits in the queue, and changes to it");
  queue->require_subcommand(1);
  queue->footer("Example: waypost queue list state:deferred 'to:*@b.example' 'age:>2h'");
  const char* filter_help = "Terms such as 'to:*@b.example' 'age:>2h'; all must hold";

  auto list_options = std::make_shared<QueueListOptions>();
  CLI::App* list = queue->add_subcommand("list", "One line per message, oldest first");
  list->add_option("filter", list_options->filter, filter_help)->type_name("FILTER");
  list->add_option("--sort", list_options->sort, "By " + std::string(kMessageOrders) + "; the first 200, unless by age")
      ->check(CLI::Validator(no_order, ""))
      ->type_name("BY");
  list->add_option("--limit", list_options->limit, "So many messages at most")->type_name("N");
  list->add_option("--after", list_options->after, "Only messages behind this one")->type_name("ID");
  list->add_flag("--json", list_options->json, "JSON Lines, keys stable");
  list->footer("Example: waypost queue list 'from:*@shop.example' 'tries:>=3'");
  list->callback([list_options, &console] { console.exit_code = queue_list(*list_options, console); });

  auto count_options = std::make_shared<QueueCountOptions>();
  CLI::App* count = queue->add_subcommand("count", "How many messages and recipients, how large, how old");
  count->add_option("filter", count_options->filter, filter_help)->type_name("FILTER");
  count->add_option("--by", count_options->by, "A line for each " + std::string(queue::kGroupByList))
      ->check(CLI::Validator(no_group, ""))
      ->type_name("WHAT");
  count->add_option("--limit", count_options->limit, "With --by: so many lines at most (20)")->type_name("N");
  count->add_flag("--json", count_options->json, "A JSON object, with --by one a line; keys stable");
  count->footer("Example: waypost queue count --by error state:deferred");
  count->callback([count_options, &console] {
    console.exit_code = (count_options->by.empty() ? queue_count : queue_groups)(*count_options, console);
  });

  auto shape_options = std::make_shared<QueueCountOptions>();
  shape_options->by = "domain";
  CLI::App* shape = queue->add_subcommand("shape", "How old recipients are, a line for each domain");
  shape->add_option("filter", shape_options->filter, filter_help)->type_name("FILTER");
  shape->add_option("--by", shape_options->by, "A line for each " + std::string(queue::kGroupByList) + " (domain)")
      ->check(CLI::Validator(no_group, ""))
      ->type_name("WHAT");
  shape->add_option("--limit", shape_options->limit, "So many lines at most (20)")->type_name("N");
  shape->add_flag("--json", shape_options->json, "A JSON object a line, keys stable");
  shape->footer("Example: waypost queue shape --by sender");
  shape->callback([shape_options, &console] { console.exit_code = queue_shape(*shape_options, console); });

  auto show_options = std::make_shared<QueueShowOptions>();
  CLI::App* show = queue->add_subcommand("show", "One message: envelope, recipients, why it waits, header section");
  show->add_option("id", show_options->id, "The message")->type_name("ID")->required();
  CLI::Option_group* part = show->add_option_group("One part alone");
  part->add_flag("--headers", show_options->headers, "The header section");
  part->add_flag("--body", show_options->body, "What follows the header section");
  part->add_flag("--envelope", show_options->envelope, "Envelope and recipients");
  part->add_flag("--raw", show_options->raw, "Every octet as it is stored, not made fit for a terminal");
  part->add_flag("--json", show_options->json, "Envelope and recipients as a JSON object, keys stable");
  part->require_option(0, 1);
  show->footer("Example: waypost queue show 01JD8Q2M3XK7 --headers");
  show->callback([show_options, &console] { console.exit_code = queue_show(*show_options, console); });

  auto export_options = std::make_shared<QueueExportOptions>();
  CLI::App* copies = queue->add_subcommand("export", "Copies of messages in files; the queue stays as it is");
  copies->add_option("filter", export_options->filter, filter_help)->type_name("ID|FILTER");
  copies->add_flag("--all", export_options->all, "Every message");
  copies->add_option("--to", export_options->to, "A folder, or a new file NAME.mbox")->required()->type_name("PATH");
  copies->footer("Example: waypost queue export 'from:*@bot.example' --to spam.mbox");
  copies->callback([export_options, &console] { console.exit_code = queue_export(*export_options, console); });

  auto import_options = std::make_shared<QueueImportOptions>();
  CLI::App* again = queue->add_subcommand("import", "Put what an export wrote into the queue again");
  again->add_option("--from", import_options->from, "The folder of the export")->required()->type_name("FOLDER");
  again->add_flag("--release", import_options->release, "Recipients that were held, too: they are tried then");
  again->add_flag("--dry-run", import_options->dry_run, "Say what would be done, and do nothing");
  again->footer("Example: waypost queue import --from /srv/old-queue");
  again->callback([import_options, &console] { console.exit_code = queue_import(*import_options, console); });

  struct Verb {
    const char* name;
    const char* help;
    const char* example;
  };
  for (const Verb& verb :
       {Verb{"hold", "Keep messages from being tried", "from:*@bot.example' --reason \"looks like spam\" --yes"},
        Verb{"release", "Let held messages go on", "from:*@shop.example' --yes"},
        Verb{"retry", "Try messages now, not at their next time", "to:*@b.example' --yes"},
        Verb{"delete", "Remove messages; nobody is told", "from:*@bot.example' --dry-run"},
        Verb{"bounce", "Return messages to their senders now",
             "to:*@gone.example' --reason \"no such customer\" --yes"},
        Verb{"reroute", "Send messages to another next hop", "to:*@b.example' --to 'smtp:[192.0.2.7]' --yes"},
        Verb{"redirect", "Send messages to another recipient", "to:ann@b.example' --to bob@b.example --yes"}}) {
    auto options = std::make_shared<QueueChangeOptions>();
    options->verb = verb.name;
    CLI::App* change = queue->add_subcommand(verb.name, verb.help);
    change->add_option("messages", options->messages, "Ids, which are acted on at once; or a filter")
        ->type_name("ID|FILTER");
    change->add_flag("--all", options->all, "Every message");
    change->add_option("--reason", options->reason, "For the log, the trace and the audit")->type_name("TEXT");
    change->add_flag("--dry-run", options->dry_run, "Say what would be done, and do nothing");
    change->add_flag("--yes", options->yes, "Do it: a change by a filter or --all asks for this");
    if (options->verb == "delete") change->add_flag("--for-good", options->for_good, "At once, and not to be undone");
    if (options->verb == "reroute")
      change->add_option("--to", options->to, "smtp:HOST, smtps:HOST, lmtp:HOST:PORT or lmtp:/PATH; or `usual`")
          ->type_name("NEXT_HOP")
          ->required();
    if (options->verb == "redirect")
      change->add_option("--to", options->to, "Who gets them")->type_name("ADDRESS")->required();
    change->footer(std::string("Example: waypost queue ") + verb.name + " '" + verb.example);
    change->callback([options, &console] { console.exit_code = queue_change(*options, console); });
  }
}

}  // namespace waypost::mta
