#include "mta/cmd_probe.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <thread>

#include <sysexits.h>

#include "base/escape.h"
#include "conf/units.h"
#include "mta/follow.h"
#include "mta/output.h"

namespace waypost::mta {
namespace {

void add_certificate(const Json& certificate, Table& table) {
  if (!certificate.is_object()) return;
  table.add({"  certificate", "for " + joined(list_of(certificate, "names")) + "; until " +
                                  shown_time(certificate, "not_after") + "; issued by " +
                                  shown(certificate, "issuer")});
  table.add({"  public key", "SHA256:" + shown(certificate, "spki_sha256")});
}

void add_host(const Json& host, bool dialogue, Table& table) {
  const bool ready = host.contains("ready") && host["ready"] == true;
  const std::string took = grouped(number_of(host, "milliseconds")) + " ms";
  table.add({std::to_string(number_of(host, "preference")) + " " + shown(host, "host"),
             ready ? "ready for mail in " + took
                   : shown(host, "status") + " " + shown(host, "reason") + " (after " + took + ")"});
  if (const std::string tls = shown(host, "tls"); !tls.empty()) table.add({"  TLS", tls});
  if (host.contains("certificate")) add_certificate(host["certificate"], table);
  if (ready) table.add({"  offers", joined(list_of(host, "offers"))});
  if (const std::string login = shown(host, "login"); !login.empty()) table.add({"  login", "let in as " + login});
  if (!dialogue) return;
  for (const Json& line : list_of(host, "dialogue"))
    table.add({"", shown_time(line, "time") + " " + shown(line, "voice") + " " + shown(line, "text")});
}

void write_line(const Json& line, Console& console) {
  const std::string when = shown_time(line, "time");
  console.out << when.substr(when.size() < 8 ? 0 : when.size() - 8) << " #" << number_of(line, "connection") << " "
              << shown(line, "direction") << " " << shown(line, "peer") << " " << shown(line, "voice") << " "
              << shown(line, "text") << "\n";
}

}  // namespace

void write_probe(const Json& answer, bool dialogue, Console& console) {
  if (const std::string trouble = shown(answer, "trouble"); !trouble.empty()) {
    console.out << shown(answer, "destination") << ": " << trouble << "\n";
    return;
  }
  if (answer.contains("maildir")) console.out << "into Maildirs here: " << shown(answer, "maildir") << "\n";
  if (answer.contains("discard")) console.out << "discarded: no host is asked\n";
  Table table;
  for (const Json& host : list_of(answer, "hosts")) add_host(host, dialogue, table);
  if (number_of(answer, "left_out") > 0)
    table.add({"", "and " + counted(number_of(answer, "left_out"), "address", "addresses") + " more, not asked"});
  console.out << table.text();
}

bool is_ready(const Json& answer) {
  if (answer.contains("maildir") || answer.contains("discard")) return true;
  const Json& hosts = list_of(answer, "hosts");
  return std::any_of(hosts.begin(), hosts.end(),
                     [](const Json& host) { return host.contains("ready") && host["ready"] == true; });
}

int probe(const ProbeOptions& options, Console& console) {
  ControlRequest request;
  request.path = "/v1/probe";
  request.query["destination"] = options.destination;
  if (!options.next_hop.empty()) request.query["next_hop"] = options.next_hop;
  const std::optional<Json> answer = console.fetch(request);
  if (!answer) return console.exit_code;
  if (options.json)
    console.print(*answer);
  else
    write_probe(*answer, options.dialogue, console);
  return is_ready(*answer) ? 0 : 1;
}

int watch(const WatchOptions& options, Console& console, const std::function<void()>& sleep) {
  std::optional<net::WallTime> until;
  if (!options.time.empty()) {
    const Result<std::chrono::milliseconds> time = conf::parse_duration(options.time);
    if (!time) {
      console.give_up(EX_USAGE, "--for: " + time.error().what);
      return console.exit_code;
    }
    until = console.now() + *time;
  }
  ControlRequest request;
  request.path = "/v1/watch";
  if (!options.peer.empty()) request.query["peer"] = options.peer;
  if (options.in != options.out) request.query["direction"] = options.in ? "in" : "out";
  const auto write = [&](const Json& line) {
    if (options.json)
      console.print(line);
    else
      write_line(line, console);
  };
  return follow({request, 0, until}, write, sleep, console);
}

void add_probe(CLI::App& app, Console& console) {
  auto options = std::make_shared<ProbeOptions>();
  CLI::App* verb = app.add_subcommand("probe", "Whether the hosts of a domain take mail from here, without any");
  verb->add_option("domain", options->destination, "A recipients' domain, a host, or [ADDRESS]")
      ->type_name("DOMAIN")
      ->required();
  verb->add_option("--to", options->next_hop, "By this next hop: smtp:[192.0.2.7]:587")->type_name("NEXTHOP");
  verb->add_flag("--dialogue", options->dialogue, "All that was said");
  verb->add_flag("--json", options->json, "One JSON object, keys stable");
  verb->footer("Example: waypost probe b.example");
  verb->callback([options, &console] { console.exit_code = probe(*options, console); });
}

void add_watch(CLI::App& app, Console& console) {
  auto options = std::make_shared<WatchOptions>();
  CLI::App* verb = app.add_subcommand("watch", "What clients and hosts say, as they say it; no secrets, no bodies");
  verb->add_option("--peer", options->peer, "Of these addresses: 192.0.2.0/24")->type_name("CIDR");
  verb->add_flag("--in", options->in, "Clients");
  verb->add_flag("--out", options->out, "Hosts that mail goes to");
  verb->add_option("--for", options->time, "For how long: 90s, 5m; without it until it is interrupted")
      ->type_name("TIME");
  verb->add_flag("--json", options->json, "A JSON object a line, keys stable");
  verb->footer("Example: waypost watch --peer 192.0.2.0/24 --in --for 5m");
  verb->callback([options, &console] {
    console.exit_code = watch(*options, console, [] { std::this_thread::sleep_for(kBetweenPages); });
  });
}

}  // namespace waypost::mta
