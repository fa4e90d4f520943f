#include "conf/load.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <unistd.h>

using namespace waypost::conf;
using namespace std::chrono_literals;

namespace {

/// A folder of files that goes away with the test.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "conf-test-[x]-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()));
    path_ = pattern;
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string write(const std::string& name, const std::string& text) {
    std::filesystem::path file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
    return file.string();
  }
  std::string path(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

const std::string kGood =
    "hostname = \"relay.example.net\"\n"
    "[[listener]]\n"
    "address = \"127.0.0.1:25\"\n";

std::string texts(const std::vector<Finding>& findings) {
  std::string all;
  for (const Finding& finding : findings) all += finding.text() + "\n";
  return all;
}

}  // namespace

TEST_SUITE("conf/load") {
  TEST_CASE("origin is a domain, or the first line of a file") {
    Folder folder;
    const std::string bad = "has \"_\" in it: a domain name has letters, digits, \"-\" and dots";
    struct {
      std::string file, value, want, error;
    } rows[] = {
        {"", "Mail.Example", "mail.example", ""},
        {"", "", "", ""},
        {"example.org\n", folder.path("mailname"), "example.org", ""},
        {"Example.ORG\r\nmore\n", folder.path("mailname"), "example.org", ""},
        {"a_b.example", folder.path("mailname"), "", ": its first line, \"a_b.example\" " + bad},
        {"\n", folder.path("mailname"), "", ": its first line, \"\" is empty where a domain name is wanted"},
        {"", folder.path("none"), "", " cannot be read: No such file or directory"},
    };
    for (const auto& row : rows) {
      folder.write("mailname", row.file);
      Loaded loaded = load(folder.write("waypost.toml", "origin = \"" + row.value + "\"\n" + kGood));
      CAPTURE(row.value);
      CHECK(loaded.config.origin == row.want);
      if (row.error.empty())
        CHECK(texts(loaded.errors) == "");
      else
        CHECK(texts(loaded.errors).find("waypost.toml:1:10: origin: \"" + row.value + "\"" + row.error) !=
              std::string::npos);
    }
  }

  TEST_CASE("where Dovecot's authentication server is") {
    struct {
      const char* text;
      const char* want;
    } const table[] = {
        {"/run/dovecot/auth-client", "/run/dovecot/auth-client"},
        {"inet:127.0.0.1:1143", "inet:127.0.0.1:1143"},
        {"inet:[::1]:1143", "inet:[::1]:1143"},
        {"", ""},
    };
    for (const auto& [text, want] : table) {
      const Loaded loaded = load_text(
          "hostname = \"relay.example.net\"\n[[listener]]\naddress = \"127.0.0.1:25\"\n[auth]\n"
          "dovecot = \"" +
              std::string(text) + "\"",
          "t.toml");
      CHECK(texts(loaded.errors).empty());
      CHECK(loaded.config.auth.dovecot == want);
      CHECK(loaded.config.auth.knows_somebody() == !loaded.config.auth.dovecot.empty());
    }
    struct {
      const char* host;
      bool elsewhere;
    } const hosts[] = {{"127.0.0.1", false}, {"[::1]", false}, {"192.0.2.1", true}, {"[2001:db8::1]", true}};
    for (const auto& [host, elsewhere] : hosts) {
      const Loaded loaded = load_text(
          "hostname = \"relay.example.net\"\n[[listener]]\naddress = \"127.0.0.1:25\"\n[auth]\n"
          "dovecot = \"inet:" +
              std::string(host) + ":1143\"",
          "t.toml");
      CAPTURE(host);
      CHECK((texts(loaded.warnings).find("is not on this machine") != std::string::npos) == elsewhere);
    }
  }

  TEST_CASE("a file that names a listener alone has the defaults for the rest") {
    Loaded loaded = load_text(kGood, "t.toml");
    CHECK(texts(loaded.errors).empty());
    CHECK(texts(loaded.warnings).empty());
    Config want;
    want.file = "t.toml";
    want.hostname = "relay.example.net";
    want.listeners.resize(1);
    want.listeners[0].address = {"127.0.0.1", 25};
    want.listeners[0].tls = ListenerTls::none;
    CHECK(loaded.config == want);
    CHECK(loaded.config.delivery.tls == TlsLevel::opportunistic);
    CHECK(loaded.config.queue.expire == 120h);
  }

  TEST_CASE("submit_socket is beside the control socket, elsewhere, or nowhere") {
    const std::string listener = "\n[[listener]]\naddress = \"127.0.0.1:25\"\nrole = \"mx\"\n";
    const auto of = [&](const std::string& keys) { return load_text(keys + listener, "t.toml").config.submit_socket; };
    CHECK(of("") == "/run/waypost/submit.sock");
    CHECK(of("control_socket = \"/srv/two/c.sock\"") == "/srv/two/submit.sock");
    CHECK(of("submit_socket = \"/srv/s.sock\"") == "/srv/s.sock");
    CHECK(of("submit_socket = \"\"").empty());
  }

  TEST_CASE("every key reaches its place in the configuration") {
    Loaded loaded = load_text(R"(
hostname = "Relay.Example.net"
data_dir = "/data"
control_socket = "/run/c.sock"
submit_socket = "/run/s.sock"
user = ""
confine = "off"
writable = ["/srv/backup"]
threads = 3
postmaster = "boss@Example.net"
[[listener]]
address = "0.0.0.0:25"
role = "mx"
tls = "none"
bare_newline = "reject"
smtputf8 = false
auth = true
[[listener]]
address = "[::]:587"
role = "submission"
[[listener]]
address = "[::1]:465"
role = "submission"
tls = "implicit"
[tls]
certificate = "/c.pem"
key = "/k.pem"
ca = "/ca.pem"
[[tls.certificates]]
certificate = "/c2.pem"
key = "/k2.pem"
[auth]
users = "/users"
require_tls = false
sender_must_match = true
[relay]
networks = ["10.0.0.0/8", "::1/128", "192.0.2.1"]
domains = ["Example.org", "*.example.org"]
open = true
[[domain]]
name = "Example.com"
deliver = "lmtp:/run/dovecot/lmtp"
recipients = ["Sales", "info", "sales"]
[[domain]]
name = "example.edu"
deliver = "smtp:[10.0.0.6]:2525"
[resolver]
servers = ["127.0.0.1:5353", "::1"]
timeout = "250ms"
tries = 2
[delivery]
port = 2525
source = ["192.0.2.1", "2001:db8::1"]
connect_timeout = "1s"
command_timeout = "2s"
data_timeout = "3s"
concurrency = 4
connections = 5
tls = "none"
tls_retry = 3
reply_rules = []
[[delivery.limits]]
domains = ["Slow.example", "*.slow.example"]
rate = "20/1m"
concurrency = 2
[[delivery.limits]]
sites = ["*.provider.example", "2001:DB8::1"]
connections = 7
[[route]]
match = "Partner.example"
next_hop = "smtp:[10.0.0.5]:2525"
[[route]]
match = "*.example"
next_hop = ["smtp:a.example", "smtp:[b.example]", "smtps:[c.example]"]
tls = "verify"
tls_names = ["Mail.partner.example", "*.b.example"]
[[route]]
match = "bank.test"
tls = "fingerprint"
tls_fingerprints = ["SHA256:AB34567890123456789012345678901234567890123456789012345678901234"]
[[route]]
match = "*"
name = "Office"
senders = ["@Office.example", "<>"]
logins = ["Ann", "*@c.example"]
next_hop = ["smtp:a.example", "smtp:b.example"]
weights = [3, 0]
user = "Relay user"
password_file = "/proc/self/personality"
mechanisms = ["plain", "scram-sha-256"]
source = ["192.0.2.7", "2001:DB8::7"]
ehlo = "Out.example"
[queue]
retry = ["1s", "2m"]
expire = "3h"
bounce_expire = "4h"
delay_warning = "0s"
delay_over = true
digest = "12h"
inline_limit = 1000
[history]
keep = "5d"
[limits]
message_size = "5MB"
recipients = 106
connections = 107
connections_per_client = 8
errors = 9
command_timeout = "10s"
data_timeout = "11s"
handshake_timeout = "12s"
hops = 12
[log]
target = "/var/log/waypost.log"
format = "json"
level = "debug"
syslog_name = "postfix-waypost"
[admin]
listen = "[::1]:8025"
)",
                              "t.toml");
    CHECK(texts(loaded.errors).empty());
    const Config& c = loaded.config;
    CHECK(c.hostname == "relay.example.net");
    CHECK(c.data_dir == "/data");
    CHECK(c.control_socket == "/run/c.sock");
    CHECK(c.submit_socket == "/run/s.sock");
    CHECK(c.user.empty());
    CHECK_FALSE(c.confine);
    CHECK(c.writable == std::vector<std::string>{"/srv/backup"});
    CHECK(c.threads == 3);
    CHECK(c.postmaster == "boss@example.net");
    REQUIRE(c.listeners.size() == 3);
    CHECK(c.listeners[0] == Listener{{"0.0.0.0", 25}, Role::mx, ListenerTls::none, true, false, true});
    CHECK(c.listeners[1] == Listener{{"::", 587}, Role::submission, ListenerTls::starttls, false});
    CHECK(c.listeners[2] == Listener{{"::1", 465}, Role::submission, ListenerTls::implicit, false});
    CHECK(c.listeners[0].takes_logins());
    CHECK(c.listeners[1].takes_logins());
    CHECK_FALSE(Listener{}.takes_logins());
    CHECK(c.tls.certificate == "/c.pem");
    CHECK(c.tls.key == "/k.pem");
    CHECK(c.tls.ca == "/ca.pem");
    CHECK(c.tls.certificates == std::vector<Config::Tls::Certificate>{{"/c2.pem", "/k2.pem"}});
    CHECK(c.auth.users == "/users");
    CHECK_FALSE(c.auth.require_tls);
    CHECK(c.auth.sender_must_match);
    REQUIRE(c.relay.networks.size() == 3);
    CHECK(c.relay.networks[2].text() == "192.0.2.1/32");
    CHECK(c.relay.domains == std::vector<std::string>{"example.org", "*.example.org"});
    CHECK(c.relay.open);
    REQUIRE(c.domains.size() == 2);
    CHECK(c.domains[0].name == "example.com");
    CHECK(c.domains[0].deliver->text() == "lmtp:/run/dovecot/lmtp");
    CHECK(*c.domains[0].recipients == std::vector<std::string>{"info", "sales"});
    CHECK_FALSE(c.domains[1].recipients);
    CHECK(c.resolver.servers == std::vector<HostPort>{{"127.0.0.1", 5353}, {"::1", 53}});
    CHECK(c.resolver.timeout == 250ms);
    CHECK(c.resolver.tries == 2);
    CHECK(c.delivery.port == 2525);
    CHECK(c.delivery.source == std::vector<std::string>{"192.0.2.1", "2001:db8::1"});
    CHECK(c.delivery.connect_timeout == 1s);
    CHECK(c.delivery.command_timeout == 2s);
    CHECK(c.delivery.data_timeout == 3s);
    CHECK(c.delivery.concurrency == 4);
    CHECK(c.delivery.connections == 5);
    CHECK(c.delivery.tls == TlsLevel::none);
    CHECK(c.delivery.tls_retry == 3);
    CHECK(c.delivery.reply_rules.empty());
    REQUIRE(c.delivery.limits.size() == 2);
    CHECK(c.delivery.limits[0].domains == std::vector<std::string>{"slow.example", "*.slow.example"});
    CHECK(c.delivery.limits[0].rate == Rate{20, seconds(60)});
    CHECK(c.delivery.limits[0].concurrency == 2);
    CHECK(c.delivery.limits[1].sites == std::vector<std::string>{"*.provider.example", "2001:db8::1"});
    CHECK(c.delivery.limits[1].connections == 7);
    CHECK_FALSE(c.delivery.limits[1].rate);
    REQUIRE(c.routes.size() == 4);
    CHECK(c.routes[0].match == "partner.example");
    CHECK(c.routes[0].tls == HopTls());
    REQUIRE(c.routes[1].next_hops.size() == 3);
    CHECK(c.routes[1].next_hops[2].implicit_tls);
    CHECK(c.routes[1].next_hops[2].text() == "smtps:[c.example]:465");
    CHECK(c.routes[1].tls.level == TlsLevel::verify);
    CHECK(c.routes[1].tls.names == std::vector<std::string>{"mail.partner.example", "*.b.example"});
    CHECK(c.routes[2].next_hops.empty());
    CHECK(c.routes[2].tls.fingerprints ==
          std::vector<std::string>{"sha256:ab34567890123456789012345678901234567890123456789012345678901234"});
    const Route& office = c.routes[3];
    CHECK(office.name == "office");
    CHECK(office.senders == std::vector<std::string>{"@office.example", "<>"});
    CHECK(office.logins == std::vector<std::string>{"ann", "*@c.example"});
    CHECK(office.weights == std::vector<int>{3, 0});
    REQUIRE(office.login);
    CHECK(office.login->user == "Relay user");
    CHECK(office.login->password_file == "/proc/self/personality");
    CHECK(office.login->password.size() == 8);  // a line of hexadecimal digits
    CHECK(office.login->mechanisms == std::vector<std::string>{"PLAIN", "SCRAM-SHA-256"});
    CHECK(office.tls_level(TlsLevel::none) == TlsLevel::verify);
    CHECK(office.source == std::vector<std::string>{"192.0.2.7", "2001:db8::7"});
    CHECK(office.ehlo == "out.example");
    CHECK(c.routes[1].next_hops[0].look_up_mx);
    CHECK_FALSE(c.routes[1].next_hops[1].look_up_mx);
    CHECK(c.queue.retry == std::vector<std::chrono::seconds>{1s, 2min});
    CHECK(c.queue.expire == 3h);
    CHECK(c.queue.bounce_expire == 4h);
    CHECK(c.queue.delay_warning == 0s);
    CHECK(c.queue.delay_over);
    CHECK(c.queue.digest == 12h);
    CHECK(c.queue.inline_limit == 1000);
    CHECK(c.history.keep == 120h);
    CHECK(c.limits.message_size == 5'000'000);
    CHECK(c.limits.recipients == 106);
    CHECK(c.limits.connections == 107);
    CHECK(c.limits.connections_per_client == 8);
    CHECK(c.limits.errors == 9);
    CHECK(c.limits.command_timeout == 10s);
    CHECK(c.limits.data_timeout == 11s);
    CHECK(c.limits.handshake_timeout == 12s);
    CHECK(c.limits.hops == 12);
    CHECK(c.log.target == "/var/log/waypost.log");
    CHECK(c.log.json);
    CHECK(c.log.level == "debug");
    CHECK(c.log.syslog_name == "postfix-waypost");
    REQUIRE(c.admin.listen);
    CHECK(c.admin.listen->text() == "[::1]:8025");
  }

