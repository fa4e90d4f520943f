#include "mta/cmd_status.h"

#include <cstdio>
#include <memory>
#include <utility>

#include <sysexits.h>

#include "base/escape.h"
#include "base/metrics.h"
#include "mta/output.h"

namespace waypost::mta {
namespace {

std::string since(const Json& json, const char* key, net::WallTime now) {
  const std::optional<net::WallTime> time = time_of_json(text_of(json, key));
  if (!time) return "-";
  return age_text(std::chrono::duration_cast<std::chrono::seconds>(now - *time));
}

std::string batch(const Json& store) {
  const std::uint64_t commits = number_of(store, "commits");
  if (commits == 0) return "-";
  char text[40];
  std::snprintf(text, sizeof text, "%.1f",
                static_cast<double>(number_of(store, "operations")) / static_cast<double>(commits));
  return text;
}

double fraction_of(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number() ? found->get<double>() : 0;
}

/// "118 msg/s", "0.3 msg/s".
std::string rate(const Json& json, const char* unit) {
  const double value = fraction_of(json, "rate");
  char text[40];
  std::snprintf(text, sizeof text, value < 9.95 ? "%.1f" : "%.0f", value);
  return std::string(text) + " " + unit;
}

/// "under 2 ms", the bound that the daemon counted by.
std::string commit_time(const Json& store, const char* key) {
  const bool is_above = store.contains(key) && store[key].is_string();
  const double seconds = is_above ? metrics::events().commit.bounds().back() : fraction_of(store, key);
  if (seconds <= 0) return "-";
  char text[40];
  std::snprintf(text, sizeof text, "%s %g %s", is_above ? "over" : "under", seconds < 1 ? seconds * 1000 : seconds,
                seconds < 1 ? "ms" : "s");
  return text;
}

std::string held_text(const Json& held, net::WallTime now) {
  constexpr std::size_t kNamed = 3;
  std::string out;
  for (std::size_t i = 0; i < held.size() && i < kNamed; ++i) {
    const Json& each = held[i];
    const bool is_site = text_of(each, "kind") == "site";
    out += (i == 0 ? "" : ", ") + (is_site ? "the site " + shown(each, "hosts") : shown(each, "name"));
    const std::optional<net::WallTime> until = time_of_json(text_of(each, "until"));
    if (until) out += " for " + age_text(std::chrono::duration_cast<std::chrono::seconds>(*until - now));
    if (const std::string why = shown(each, "held_because"); !why.empty()) out += ": " + why;
  }
  if (held.size() > kNamed) out += ", and " + grouped(held.size() - kNamed) + " more";
  return out;
}

}  // namespace

int status(bool json, Console& console) {
  ControlRequest request;
  request.path = "/v1/status";
  const std::optional<Json> answer = console.fetch(request);
  if (!answer) return console.exit_code;
  if (json) {
    console.print(*answer);
    return 0;
  }
  const net::WallTime now = console.now();
  const Json none = Json::object();
  const auto part = [&](const char* key) -> const Json& { return answer->contains(key) ? (*answer)[key] : none; };
  const Json& config = part("config");
  const Json& out = part("out");
  const Json& queue = part("queue");
  const Json& store = part("store");
  const bool failed = config.contains("reload_failed") && config["reload_failed"] == true;
  std::ostream& to = console.out;
  to << shown(*answer, "hostname") << "  up " << since(*answer, "started", now) << "   version "
     << shown(*answer, "version") << "   config " << shown_time(config, "loaded") << (failed ? "" : " (ok)") << "\n";
  Table table;
  const Json& in = part("in");
  table.add({"in", rate(in, "msg/s") + "   accepted " + grouped(number_of(in, "accepted")) + "   rejected " +
                       grouped(number_of(in, "rejected")) + "   auth failures " +
                       grouped(number_of(in, "auth_failures_hour")) + "/h   " +
                       counted(number_of(in, "connections"), "connection", "connections")});
  table.add({"out", rate(out, "rcpt/s") + "   " + counted(number_of(out, "connections"), "connection", "connections") +
                        "   " + counted(number_of(out, "sites"), "site", "sites") + "   relayed " +
                        grouped(number_of(out, "relayed")) + "   delivered " + grouped(number_of(out, "delivered")) +
                        "   deferred " + grouped(number_of(out, "deferred")) + "   bounced " +
                        grouped(number_of(out, "bounced")) + "   expired " + grouped(number_of(out, "expired"))});
  const std::string oldest = shown(queue, "oldest_for");
  table.add({"queue", counted(number_of(queue, "messages"), "message", "messages") + " (" +
                          octets_text(number_of(queue, "octets")) + ")   active " +
                          grouped(number_of(queue, "active")) + "   deferred " + grouped(number_of(queue, "deferred")) +
                          "   held " + grouped(number_of(queue, "held")) + "   oldest " + since(queue, "oldest", now) +
                          (oldest.empty() ? "" : " (" + oldest + ")")});
  std::string disk = "commits " + grouped(number_of(store, "commits")) + "   p50 " +
                     commit_time(store, "commit_p50_seconds") + "   p99 " + commit_time(store, "commit_p99_seconds") +
                     "   batch " + batch(store) + "   WAL " + counted(number_of(store, "wal_pages"), "page", "pages");
  if (answer->contains("disk"))
    disk += "   disk free " + octets_text(number_of(part("disk"), "free")) + " (reserve " +
            octets_text(number_of(part("disk"), "reserve")) + ")";
  table.add({"store", disk});
  to << table.text();
  const Json& confined = part("confined");
  to << "confined: " << shown(confined, "text");
  for (const Json& missing : list_of(confined, "missing")) to << "   not: " << escape(missing.get<std::string>(), 200);
  to << "\n";
  if (const Json held = list_of(*answer, "held"); !held.empty())
    to << "! held: " << held_text(held, now) << " (waypost dest list)\n";
  for (const Json& alert : list_of(*answer, "alerts")) to << "! " << escape(alert.get<std::string>(), 2000) << "\n";
  return 0;
}

std::optional<Json> ask_for_reload(Console& console) {
  ControlRequest request;
  request.method = "POST";
  request.path = "/v1/reload";
  Result<ControlAnswer> raw = console.ask(request);
  // Errors in the file are an answer with findings, not trouble of asking.
  const bool rejected = raw && raw->status == 422;
  Json report;
  if (rejected) {
    report = parse_json(raw->body);
  } else {
    const std::optional<Json> answer = console.read(std::move(raw));
    if (!answer) return std::nullopt;
    report = *answer;
  }
  if (report.contains("findings")) {
    for (const Json& finding : report["findings"])
      console.err << text_of(finding, "severity") << ": " << shown(finding, "text") << "\n";
  }
  if (rejected) {
    console.err << "waypost: " << shown(report, "file") << " has errors: the configuration before it stays in force\n";
    console.exit_code = EX_CONFIG;
    return std::nullopt;
  }
  if (report.contains("restart") && !report["restart"].empty()) {
    console.err << "changed, but in force only after a restart:";
    for (const Json& key : report["restart"]) console.err << " " << escape(key.get<std::string>());
    console.err << "\n";
  }
  return report;
}

int reload(Console& console) {
  const std::optional<Json> report = ask_for_reload(console);
  if (!report) return console.exit_code;
  console.out << "reloaded " << shown(*report, "file") << "\n";
  return 0;
}

void add_status(CLI::App& app, Console& console) {
  auto json = std::make_shared<bool>(false);
  CLI::App* verb = app.add_subcommand("status", "One screen: how the daemon does, and what waits");
  verb->add_flag("--json", *json, "One JSON object, keys stable");
  verb->footer("Example: waypost status");
  verb->callback([json, &console] { console.exit_code = status(*json, console); });
}

void add_reload(CLI::App& app, Console& console) {
  CLI::App* verb = app.add_subcommand("reload", "Have the daemon read its configuration again");
  verb->footer("Example: waypost config check && waypost reload");
  verb->callback([&console] { console.exit_code = reload(console); });
}

}  // namespace waypost::mta
