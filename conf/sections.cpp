#include "conf/sections.h"

#include "base/text.h"
#include "conf/table.h"
#include "conf/values.h"

namespace waypost::conf {
namespace {

using namespace std::chrono_literals;

constexpr seconds kDay = 24h;
constexpr std::uint64_t kMiB = 1ULL << 20;
constexpr std::uint64_t kGiB = 1ULL << 30;

Result<std::string> parse_lower_local_part(const std::string& text) {
  Result<std::string> local = parse_local_part(text);
  if (!local) return fail(local.error());
  return to_lower(*local);
}

Result<std::string> parse_user(const std::string& text) {
  for (char c : text) {
    if (is_alnum(c) || c == '-' || c == '_' || c == '.' || c == '$') continue;
    return fail(Errc::invalid, quoted(text) + " is not the name of a user");
  }
  return text;
}

Result<std::string> parse_socket(const std::string& text) {
  Result<std::string> path = parse_path(text);
  if (!path) return fail(path.error());
  // sun_path has 108 octets, the last of them zero (unix(7)).
  if (path->size() > 107) return fail(Errc::invalid, quoted(text) + " is longer than the 107 octets a socket may have");
  return path;
}

Result<std::string> parse_socket_or_none(const std::string& text) {
  return text.empty() ? Result<std::string>(text) : parse_socket(text);
}

/// Where Dovecot's authentication server listens.
Result<std::string> parse_dovecot(const std::string& text) {
  constexpr std::string_view kInet = "inet:";
  if (text.starts_with(kInet)) {
    Result<HostPort> address = parse_listen_address(text.substr(kInet.size()));
    if (!address) return fail(address.error());
    return std::string(kInet) + address->text();
  }
  if (text.starts_with('/')) return parse_socket(text);
  return fail(Errc::invalid,
              quoted(text) + " is neither the absolute path of a socket nor \"inet:ADDRESS:PORT\", both of Dovecot's");
}

Result<std::string> parse_log_target(const std::string& text) {
  if (text == "stderr" || text == "syslog" || text.starts_with('/')) return text;
  return fail(Errc::invalid, quoted(text) + " is neither \"stderr\" nor \"syslog\" nor the absolute path of a file");
}

Result<std::string> parse_syslog_name(const std::string& text) {
  bool fits = !text.empty() && text.size() <= 32;
  for (char c : text) fits = fits && (is_alnum(c) || c == '-' || c == '_' || c == '.');
  if (fits) return text;
  return fail(Errc::invalid,
              quoted(text) + " is no name for log lines: 1 to 32 letters, digits, \"-\", \"_\" or \".\"");
}

/// load() reads it.
Result<RuleFile> parse_rule_file(const std::string& text) {
  if (text == RuleFile::kShipped) return RuleFile{text, ""};
  Result<std::string> path = parse_path(text);
  if (path) return RuleFile{*path, ""};
  return fail(Errc::invalid,
              quoted(text) + " is neither the absolute path of a file nor " + quoted(RuleFile::kShipped));
}

Result<NextHop> parse_domain_delivery(const std::string& text) {
  Result<NextHop> hop = parse_next_hop(text);
  if (!hop) return fail(hop.error());
  bool ends_here = hop->kind == NextHop::Kind::reject || hop->kind == NextHop::Kind::discard;
  if (ends_here) {
    return fail(Errc::invalid,
                quoted(text) + " is for routes alone: a domain delivers by \"lmtp:\", \"maildir:\" or \"smtp:\"");
  }
  return hop;
}

Result<NextHop> parse_route_hop(const std::string& text) {
  Result<NextHop> hop = parse_next_hop(text);
  if (!hop) return fail(hop.error());
  if (hop->kind == NextHop::Kind::maildir) {
    return fail(Errc::invalid, quoted(text) +
                                   " is for a [[domain]]'s \"deliver\" alone: a route leads to \"smtp:\", "
                                   "\"lmtp:\", \"reject:\" or \"discard:\"");
  }
  return hop;
}

void read_listener(Section& section, Listener& listener) {
  section.require("address", "such as address = \"0.0.0.0:25\"");
  section.parsed("address", listener.address, parse_listen_address);
  section.choice("role", listener.role, {{"mx", Role::mx}, {"submission", Role::submission}});
  section.optional("tls", listener.tls, ListenerTls::none, [&section](ListenerTls& tls) {
    section.choice(
        "tls", tls,
        {{"none", ListenerTls::none}, {"starttls", ListenerTls::starttls}, {"implicit", ListenerTls::implicit}});
  });
  section.optional("auth", listener.auth, false, [&section](bool& auth) { section.boolean("auth", auth); });
  section.parsed_list("proxy", listener.proxy, parse_network);
  section.parsed_list("xclient", listener.xclient, parse_network);
  section.choice("bare_newline", listener.reject_bare_newline, {{"normalize", false}, {"reject", true}});
  section.boolean("smtputf8", listener.smtputf8);
  section.finish();
}

void read_tls(Section section, Config::Tls& tls) {
  section.parsed_or_empty("certificate", tls.certificate, parse_path);
  section.parsed_or_empty("key", tls.key, parse_path);
  section.parsed_or_empty("ca", tls.ca, parse_path);
  for (Section& each : section.sections("certificates")) {
    Config::Tls::Certificate certificate;
    each.require("certificate", "the path of a PEM file");
    each.parsed("certificate", certificate.certificate, parse_path);
    each.require("key", "the path of the certificate's key");
    each.parsed("key", certificate.key, parse_path);
    each.finish();
    tls.certificates.push_back(certificate);
  }
  section.finish();
}

void read_auth(Section section, Config::Auth& auth) {
  section.parsed_or_empty("users", auth.users, parse_file_or_database);
  section.parsed_or_empty("dovecot", auth.dovecot, parse_dovecot);
  section.boolean("require_tls", auth.require_tls);
  section.boolean("sender_must_match", auth.sender_must_match);
  section.finish();
}

void read_relay(Section section, Config::Relay& relay) {
  section.parsed_list("networks", relay.networks, parse_network);
  section.parsed_list("domains", relay.domains, parse_pattern);
  section.boolean("open", relay.open);
  section.finish();
}

Result<std::string> parse_class_name(const std::string& text) {
  bool fits = !text.empty() && text.size() <= 64;
  for (char c : text) fits = fits && (is_alnum(c) || c == '-' || c == '_' || c == '.');
  if (fits) return text;
  return fail(Errc::invalid, quoted(text) + " is no name: 1 to 64 letters, digits, \"-\", \"_\" or \".\"");
}

void read_client(Section& section, ClientClass& client) {
  section.require("name", "such as name = \"printers\"");
  section.parsed("name", client.name, parse_class_name);
  section.parsed_list("networks", client.networks, parse_network);
  section.parsed_list("listeners", client.listeners, parse_listen_address);
  section.parsed_list("logins", client.logins, parse_login_pattern);
  section.parsed_list("certificates", client.certificates, parse_certificate);
  section.parsed_or_empty("login", client.login, parse_login);
  section.optional("relay", client.relay, false, [&section](bool& relay) { section.boolean("relay", relay); });
  section.boolean("require_tls", client.require_tls);
  section.parsed_list("senders", client.senders, parse_sender_rule);
  section.parsed_or_empty("sender", client.sender, parse_mailbox);
  section.optional("message_size", client.message_size, std::uint64_t{0},
                   [&section](std::uint64_t& size) { section.size("message_size", size, 1024, 4 * kGiB); });
  section.optional("recipients", client.recipients, 0,
                   [&section](int& recipients) { section.number("recipients", recipients, 1, 100'000); });
  section.parsed("message_rate", client.message_rate, parse_rate);
  section.parsed("recipient_rate", client.recipient_rate, parse_rate);
  section.boolean("rate_together", client.rate_together);
  section.choice("priority", client.priority,
                 {{"high", Priority::high}, {"normal", Priority::normal}, {"bulk", Priority::bulk}});
  section.boolean("hide_client", client.hide_client);
  section.finish();
}

void read_checks(Section section, Config::Checks& checks) {
  using Helo = Config::Checks::Helo;
  section.duration("greeting_delay", checks.greeting_delay, 0ms, 1min);
  section.choice("helo", checks.helo,
                 {{"any", Helo::any}, {"qualified", Helo::qualified}, {"resolves", Helo::resolves}});
  section.boolean("reverse_dns", checks.reverse_dns);
  section.boolean("sender_domain", checks.sender_domain);
  section.number("refuse_at", checks.refuse_at, 1, 1000);
  section.duration("timeout", checks.timeout, 100ms, 1min);
  for (Section& each : section.sections("lists")) {
    Config::Checks::List list;
    each.require("zone", "such as zone = \"list.example\"");
    each.parsed("zone", list.zone, parse_domain);
    each.parsed_list("answers", list.answers, parse_network);
    each.number("score", list.score, -1000, 1000);
    each.finish();
    checks.lists.push_back(list);
  }
  section.finish();
}

Result<std::string> parse_sub_address(const std::string& text) {
  bool fits =
      text.size() == 1 && !is_alnum(text.front()) && std::string_view("@.,\"\\<>() ").find(text) == std::string::npos;
  if (fits) return text;
  return fail(Errc::invalid, quoted(text) + " is no single character that parts a user from a detail, such as \"+\"");
}

/// Of a route, or of a domain.
void read_hop_tls(Section& section, HopTls& tls) {
  section.optional("tls", tls.level, TlsLevel::opportunistic, [&section](TlsLevel& level) {
    section.choice("tls", level,
                   {{"none", TlsLevel::none},
                    {"opportunistic", TlsLevel::opportunistic},
                    {"encrypt", TlsLevel::encrypt},
                    {"verify", TlsLevel::verify},
                    {"fingerprint", TlsLevel::fingerprint}});
  });
  section.parsed_list("tls_names", tls.names, parse_tls_name);
  section.parsed_list("tls_fingerprints", tls.fingerprints, parse_fingerprint);
}

/// The files that belong to it go to `files`.
void read_domain(Section& section, Domain& domain, std::size_t index, std::vector<DomainFile>& files) {
  section.require("name", "such as name = \"example.com\"");
  section.parsed("name", domain.name, parse_domain);
  if (!section.has("aliases"))
    section.require("deliver", "such as deliver = \"maildir:/var/mail/{domain}/{local}\" or \"smtp:[10.0.0.5]:25\"");
  section.parsed("deliver", domain.deliver, parse_domain_delivery);
  read_hop_tls(section, domain.tls);
  section.parsed_or_empty("sub_address", domain.sub_address, parse_sub_address);
  for (const Item& item : section.strings("aliases", true))
    if (!item.wrong) files.push_back({DomainFile::Kind::aliases, index, item});
  for (const Item& item : section.strings("relocated", true))
    if (!item.wrong) files.push_back({DomainFile::Kind::relocated, index, item});
  if (section.is_text("recipients")) {
    const Item item = section.strings("recipients", true).front();
    domain.asks_next_hop = item.text == "ask";
    if (!domain.asks_next_hop) files.push_back({DomainFile::Kind::recipients, index, item});
  } else {
    std::vector<std::string> recipients;
    bool given = section.has("recipients");
    section.parsed_one_or_list("recipients", recipients, parse_lower_local_part);
    if (given) domain.recipients = std::move(recipients);
  }
  section.finish();
}

void read_resolver(Section section, Config::Resolver& resolver) {
  section.parsed_list("servers", resolver.servers, parse_name_server);
  section.duration("timeout", resolver.timeout, 100ms, 1min);
  section.number("tries", resolver.tries, 1, 10);
  section.finish();
}

void read_delivery(Section section, Config::Delivery& delivery) {
  section.number("port", delivery.port, 1, 65535);
  section.parsed_list("source", delivery.source, parse_source);
  section.duration("connect_timeout", delivery.connect_timeout, 100ms, 1h);
  section.duration("command_timeout", delivery.command_timeout, 100ms, 1h);
  section.duration("data_timeout", delivery.data_timeout, 100ms, 2h);
  section.number("concurrency", delivery.concurrency, 1, 10'000);
  section.number("connections", delivery.connections, 1, 100'000);
  section.boolean("chunking", delivery.chunking);
  section.boolean("send_unconverted", delivery.send_unconverted);
  section.choice("tls", delivery.tls,
                 {{"none", TlsLevel::none},
                  {"opportunistic", TlsLevel::opportunistic},
                  {"encrypt", TlsLevel::encrypt},
                  {"verify", TlsLevel::verify}});
  section.number("tls_retry", delivery.tls_retry, 1, 100);
  section.parsed_list("reply_rules", delivery.reply_rules, parse_rule_file);
  for (Section& each : section.sections("limits")) {
    OutLimit limit;
    each.parsed_list("domains", limit.domains, parse_pattern);
    each.parsed_list("sites", limit.sites, parse_host_pattern);
    each.parsed_list("sources", limit.sources, parse_source);
    each.optional("connections", limit.connections, 1,
                  [&each](int& number) { each.number("connections", number, 1, 10'000); });
    each.optional("concurrency", limit.concurrency, 1,
                  [&each](int& number) { each.number("concurrency", number, 1, 10'000); });
    each.parsed("rate", limit.rate, parse_rate);
    each.finish();
    delivery.limits.push_back(limit);
  }
  section.finish();
}

void read_route(Section& section, Route& route) {
  section.require("match", "such as match = \"partner.example\", \"*.example\" or \"*\"");
  section.parsed("match", route.match, parse_pattern);
  section.parsed_or_empty("name", route.name, parse_route_name);
  section.parsed_list("senders", route.senders, parse_sender_rule);
  section.parsed_list("logins", route.logins, parse_login_pattern);
  // Without one the exchangers are those that DNS names: something else has to be the route's purpose.
  if (!section.has("tls") && !section.has("source") && !section.has("ehlo"))
    section.require("next_hop", "such as next_hop = \"smtp:[10.0.0.5]:2525\", or set tls or source alone");
  section.parsed_one_or_list("next_hop", route.next_hops, parse_route_hop);
  section.numbers("weights", route.weights, 0, 1000);
  read_hop_tls(section, route.tls);
  HostLogin login;
  section.parsed("user", login.user, parse_host_user);
  section.parsed("password_file", login.password_file, parse_path);
  section.parsed_list("mechanisms", login.mechanisms, parse_mechanism);
  if (section.has("user") || section.has("password_file")) route.login = login;
  section.parsed_list("source", route.source, parse_source);
  section.parsed_or_empty("ehlo", route.ehlo, parse_domain);
  section.finish();
}

void read_queue(Section section, Config::Queue& queue) {
  section.durations("retry", queue.retry, 1s, 30 * kDay);
  section.duration("expire", queue.expire, 1s, 365 * kDay);
  section.duration("bounce_expire", queue.bounce_expire, 1s, 365 * kDay);
  section.duration("delay_warning", queue.delay_warning, 0s, 365 * kDay);
  section.boolean("delay_over", queue.delay_over);
  section.duration("digest", queue.digest, 0s, 365 * kDay);
  section.size("inline_limit", queue.inline_limit, 0, 16 * kMiB);
  section.finish();
}

void read_history(Section section, Config::History& history) {
  section.duration("keep", history.keep, 1min, 3660 * kDay);
  section.finish();
}

void read_limits(Section section, Config::Limits& limits) {
  section.size("message_size", limits.message_size, 1024, 4 * kGiB);
  section.number("recipients", limits.recipients, 1, 100'000);
  section.number("connections", limits.connections, 1, 1'000'000);
  section.number("connections_per_client", limits.connections_per_client, 1, 1'000'000);
  section.parsed_or_empty("connection_rate", limits.connection_rate, parse_rate);
  section.number("errors", limits.errors, 1, 10'000);
  section.duration("command_timeout", limits.command_timeout, 100ms, 1h);
  section.duration("data_timeout", limits.data_timeout, 100ms, 2h);
  section.duration("handshake_timeout", limits.handshake_timeout, 100ms, 10min);
  section.number("hops", limits.hops, 1, 1000);
  section.finish();
}

void read_log(Section section, Config::Log& log) {
  section.parsed("target", log.target, parse_log_target);
  section.choice("format", log.json, {{"text", false}, {"json", true}});
  section.choice<std::string>("level", log.level,
                              {{"debug", "debug"}, {"info", "info"}, {"warning", "warning"}, {"error", "error"}});
  section.parsed("syslog_name", log.syslog_name, parse_syslog_name);
  section.finish();
}

void read_admin(Section section, Config::Admin& admin) {
  section.parsed_or_empty("listen", admin.listen, parse_listen_address);
  section.finish();
}

}  // namespace

std::vector<DomainFile> read_sections(const Value& root, Config& config, Reading& reading) {
  Section top(root, reading);
  top.ignore("include");  // load() has followed it
  top.parsed_or_empty("hostname", config.hostname, parse_domain);
  top.parsed("data_dir", config.data_dir, parse_path);
  top.parsed("control_socket", config.control_socket, parse_socket);
  // So that a second relay of this machine, which has a control socket elsewhere, has both there.
  config.submit_socket = config.control_socket.substr(0, config.control_socket.rfind('/') + 1) + "submit.sock";
  top.parsed("submit_socket", config.submit_socket, parse_socket_or_none);
  top.parsed("user", config.user, parse_user);
  top.choice("confine", config.confine, {{"auto", true}, {"off", false}});
  top.parsed_list("writable", config.writable, parse_path);
  top.number("threads", config.threads, 0, 1024);
  top.parsed_or_empty("origin", config.origin, parse_origin);
  top.parsed_or_empty("postmaster", config.postmaster, parse_mailbox);
  for (Section& each : top.sections("listener")) {
    Listener listener;
    read_listener(each, listener);
    config.listeners.push_back(listener);
  }
  read_tls(top.section("tls"), config.tls);
  read_auth(top.section("auth"), config.auth);
  read_relay(top.section("relay"), config.relay);
  for (Section& each : top.sections("client")) {
    ClientClass client;
    read_client(each, client);
    config.clients.push_back(client);
  }
  read_checks(top.section("checks"), config.checks);
  std::vector<DomainFile> files;
  for (Section& each : top.sections("domain")) {
    Domain domain;
    read_domain(each, domain, config.domains.size(), files);
    config.domains.push_back(domain);
  }
  read_resolver(top.section("resolver"), config.resolver);
  read_delivery(top.section("delivery"), config.delivery);
  for (Section& each : top.sections("route")) {
    Route route;
    read_route(each, route);
    config.routes.push_back(route);
  }
  read_queue(top.section("queue"), config.queue);
  read_history(top.section("history"), config.history);
  read_limits(top.section("limits"), config.limits);
  read_log(top.section("log"), config.log);
  read_admin(top.section("admin"), config.admin);
  top.finish();
  return files;
}

}  // namespace waypost::conf