  TEST_CASE("the machine's name is taken where the file has none") {
    for (const std::string text : {"", "hostname = \"\"\n"}) {
      Loaded loaded = load_text(text + "[[listener]]\naddress = \"127.0.0.1:25\"\n", "t.toml");
      bool asked = !loaded.errors.empty() && loaded.errors[0].key == "hostname";
      bool usable = !loaded.config.hostname.empty();
      CHECK(asked != usable);
    }
  }

  TEST_CASE("the postmaster is at the first domain, unless the file names one") {
    const std::string domain = "[[domain]]\nname = \"a.example\"\ndeliver = \"maildir:/m\"\n";
    CHECK(load_text(kGood, "t").config.postmaster.empty());
    CHECK(load_text(kGood + domain, "t").config.postmaster == "postmaster@a.example");
    CHECK(load_text("postmaster = \"\"\n" + kGood + domain, "t").config.postmaster == "postmaster@a.example");
    const Loaded nobody =
        load_text("postmaster = \"x@b.example\"\n" + kGood + "[[domain]]\nname = \"b.example\"\naliases = []\n", "t");
    CHECK(std::any_of(nobody.errors.begin(), nobody.errors.end(), [](const Finding& finding) {
      return finding.text().find("x@b.example is nobody: b.example has no deliver") != std::string::npos;
    }));
    CHECK(load_text("postmaster = \"x@b.example\"\n" + kGood + domain, "t").config.postmaster == "x@b.example");
  }

