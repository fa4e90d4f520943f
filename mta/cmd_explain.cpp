#include "mta/cmd_explain.h"

#include <algorithm>
#include <memory>
#include <optional>

#include "base/escape.h"
#include "mta/cmd_probe.h"
#include "mta/output.h"

namespace waypost::mta {
namespace {

std::string client_text(const ExplainOptions& options, const Json& answer) {
  std::string out = options.client.empty() ? "127.0.0.1" : options.client;
  if (!options.login.empty()) out += " logged in as " + options.login;
  if (const std::string of = shown(answer, "class"); !of.empty()) out += ", of class " + of;
  return out + (answer["may_send"] == true ? ": may send to anyone" : ": to our own domains alone");
}

std::string path_text(const Json& answer, const char* path, const char* refused) {
  if (answer[refused].is_null()) return "<" + shown(answer, path) + ">";
  return "refused: " + shown(answer, refused);
}

void add_hosts(const Json& way, Table& table) {
  const char* title = "  hosts";
  for (const Json& host : list_of(way, "hosts")) {
    std::string line = std::to_string(number_of(host, "preference")) + " " + shown(host, "name") + " [" +
                       joined(list_of(host, "addresses")) + "]";
    if (const std::string tls = shown(host, "tls"); !tls.empty()) line += ", TLS " + tls;
    if (const std::string trouble = shown(host, "trouble"); !trouble.empty()) line += " (" + trouble + ")";
    table.add({title, line});
    title = "";
  }
}

void add_way(const Json& way, Table& table) {
  table.add({"to " + shown(way, "to"), "waits as " + shown(way, "destination")});
  table.add({"  way", "by " + shown(way, "decided_by") + ": " + joined(list_of(way, "next_hops"))});
  if (const std::string login = shown(way, "login"); !login.empty()) table.add({"  login", login});
  if (text_of(way, "kind") == "discard") table.add({"  end", "discarded"});
  if (const std::string trouble = shown(way, "trouble"); !trouble.empty())
    table.add({text_of(way, "kind") == "fail" ? "  end" : "  trouble", trouble});
  add_hosts(way, table);
  // A destination that is well by itself says nothing where its site is not.
  const Json& rows = list_of(way, "state");
  const auto is_well = [](const Json& row) { return text_of(row, "state") == "well"; };
  if (!rows.empty() && std::all_of(rows.begin(), rows.end(), is_well)) table.add({"  state", "well"});
  for (const Json& row : rows) {
    if (is_well(row)) continue;
    std::string line = (text_of(row, "kind") == "site" ? "its site is " : "") + shown(row, "state");
    if (const std::string until = shown_time(row, "until"); !until.empty()) line += " until " + until;
    if (const std::string reason = shown(row, "reason"); !reason.empty()) line += ": " + reason;
    if (const std::string reason = shown(row, "held_because"); !reason.empty()) line += ": " + reason;
    table.add({"  state", line});
  }
}

}  // namespace

int explain(const ExplainOptions& options, Console& console) {
  ControlRequest request;
  request.path = "/v1/explain";
  request.query["to"] = options.to;
  if (!options.from.empty()) request.query["from"] = options.from;
  if (!options.client.empty()) request.query["client"] = options.client;
  if (!options.login.empty()) request.query["login"] = options.login;
  if (!options.role.empty()) request.query["role"] = options.role;
  const std::optional<Json> answer = console.fetch(request);
  if (!answer) return console.exit_code;
  if (options.json) {
    console.print(*answer);
    return 0;
  }
  if (const Json config = answer->value("config", Json::object()); config.value("reload_failed", false))
    console.err << "waypost: note: by the configuration in force, epoch " << number_of(config, "epoch")
                << ": the last reload of " << shown(config, "file") << " failed (waypost config check)\n";
  Table table;
  table.add({"client", client_text(options, *answer)});
  table.add({"sender", path_text(*answer, "sender", "sender_refused")});
  table.add({"recipient", path_text(*answer, "recipient", "recipient_refused")});
  for (const Json& way : list_of(*answer, "ways")) add_way(way, table);
  const std::uint64_t goals = number_of(*answer, "goals");
  if (goals > list_of(*answer, "ways").size())
    table.add({"", "and " + grouped(goals - list_of(*answer, "ways").size()) + " more that the alias stands for"});
  console.out << table.text();
  if (!options.probe) return 0;
  bool ready = true;
  for (const Json& way : list_of(*answer, "ways")) {
    ControlRequest probe;
    probe.path = "/v1/probe";
    probe.query["destination"] = text_of(way, "destination");
    const std::optional<Json> probed = console.fetch(probe);
    if (!probed) return console.exit_code;
    write_probe(*probed, false, console);
    ready = ready && is_ready(*probed);
  }
  return ready ? 0 : 1;
}

void add_explain(CLI::App& app, Console& console) {
  auto options = std::make_shared<ExplainOptions>();
  CLI::App* verb = app.add_subcommand("explain", "What would become of a message, without sending one");
  verb->add_option("address", options->to, "Whom it is for")->required()->type_name("ADDRESS");
  verb->add_option("--from", options->from, "Its reverse-path; without it the null one")->type_name("ADDRESS");
  verb->add_option("--client", options->client, "The client's address (127.0.0.1)")->type_name("IP");
  verb->add_option("--login", options->login, "Whom the client has logged in as")->type_name("NAME");
  verb->add_option("--role", options->role, "Of the listener: mx, or submission (with --login)")->type_name("ROLE");
  CLI::Option* probe = verb->add_flag("--probe", options->probe, "Ask the hosts, too, as waypost probe does");
  verb->add_flag("--json", options->json, "One JSON object, keys stable")->excludes(probe);
  verb->footer("Example: waypost explain x@gmail.com --client 10.1.4.20 --from scan@office.example");
  verb->callback([options, &console] { console.exit_code = explain(*options, console); });
}

}  // namespace waypost::mta