  TEST_CASE("a file that cannot be read, or is no TOML, is one error") {
    Loaded missing = load("/nonexistent/waypost.toml");
    REQUIRE(missing.errors.size() == 1);
    CHECK(missing.errors[0].text() == "/nonexistent/waypost.toml: cannot be read: No such file or directory");
    Folder folder;
    Loaded directory = load(folder.path("."));
    REQUIRE(directory.errors.size() == 1);
    CHECK(directory.errors[0].message == "cannot be read: Is a directory");
    Loaded broken = load_text("[[listener]\n", "t.toml");
    REQUIRE(broken.errors.size() == 1);
    CHECK(broken.errors[0].line == 1);
  }

  TEST_CASE("files of rules about replies are read, and not looked at") {
    Folder folder;
    const std::string rules = folder.write("rules.toml", "is this (TOML?");
    Loaded loaded = load_text(kGood + "\n[delivery]\nreply_rules = [\"" + rules + "\", \"shipped\"]\n", "t.toml");
    CHECK(loaded.errors.empty());
    CHECK(loaded.config.delivery.reply_rules ==
          std::vector<RuleFile>{{rules, "is this (TOML?"}, {RuleFile::kShipped, ""}});
    CHECK(load_text(kGood, "t.toml").config.delivery.reply_rules == std::vector<RuleFile>{{RuleFile::kShipped, ""}});
    Loaded missing = load_text(kGood + "\n[delivery]\nreply_rules = [\"shipped\", \"/nonexistent\"]\n", "t.toml");
    REQUIRE(missing.errors.size() == 1);
    CHECK(missing.errors[0].text().find("delivery.reply_rules[2]: \"/nonexistent\" cannot be read: No such file") !=
          std::string::npos);
  }

  TEST_CASE("included files follow in lexical order, lists of sections accumulate") {
    Folder folder;
    std::string file = folder.write("waypost.toml", "include = [\"conf.d/*.toml\"]\n" + kGood +
                                                        "[[route]]\nmatch = \"a.example\"\nnext_hop = \"discard:\"\n"
                                                        "[relay]\nnetworks = [\"10.0.0.0/8\"]\n");
    folder.write("conf.d/20.toml", "[[route]]\nmatch = \"c.example\"\nnext_hop = \"discard:\"\n");
    folder.write("conf.d/10.toml",
                 "threads = 2\n[relay]\ndomains = [\"b.example\"]\n"
                 "[[route]]\nmatch = \"b.example\"\nnext_hop = \"discard:\"\n");
    folder.write("conf.d/30.conf", "not read");
    Loaded loaded = load(file);
    CHECK(texts(loaded.errors).empty());
    CHECK(loaded.config.file == file);
    CHECK(loaded.config.threads == 2);
    CHECK(loaded.config.relay.networks.size() == 1);
    CHECK(loaded.config.relay.domains.size() == 1);
    REQUIRE(loaded.config.routes.size() == 3);
    CHECK(loaded.config.routes[0].match == "a.example");
    CHECK(loaded.config.routes[1].match == "b.example");
    CHECK(loaded.config.routes[2].match == "c.example");
  }

  TEST_CASE("what a reload reads again") {
    Folder folder;
    const std::string list = folder.write("list", "one@b.example\n");
    const std::string aliases = folder.write("aliases", "all: :include:" + list + "\n");
    const std::string mailname = folder.write("mailname", "a.example\n");
    const std::string more = folder.write("conf.d/10.toml", "threads = 2\n");
    const std::string file = folder.write(
        "waypost.toml", "include = [\"conf.d/*.toml\", \"/nowhere/*/x.toml\"]\norigin = \"" + mailname + "\"\n" +
                            kGood + "[[domain]]\nname = \"a.example\"\naliases = \"" + aliases + "\"\n");
    const Loaded loaded = load(file);
    CHECK(texts(loaded.errors) == "");
    const std::string folder_of_more = more.substr(0, more.rfind('/') + 1);
    CHECK(loaded.config.files == std::vector<std::string>{folder_of_more, more, "/nowhere/", aliases, list, mailname});
  }

  TEST_CASE("a key set in two files is an error that names both places") {
    Folder folder;
    std::string file =
        folder.write("waypost.toml", "include = \"more.toml\"\nthreads = 1\n" + kGood +
                                         "[queue]\nexpire = \"2d\"\n[relay]\nnetworks = [\"10.0.0.0/8\"]\n");
    std::string more =
        folder.write("more.toml", "threads = 2\n[queue]\nexpire = \"3d\"\n[relay]\nnetworks = []\nopen = false\n");
    Loaded loaded = load(file);
    REQUIRE(loaded.errors.size() == 3);
    CHECK(loaded.errors[0].text() == more + ":1:1: threads: is set already at " + file + ":2:1 (keep one of the two)");
    CHECK(loaded.errors[1].key == "queue.expire");
    CHECK(loaded.errors[1].message == "is set already at " + file + ":7:1");
    CHECK(loaded.errors[2].key == "relay.networks");
  }

  TEST_CASE("a mistake in an included file is reported there, after those of the main file") {
    Folder folder;
    std::string file =
        folder.write("waypost.toml", "include = [\"a.toml\", \"b.toml\", \"*.toml\"]\ntreads = 1\n" + kGood);
    std::string a = folder.write("a.toml", "\n[[listener]]\naddress = \"127.0.0.1\"\n");
    std::string b = folder.write("b.toml", "= 5\n");
    Loaded loaded = load(file);
    REQUIRE(loaded.errors.size() == 3);
    CHECK(loaded.errors[0].file == file);
    CHECK(loaded.errors[0].key == "treads");
    CHECK(loaded.errors[1].file == a);
    CHECK(loaded.errors[1].line == 3);
    CHECK(loaded.errors[1].key == "listener[2].address");
    CHECK(loaded.errors[2].file == b);
    CHECK(loaded.errors[2].message.find("is not TOML") == 0);
  }

  TEST_CASE("an include must exist unless it has wildcards, and is not nested") {
    Folder folder;
    folder.write("nested.toml", "include = [\"x.toml\"]\n");
    std::string file =
        folder.write("waypost.toml", "include = [\"conf.d/*.toml\", \"more.toml\", 5, \"nested.toml\"]\n" + kGood);
    Loaded loaded = load(file);
    REQUIRE(loaded.errors.size() == 3);
    CHECK(loaded.errors[0].key == "include[2]");
    CHECK(loaded.errors[0].message == "\"more.toml\" does not exist");
    CHECK(loaded.errors[1].key == "include[3]");
    CHECK(loaded.errors[1].message == "must be a string, not a whole number");
    CHECK(loaded.errors[2].file == folder.path("nested.toml"));
    CHECK(loaded.errors[2].message == "stands in a file that is included itself");
  }

  TEST_CASE("a text by itself cannot include") {
    Loaded loaded = load_text("include = [\"*.toml\"]\n" + kGood, "t.toml");
    REQUIRE(loaded.errors.size() == 1);
    CHECK(loaded.errors[0].key == "include");
    CHECK(loaded.errors[0].line == 1);
  }

  TEST_CASE("recipients = \"ask\": the next hop is asked; a list may have a recipient of that name") {
    for (const char* hop : {"smtp:[10.0.0.5]:2525", "smtp:mail.inside.example", "lmtp:/run/lmtp", "lmtp:10.0.0.5:24"}) {
      CAPTURE(hop);
      Loaded loaded =
          load_text(kGood + "[[domain]]\nname = \"a.example\"\nrecipients = \"ask\"\ndeliver = \"" + hop + "\"\n", "f");
      REQUIRE(loaded.errors.empty());
      CHECK(loaded.warnings.empty());
      CHECK(loaded.config.domains[0].asks_next_hop);
      CHECK_FALSE(loaded.config.domains[0].recipients);
    }
    Loaded listed = load_text(
        kGood + "[[domain]]\nname = \"a.example\"\nrecipients = [\"ask\"]\ndeliver = \"smtp:[10.0.0.5]\"\n", "f");
    REQUIRE(listed.errors.empty());
    CHECK_FALSE(listed.config.domains[0].asks_next_hop);
    CHECK(listed.config.domains[0].recipients == std::vector<std::string>{"ask"});
  }

  TEST_CASE("recipients = \"ask\" beside a catch-all is a warning") {
    Folder folder;
    const std::string aliases = folder.write("aliases", "@: root@far.example\n");
    Loaded loaded =
        load_text(kGood +
                      "[[domain]]\nname = \"a.example\"\ndeliver = \"smtp:[10.0.0.5]\"\nrecipients = \"ask\"\n"
                      "aliases = \"" +
                      aliases + "\"\n",
                  "f");
    CHECK(loaded.errors.empty());
    REQUIRE(loaded.warnings.size() == 1);
    CHECK(loaded.warnings[0].key == "domain[1].recipients");
  }

  TEST_CASE("recipients from a file: one a line, comments and blank lines aside") {
    Folder folder;
    std::string list =
        folder.write("recipients", "# who exists\nSales\n\n  info  # the office\r\njohn.o'neil\na#b\ninfo");
    Loaded loaded =
        load_text(kGood + "[[domain]]\nname = \"a.example\"\ndeliver = \"maildir:/m\"\nrecipients = \"" + list + "\"\n",
                  "t.toml");
    CHECK(texts(loaded.errors).empty());
    REQUIRE(loaded.config.domains.size() == 1);
    REQUIRE(loaded.config.domains[0].recipients);
    CHECK(*loaded.config.domains[0].recipients == std::vector<std::string>{"a#b", "info", "john.o'neil", "sales"});
  }

  TEST_CASE("a mistake in a file of recipients is reported with its line there") {
    Folder folder;
    std::string list = folder.write("recipients", "sales\ninfo@a.example\nroot: admin\n");
    Loaded loaded =
        load_text(kGood + "[[domain]]\nname = \"a.example\"\ndeliver = \"maildir:/m\"\nrecipients = \"" + list + "\"\n",
                  "t.toml");
    REQUIRE(loaded.errors.size() == 2);
    CHECK(loaded.errors[0].file == list);
    CHECK(loaded.errors[0].line == 2);
    CHECK(loaded.errors[0].key == "domain[1].recipients");
    CHECK(loaded.errors[1].line == 3);
  }

  TEST_CASE("the list of keys is what the reader asks for") {
    std::vector<std::string> keys = all_keys();
    CHECK(std::is_sorted(keys.begin(), keys.end()));
    for (const char* key :
         {"hostname", "include", "listener.address", "listener.bare_newline", "tls.certificates.key", "relay.networks",
          "domain.recipients", "route.next_hop", "queue.retry", "log.syslog_name"}) {
      CAPTURE(key);
      CHECK(std::binary_search(keys.begin(), keys.end(), key));
    }
  }
}
