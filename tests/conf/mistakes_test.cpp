#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "conf/load.h"

using namespace waypost::conf;

namespace {

/// A file with one mistake. The text is either all of the file's top-level keys, or sections after a sound beginning.
struct Row {
  std::string text;
  int line;  // within the text
  std::string key;
  std::string part;  // of the finding's text
};

const std::string kHostname = "hostname = \"relay.example.net\"\n";
const std::string kListener = "[[listener]]\naddress = \"127.0.0.1:2525\"\n";

Loaded load_top(const std::string& text) {
  bool named = text.find("hostname") != std::string::npos;
  return load_text(text + "\n" + (named ? "" : kHostname) + kListener, "t.toml");
}

Loaded load_end(const std::string& text) {
  return load_text(kHostname + kListener + text, "t.toml");
}

std::string all_text(const std::vector<Finding>& findings) {
  std::string text;
  for (const Finding& finding : findings) text += finding.text() + "\n";
  return text;
}

void check(const Row& row, const std::vector<Finding>& findings, int line) {
  CAPTURE(row.text);
  CAPTURE(all_text(findings));
  REQUIRE(findings.size() == 1);
  const Finding& finding = findings[0];
  CHECK(finding.file == "t.toml");
  CHECK(finding.line == line);
  CHECK(finding.column > 0);
  CHECK(finding.key == row.key);
  CHECK(finding.text().find(row.part) != std::string::npos);
}

}  // namespace

TEST_SUITE("conf/mistakes") {
  TEST_CASE("top-level keys: each mistake is found where it stands") {
    const Row rows[] = {
        {"hostnam = \"a.example\"\nhostname = \"b.example\"", 1, "hostnam", "unknown key (did you mean \"hostname\"?)"},
        {"hostname = 5", 1, "hostname", "must be a string, not a whole number (write it in quotes)"},
        {"hostname = \"a_b.example\"", 1, "hostname", "\"_\" in it"},
        {"hostname = \"192.0.2.1\"", 1, "hostname", "is an address"},
        {"hostname = \"relay.example.net.\"", 1, "hostname", "leave it out"},
        {"hostname = \"r\xc3\xa9lais.example\"", 1, "hostname", "A-label"},
        {"hostname = [\"a.example\"]", 1, "hostname", "not a list"},
        {"threads = -1", 1, "threads", "-1 is out of range: from 0 to 1024"},
        {"threads = \"4\"", 1, "threads", "write 4, without quotes"},
        {"threads = 1.5", 1, "threads", "not a number with a fraction"},
        {"threads = 2026-01-01", 1, "threads", "not a date or time"},
        {"data_dir = \"spool\"", 1, "data_dir", "not an absolute path"},
        {"data_dir = \"\"", 1, "data_dir", "not an absolute path"},
        {"data-dir = \"/spool\"", 1, "data-dir", "did you mean \"data_dir\"?"},
        {"control_socket = \"/" + std::string(107, 'x') + "\"", 1, "control_socket", "107 octets"},
        {"submit_socket = \"/run/waypost/control.sock\"", 1, "submit_socket", "is the control socket too"},
        {"submit_socket = \"s.sock\"", 1, "submit_socket", "not an absolute path"},
        {"user = \"way post\"", 1, "user", "not the name of a user"},
        {"postmaster = \"postmaster\"", 1, "postmaster", "no \"@\""},
        {"postmaster = \"a@b_c\"", 1, "postmaster", "after its \"@\""},
        {"message_size = \"5MB\"", 1, "message_size",
         "unknown key (is \"client.message_size\" or \"limits.message_size\" meant?)"},
        {"xyzzy = 1", 1, "xyzzy", "unknown key"},
        {"\"xy\\u001b[31m\" = 1", 1, "xy\\x1b[31m", "unknown key"},
        {"# a comment\n\n  treads = 2", 3, "treads", "did you mean \"threads\"?"},
        {"tls = true", 1, "tls", "must be a section, not true or false"},
    };
    for (const Row& row : rows) {
      check(row, load_top(row.text).errors, row.line);
    }
  }

  TEST_CASE("sections: each mistake is found where it stands") {
    const Row rows[] = {
        {"rolle = \"mx\"", 1, "listener[1].rolle", "unknown key (did you mean \"role\"?)"},
        {"role = \"MX\"", 1, "listener[1].role", "\"MX\" is none of \"mx\", \"submission\" (did you mean \"mx\"?)"},
        {"role = \"smtp\"", 1, "listener[1].role", "is none of"},
        {"tls = true", 1, "listener[1].tls", "must be a string, not true or false"},
        {"tls = \"start-tls\"", 1, "listener[1].tls", "did you mean \"starttls\"?"},
        {"tls = \"starttls\"", 1, "listener[1].tls", "needs a certificate"},
        {"bare_newline = \"allow\"", 1, "listener[1].bare_newline", "\"normalize\", \"reject\""},
        {"[[listener]]\nrole = \"mx\"", 1, "listener[2].address", "is missing (such as"},
        {"[[listener]]\naddress = \"127.0.0.1\"", 2, "listener[2].address", "has no port"},
        {"[[listener]]\naddress = \"localhost:25\"", 2, "listener[2].address", "no numeric address"},
        {"[[listener]]\naddress = \"127.0.0.1:2525\"", 2, "listener[2].address", "is that of listener[1] too"},
        {"[[listener]]\naddress = \"0.0.0.0:2525\"", 2, "listener[2].address", "overlaps with that of listener[1]"},
        {"[listeners]\naddress = \"127.0.0.1:25\"", 1, "listeners", "did you mean \"listener\"?"},
        {"[tls]\ncertificate = \"/c.pem\"", 2, "tls.certificate", "has no key beside it"},
        {"[tls]\nkey = \"/k.pem\"", 2, "tls.key", "has no certificate beside it"},
        {"[tls]\nca = \"roots.pem\"", 2, "tls.ca", "not an absolute path"},
        {"[tls]\ncert = \"/c.pem\"", 2, "tls.cert", "did you mean \"certificate\"?"},
        {"[[tls.certificates]]\ncertificate = \"/c.pem\"", 1, "tls.certificates[1].key", "is missing"},
        {"[tls.certificates]\ncertificate = \"/c.pem\"\nkey = \"/k.pem\"", 1, "tls.certificates",
         "[[tls.certificates]]"},
        {"[auth]\nuser = \"/u\"", 2, "auth.user", "did you mean \"users\"?"},
        {"[auth]\nrequire_tls = \"yes\"", 2, "auth.require_tls", "write true or false, without quotes"},
        {"[auth]\nusers = \"users\"", 2, "auth.users", "not an absolute path"},
        {"[auth]\ndovecot = \"auth-client\"", 2, "auth.dovecot", "neither the absolute path of a socket nor"},
        {"[auth]\ndovecot = \"inet:localhost:1143\"", 2, "auth.dovecot", "no numeric address"},
        {"[auth]\ndovecot = \"inet:127.0.0.1\"", 2, "auth.dovecot", "has no port"},
        {"[auth]\ndovecot = \"/" + std::string(107, 'x') + "\"", 2, "auth.dovecot", "107 octets"},
        {"[auth]\nusers = \"/u\"\ndovecot = \"/d\"", 3, "auth.dovecot", "leave one of them out"},
        {"[relay]\nnetworks = \"10.0.0.0/8\"", 2, "relay.networks", "write [\"10.0.0.0/8\"]"},
        {"[relay]\nnetworks = [\"10.0.0.0/8\",\n  \"10.0.0.1/8\"]", 3, "relay.networks[2]",
         "the network is \"10.0.0.0/8\""},
        {"[relay]\nnetworks = [10]", 2, "relay.networks[1]", "must be a string"},
        {"[relay]\nnetworks = [\"office.example\"]", 2, "relay.networks[1]", "neither an address nor a network"},
        {"[relay]\nnetworks = [\"0.0.0.0/0\"]", 2, "relay.networks[1]", "makes an open relay"},
        {"[relay]\nnetworks = [\"::/0\"]", 2, "relay.networks[1]", "makes an open relay"},
        {"[relay]\nnetworks = [\"10.0.0.0/8\", \"0.0.0.0/1\"]", 2, "relay.networks[2]", "makes an open relay"},
        {"[relay]\nnetworks = [\"::ffff:0.0.0.0/96\"]", 2, "relay.networks[1]", "makes an open relay"},
        {"[relay]\nnetworks = [\"2000::/3\"]", 2, "relay.networks[1]", "relay.open = true, if"},
        {"[relay]\ndomains = [\"*\"]", 2, "relay.domains[1]", "makes an open relay"},
        {"[relay]\ndomains = [\".example.org\"]", 2, "relay.domains[1]", "\"*.example.org\""},
        {"[relay]\ndomains = [\"info@example.org\"]", 2, "relay.domains[1]", "mail address"},
        {"[relay]\nopen = 1", 2, "relay.open", "must be true or false, not a whole number"},
        {"[relay]\nnetwork = [\"10.0.0.0/8\"]", 2, "relay.network", "did you mean \"networks\"?"},
        {"[[relay]]\nopen = false", 1, "relay", "it stands once: write [relay]"},
        {"proxy = [\"0.0.0.0/0\"]", 1, "listener[1].proxy", "an open relay"},
        {"xclient = [\"::/0\"]", 1, "listener[1].xclient", "an open relay"},
        {"[[client]]\nname = \"a\"\ncertificates = [\"a.example\"]\nlogin = \"*\"", 4, "client[1].login",
         "is no login"},
        {"[checks]\nhelo = \"yes\"", 2, "checks.helo", "\"any\", \"qualified\", \"resolves\""},
        {"[[checks.lists]]\nscore = 2", 1, "checks.lists[1].zone", "is missing"},
        {"[[delivery.limits]]\nrate = \"5/1s\"", 1, "delivery.limits[1]", "one of domains, sites and sources"},
        {"[[delivery.limits]]\ndomains = [\"a.example\"]\nconnections = 2", 3, "delivery.limits[1].connections",
         "is for sites and sources"},
        {"[[delivery.limits]]\nsites = [\"mx.a.example\"]\nconcurrency = 2", 3, "delivery.limits[1].concurrency",
         "is for domains alone"},
        {"[[delivery.limits]]\nsites = [\"*.a.example\"]\nrate = \"fast\"", 3, "delivery.limits[1].rate", "is no rate"},
        {"[[delivery.limits]]\nsites = [\"mx.*.example\"]", 2, "delivery.limits[1].sites[1]", "elsewhere than"},
        {"[limits]\nconnection_rate = \"often\"", 2, "limits.connection_rate", "is no rate"},
        {"[[client]]\nnetworks = [\"10.0.0.0/8\"]", 1, "client[1].name", "is missing"},
        {"[[client]]\nname = \"a b\"\nnetworks = [\"10.0.0.0/8\"]", 2, "client[1].name", "is no name"},
        {"[[client]]\nname = \"a\"\nlisteners = [\"127.0.0.1:26\"]", 3, "client[1].listeners[1]", "of no [[listener]]"},
        {"[[client]]\nname = \"a\"\nrelay = true", 3, "client[1].relay", "makes an open relay"},
        {"[[client]]\nname = \"a\"\nnetworks = [\"0.0.0.0/1\"]\nrelay = true", 4, "client[1].relay", "open relay"},
        {"[[client]]\nname = \"a\"\nlogins = [\"a*\"]", 3, "client[1].logins[1]", "is no login"},
        {"[[client]]\nname = \"a\"\ncertificates = [\"sha256:12\"]", 3, "client[1].certificates[1]", "64 hexadecimal"},
        {"[[client]]\nname = \"a\"\nlogin = \"x\"", 3, "client[1].login", "no certificates are named"},
        {"[[client]]\nname = \"a\"\nmessage_rate = \"many\"", 3, "client[1].message_rate", "is no rate"},
        {"[[client]]\nname = \"a\"\nmessage_rate = \"0/1d\"", 3, "client[1].message_rate", "is no rate"},
        {"[[client]]\nname = \"a\"\nmessage_rate = \"5/10ms\"", 3, "client[1].message_rate", "whole seconds"},
        {"[[client]]\nname = \"a\"\nsenders = [\"x\"]", 3, "client[1].senders[1]", "is no sender"},
        {"[[client]]\nname = \"a\"\nnetworks = [\"10.0.0.0/8\"]\n[[client]]\nname = \"a\"", 5, "client[2].name",
         "is that of client[1] too"},
        {"[[domain]]\ndeliver = \"maildir:/m/{local}\"", 1, "domain[1].name", "is missing"},
        {"[[domain]]\nname = \"a.example\"", 1, "domain[1].deliver", "is missing"},
        {"[[domain]]\nname = \"*.example\"\ndeliver = \"maildir:/m/{local}\"", 2, "domain[1].name", "one domain name"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"discard:\"", 3, "domain[1].deliver", "for routes alone"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"maildir:/m/{user}\"", 3, "domain[1].deliver",
         "{domain} and {local}"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"/var/mail\"", 3, "domain[1].deliver", "is no next hop"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = [\"smtp:[b.example]\"]", 3, "domain[1].deliver",
         "must be a string"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"smtp:[127.0.0.1]:2525\"", 3, "domain[1].deliver", "go round"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"maildir:/m\"\n"
         "[[domain]]\nname = \"A.example\"\ndeliver = \"maildir:/m\"",
         5, "domain[2].name", "is that of domain[1] too"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"maildir:/m\"\nrecipients = [\"info@a.example\"]", 4,
         "domain[1].recipients[1]", "local part alone"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"maildir:/m\"\nrecipients = \"recipients\"", 4,
         "domain[1].recipients", "not an absolute path"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"maildir:/m\"\nrecipients = \"/nonexistent/recipients\"", 4,
         "domain[1].recipients", "cannot be read: No such file"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"maildir:/m\"\nrecipients = \"ask\"", 4, "domain[1].recipients",
         "there is none"},
        {"[[domain]]\nname = \"a.example\"\naliases = []\nrecipients = \"ask\"", 4, "domain[1].recipients",
         "there is none"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"smtp:[10.0.0.5]\"\nrecipients = [\"ask\", \"a@b\"]", 4,
         "domain[1].recipients[2]", "local part alone"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"maildir:/m\"\nrecipients = true", 4, "domain[1].recipients",
         "a string or a list of strings"},
        {"[domain]\nname = \"a.example\"\ndeliver = \"maildir:/m\"", 1, "domain", "write [[domain]]"},
        {"[resolver]\nservers = [\"ns.example\"]", 2, "resolver.servers[1]", "no numeric address"},
        {"[resolver]\ntimeout = 5", 2, "resolver.timeout", "in quotes: \"5s\""},
        {"[resolver]\ntimeout = \"5\"", 2, "resolver.timeout", "has no unit"},
        {"[resolver]\ntimeout = \"2m\"", 2, "resolver.timeout", "out of range: from 100ms to 1m"},
        {"[resolver]\ntries = 0", 2, "resolver.tries", "out of range: from 1 to 10"},
        {"[delivery]\nport = 0", 2, "delivery.port", "from 1 to 65535"},
        {"[delivery]\nport = \"25\"", 2, "delivery.port", "write 25, without quotes"},
        {"[delivery]\nsource = [\"eth0\"]", 2, "delivery.source[1]", "not a numeric address"},
        {"[delivery]\nsource = \"192.0.2.1\"", 2, "delivery.source", "write [\"192.0.2.1\"]"},
        {"[delivery]\nconnect_timeout = \"5 minutes\"", 2, "delivery.connect_timeout", "unknown unit"},
        {"[delivery]\nconcurrency = 0", 2, "delivery.concurrency", "out of range"},
        {"[delivery]\ntls = \"may\"", 2, "delivery.tls", "\"opportunistic\""},
        {"[delivery]\ntimeout = \"5s\"", 2, "delivery.timeout", "did you mean \"connect_timeout\"?"},
        {"[[route]]\nmatch = \"a.example\"", 1, "route[1].next_hop", "is missing"},
        {"[[route]]\nmatch = \"a.example\"\ntls_names = [\"b.example\"]", 1, "route[1].next_hop", "is missing"},
        {"[delivery]\ntls = \"fingerprint\"", 2, "delivery.tls", "is none of"},
        {"[delivery]\ntls_retry = 0", 2, "delivery.tls_retry", "out of range: from 1 to 100"},
        {"[delivery]\nreply_rules = \"shipped\"", 2, "delivery.reply_rules", "write [\"shipped\"]"},
        {"[delivery]\nreply_rules = [\"shipped\", \"rules.toml\"]", 2, "delivery.reply_rules[2]",
         "neither the absolute path of a file nor \"shipped\""},
        {"[delivery]\nreply_rules = [\"/nonexistent/rules.toml\"]", 2, "delivery.reply_rules[1]",
         "cannot be read: No such file or directory"},
        {"[[route]]\nmatch = \"*\"\nsenders = [\"@a.example\"]\nnext_hop = \"discard:\"", 3, "route[1].senders",
         "such as name = \"smarthost\""},
        {"[[route]]\nmatch = \"*\"\nlogins = [\"ann\"]\nnext_hop = \"discard:\"", 3, "route[1].logins",
         "such as name = \"smarthost\""},
        {"[[route]]\nmatch = \"*\"\nname = \"x\"\nsenders = [\"a.example\"]\nnext_hop = \"discard:\"", 4,
         "route[1].senders[1]", "is no sender"},
        {"[[route]]\nmatch = \"*\"\nname = \"a/b\"\nnext_hop = \"discard:\"", 3, "route[1].name",
         "no name for a route"},
        {"[[route]]\nmatch = \"a.example\"\nname = \"x\"\nnext_hop = \"discard:\"\n"
         "[[route]]\nmatch = \"b.example\"\nname = \"X\"\nnext_hop = \"discard:\"",
         7, "route[2].name", "is that of route[1] too"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = [\"smtp:a.example\", \"smtp:b.example\"]\nweights = [1]", 4,
         "route[1].weights", "has 1 for a next_hop of 2"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = [\"smtp:a.example\", \"smtp:b.example\"]\nweights = [0, 0]", 4,
         "route[1].weights", "are all 0"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"smtp:a.example\"\nweights = [-1]", 4, "route[1].weights[1]",
         "out of range: from 0 to 1000"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"smtp:a.example\"\nuser = \"ann\"", 4, "route[1].user",
         "has no password"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"smtp:a.example\"\npassword_file = \"/etc/hostname\"", 4,
         "route[1].password_file", "is nobody's"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"smtp:a.example\"\nuser = \"a\"\npassword_file = \"/nonexistent/p\"", 5,
         "route[1].password_file", "cannot be read: No such file or directory"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"smtp:a.example\"\nuser = \"a\"\npassword_file = \"/dev/null\"", 5,
         "route[1].password_file", "has no password in its first line"},
        {"[[route]]\nmatch = \"*\"\ntls = \"encrypt\"\nuser = \"a\"\npassword_file = \"/etc/hostname\"", 4,
         "route[1].user", "is for a next_hop"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = [\"smtp:a.example\", \"lmtp:/run/l\"]\nuser = \"a\"\n"
         "password_file = \"/etc/hostname\"",
         4, "route[1].user", "is for a next_hop"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"smtp:a.example\"\nmechanisms = [\"PLAIN\"]", 4, "route[1].mechanisms",
         "are used by nobody"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"smtp:a.example\"\nmechanisms = [\"CRAM-MD5\"]\nuser = \"a\"\n"
         "password_file = \"/etc/hostname\"",
         4, "route[1].mechanisms[1]", "\"SCRAM-SHA-256\""},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"smtp:[10.0.0.5]\"\nuser = \"a\"\npassword_file = \"/etc/hostname\"", 3,
         "route[1].next_hop", "has no name"},
        {"[[route]]\nmatch = \"*\"\nsource = [\"eth0\"]", 3, "route[1].source[1]", "not a numeric address"},
        {"[[route]]\nmatch = \"*\"\ntls = \"verfy\"", 3, "route[1].tls", "did you mean \"verify\"?"},
        {"[[route]]\nmatch = \"*\"\ntls = \"fingerprint\"", 3, "route[1].tls", "tls_fingerprints = ["},
        {"[[route]]\nmatch = \"*\"\ntls = \"fingerprint\"\ntls_fingerprints = [\"sha256:00\"]", 4,
         "route[1].tls_fingerprints[1]", "64 hexadecimal digits"},
        {"[[route]]\nmatch = \"*\"\ntls = \"fingerprint\"\ntls_fingerprints = [\"mx.b.example\"]", 4,
         "route[1].tls_fingerprints[1]", "no fingerprint of a public key"},
        {"[[route]]\nmatch = \"*\"\ntls = \"encrypt\"\ntls_names = [\"b.example\"]", 4, "route[1].tls_names",
         "is compared with nothing"},
        {"[[route]]\nmatch = \"*\"\ntls = \"verify\"\ntls_fingerprints = [\"sha256:" + std::string(64, 'a') + "\"]", 4,
         "route[1].tls_fingerprints", "is compared with nothing"},
        {"[[route]]\nmatch = \"*\"\ntls = \"verify\"\ntls_names = [\"*\"]", 4, "route[1].tls_names[1]",
         "which proves nothing"},
        {"[[route]]\nmatch = \"*\"\ntls = \"verify\"\ntls_names = [\".b.example\"]", 4, "route[1].tls_names[1]",
         "\"*.b.example\""},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"smtp:[10.0.0.5]\"\ntls = \"verify\"", 4, "route[1].tls",
         "has no name"},
        {"[delivery]\ntls = \"verify\"\n[[route]]\nmatch = \"*\"\nnext_hop = \"smtp:[10.0.0.5]\"", 5,
         "route[1].next_hop", "has no name"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"lmtp:/run/l\"\ntls = \"none\"", 4, "route[1].tls", "leaves by SMTP"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = [\"smtp:a.example\", \"lmtp:b.example:24\"]\ntls = \"verify\"", 4,
         "route[1].tls", "is in clear"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"smtps:[a.example]\"\ntls = \"none\"", 4, "route[1].tls",
         "from the first octet"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"smtps:10.0.0.5\"", 3, "route[1].next_hop", "\"smtps:[10.0.0.5]\""},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"maildir:/m\"\ntls = \"encrypt\"", 4, "domain[1].tls",
         "leaves by SMTP"},
        {"[[domain]]\nname = \"a.example\"\naliases = []\ntls = \"encrypt\"", 4, "domain[1].tls", "has no deliver"},
        {"[[route]]\nnext_hop = \"discard:\"", 1, "route[1].match", "is missing"},
        {"[[route]]\nmatch = \"a@b.example\"\nnext_hop = \"discard:\"", 2, "route[1].match", "mail address"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"10.0.0.5\"", 3, "route[1].next_hop", "is no next hop"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = []", 3, "route[1].next_hop", "is empty"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = [\"smtp:[a.example]\", \"smtp:10.0.0.5\"]", 3, "route[1].next_hop[2]",
         "brackets"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"maildir:/m\"", 3, "route[1].next_hop",
         "[[domain]]'s \"deliver\" alone"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = [\"smtp:[a.example]\", \"reject:no\"]", 3, "route[1].next_hop[2]",
         "stands alone"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"smtp:[127.0.0.1]:2525\"", 3, "route[1].next_hop", "go round"},
        {"[[route]]\nmatch = \"*\"\nnexthop = \"discard:\"\nnext_hop = \"discard:\"", 3, "route[1].nexthop",
         "did you mean \"next_hop\"?"},
        {"[queue]\nretry = []", 2, "queue.retry", "is empty"},
        {"[queue]\nretry = \"5m\"", 2, "queue.retry", "write [\"5m\"]"},
        {"[queue]\nretry = [\"5m\", 10]", 2, "queue.retry[2]", "in quotes: \"10s\""},
        {"[queue]\nretry = [\"5m\", \"0s\"]", 2, "queue.retry[2]", "out of range: from 1s to 30d"},
        {"[queue]\nretry = [\"1500ms\"]", 2, "queue.retry[1]", "whole number of seconds"},
        {"[queue]\nexpire = \"5w\"", 2, "queue.expire", "unknown unit"},
        {"[queue]\nexpire = \"5m\"", 2, "queue.expire", "not after the first retry, \"5m\""},
        {"[queue]\nretry = [\"2d\"]", 1, "queue.bounce_expire", "not after the first retry, \"2d\""},
        {"[queue]\ninline_limit = \"64K\"", 2, "queue.inline_limit", "unknown unit"},
        {"[queue]\ninline_limit = -1", 2, "queue.inline_limit", "is not a size"},
        {"[queue]\ninline_limit = \"1GiB\"", 2, "queue.inline_limit", "out of range: from 0 to 16MiB"},
        {"[history]\nkeep = true", 2, "history.keep", "must be a duration"},
        {"[history]\nkeep_days = 30", 2, "history.keep_days", "did you mean \"keep\"?"},
        {"[limits]\nmessage_size = 5.5", 2, "limits.message_size", "must be a size"},
        {"[limits]\nmessage_size = 0", 2, "limits.message_size", "out of range: from 1KiB to 4GiB"},
        {"[limits]\nrecipients = 0", 2, "limits.recipients", "out of range"},
        {"[limits]\nmax_connections = 5", 2, "limits.max_connections", "did you mean \"connections\"?"},
        {"[limits]\npostmaster = \"a@b.example\"", 2, "limits.postmaster", "it stands before the first [section]"},
        {"[limits]\nhops = 100000", 2, "limits.hops", "out of range"},
        {"[limit]\nhops = 100", 1, "limit", "did you mean \"limits\"?"},
        {"[log]\ntarget = \"journald\"", 2, "log.target", "neither \"stderr\" nor \"syslog\""},
        {"[log]\nformat = \"JSON\"", 2, "log.format", "did you mean \"json\"?"},
        {"[log]\nlevel = \"warn\"", 2, "log.level", "is none of"},
        {"[log]\nsyslog_name = \"a b\"", 2, "log.syslog_name", "no name for log lines"},
        {"[admin]\nlisten = \"127.0.0.1:2525\"", 2, "admin.listen", "listener[1] too"},
        {"[admin]\nlisten = \"8025\"", 2, "admin.listen", "no numeric address"},
        {"[admin]\naddress = \"127.0.0.1:8025\"", 2, "admin.address", "unknown key"},
        {"[log]\nlevel = \"info\"\nlevel = \"debug\"", 3, "", "is not TOML"},
        {"[log\nlevel = \"info\"", 1, "", "is not TOML"},
        {"level = info", 1, "", "is not TOML"},
        {"user = \"\xff\"", 1, "", "is not TOML"},
        {"include = [\"conf.d/*.toml\"]", 1, "listener[1].include", "unknown key"},
    };
    CHECK(std::size(rows) >= 60);
    for (const Row& row : rows) check(row, load_end(row.text).errors, row.line + 3);
  }

  TEST_CASE("what is dubious is a warning, and the file is used") {
    const Row rows[] = {
        {"[auth]\nusers = \"/etc/waypost/users\"", 2, "auth.users", "nobody can log in"},
        {"[auth]\ndovecot = \"/run/dovecot/auth-client\"", 2, "auth.dovecot", "nobody can log in"},
        {"[[listener]]\naddress = \"127.0.0.2:587\"\nauth = true\n[auth]\ndovecot = \"/d\"\nrequire_tls = false", 6,
         "auth.require_tls", "passwords would cross"},
        {"[[listener]]\naddress = \"127.0.0.2:587\"\nrole = \"submission\"\n[auth]\nusers = \"/etc/waypost/users\"", 5,
         "auth.users", "TLS there unless auth.require_tls is false"},
        {"[[listener]]\naddress = \"127.0.0.2:587\"\nauth = true\n[auth]\nusers = \"/u\"\nrequire_tls = false", 6,
         "auth.require_tls", "passwords would cross"},
        {"[[listener]]\naddress = \"127.0.0.2:587\"\nauth = true", 3, "listener[2].auth", "there is no auth.users"},
        {"[relay]\nopen = true", 2, "relay.open", "open relay"},
        {"[relay]\nopen = true\nnetworks = [\"0.0.0.0/0\"]\ndomains = []", 2, "relay.open", "open relay"},
        {"[relay]\ndomains = [\"example.org\"]", 1, "postmaster", "RFC 5321 section 4.5.1"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"maildir:/m\"\n[relay]\ndomains = [\"A.example\"]", 5,
         "relay.domains[1]", "has a [[domain]] of its own"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"maildir:/m\"\n[relay]\ndomains = [\"b.example\", "
         "\"b.example\"]",
         5, "relay.domains[2]", "in the list already"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"maildir:/m\"\n[relay]\ndomains = [\"*.org\"]", 5,
         "relay.domains[1]", "whole top-level domain"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"maildir:/m\"\nrecipients = []", 4, "domain[1].recipients",
         "names nobody"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"discard:\"\n[[route]]\nmatch = \"a.example\"\nnext_hop = \"discard:\"",
         5, "route[2].match", "never reached: route[1]"},
        {"[[route]]\nmatch = \"*.example\"\nnext_hop = \"discard:\"\n[[route]]\nmatch = \"*.a.example\"\nnext_hop = "
         "\"discard:\"",
         5, "route[2].match", "never reached: route[1]"},
        {"[[domain]]\nname = \"a.example\"\ndeliver = \"maildir:/m\"\n[[route]]\nmatch = \"a.example\"\nnext_hop = "
         "\"discard:\"",
         5, "route[1].match", "never used"},
        {"[[route]]\nmatch = \"*\"\nname = \"x\"\nsenders = [\"@a.example\"]\nnext_hop = \"discard:\"\n"
         "[[route]]\nmatch = \"b.example\"\nname = \"y\"\nsenders = [\"@a.example\"]\nnext_hop = \"discard:\"",
         7, "route[2].match", "never reached: route[1]"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"smtp:a.example\"\ntls = \"none\"\nuser = \"a\"\n"
         "password_file = \"/proc/self/personality\"",
         4, "route[1].tls", "by SCRAM alone"},
        {"[[route]]\nmatch = \"*\"\nnext_hop = \"smtp:a.example\"\nuser = \"a\"\npassword_file = \"/proc/version\"", 5,
         "route[1].password_file", "is open to everybody"},
        {"[delivery]\nconcurrency = 20\nconnections = 10", 2, "delivery.concurrency", "more than delivery.connections"},
        {"[[delivery.limits]]\nsources = [\"192.0.2.1\"]\nrate = \"5/1s\"", 2, "delivery.limits[1].sources[1]",
         "from which no mail leaves"},
        {"[queue]\ndelay_over = true\ndelay_warning = \"0s\"", 2, "queue.delay_over", "nobody is told of a delay"},
        {"[queue]\ndelay_warning = \"5d\"", 2, "queue.delay_warning", "no warning would be sent"},
        {"[limits]\nmessage_size = 5000", 2, "limits.message_size", "4.5.3.1.7"},
        {"[limits]\nrecipients = 50", 2, "limits.recipients", "4.5.3.1.8"},
        {"[limits]\nconnections = 10\nconnections_per_client = 20", 3, "limits.connections_per_client", "in all"},
        {"[admin]\nlisten = \"192.0.2.1:8025\"", 2, "admin.listen", "whoever can connect"},
        {"[[listener]]\naddress = \"127.0.0.1:587\"\nrole = \"submission\"", 3, "listener[2].role",
         "nobody may send here"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.text);
      Loaded loaded = load_end(row.text);
      CAPTURE(all_text(loaded.errors));
      CHECK(loaded.errors.empty());
      // What is missed as a whole has no line of its own.
      bool whole = row.key == "postmaster";
      if (!whole) check(row, loaded.warnings, row.line + 3);
      if (whole) CHECK(all_text(loaded.warnings).find(row.part) != std::string::npos);
    }
  }

  TEST_CASE("settings that are risky only elsewhere give no warning") {
    const std::string rows[] = {
        "",
        "[delivery]\ntls = \"opportunistic\"",
        "[delivery]\ntls = \"none\"",
        "[delivery]\nconnections = 10",
        "[limits]\nconnections = 10",
        "[queue]\nexpire = \"2h\"",
        "[queue]\nretry = [\"1s\"]\nexpire = \"10s\"\nbounce_expire = \"5s\"",
        "[relay]\nnetworks = [\"10.0.0.0/8\", \"127.0.0.0/8\", \"172.16.0.0/12\", \"192.168.0.0/16\", \"fc00::/7\", "
        "\"fe80::/10\"]",
        "[relay]\nnetworks = [\"203.0.113.0/24\", \"2001:db8::/32\", \"44.0.0.0/9\"]",
        "[[route]]\nmatch = \"*.a.example\"\nnext_hop = \"discard:\"\n[[route]]\nmatch = \"a.example\"\nnext_hop = "
        "\"discard:\"",
        "[[route]]\nmatch = \"a.example\"\nnext_hop = \"discard:\"\n[[route]]\nmatch = \"*\"\nnext_hop = "
        "\"smtp:[127.0.0.1]\"",
        "[[listener]]\naddress = \"[::1]:2525\"",
        "[auth]\nrequire_tls = false",
    };
    for (const std::string& row : rows) {
      CAPTURE(row);
      Loaded loaded = load_end(row);
      CHECK(all_text(loaded.errors).empty());
      CHECK(all_text(loaded.warnings).empty());
    }
  }

  TEST_CASE("networks that are the Internet in pieces make an open relay") {
    std::string networks;
    for (int i = 16; i < 56; ++i) networks += "\"" + std::to_string(i) + ".0.0.0/9\", ";
    Loaded loaded = load_end("[relay]\nnetworks = [" + networks + "]");
    REQUIRE(loaded.errors.size() == 1);
    CHECK(loaded.errors[0].key == "relay.networks");
    CHECK(loaded.errors[0].line == 5);
    CHECK(loaded.errors[0].message.find("together they make an open relay") == 0);
  }

  TEST_CASE("without a listener there is nothing to start") {
    Loaded loaded = load_text(kHostname, "t.toml");
    REQUIRE(loaded.errors.size() == 1);
    CHECK(loaded.errors[0].text().starts_with("t.toml: listener: there is no [[listener]]"));
  }

  TEST_CASE("all mistakes of a file are reported, in its order") {
    Loaded loaded = load_text(
        "hostnam = \"relay.example.net\"\n"
        "hostname = \"relay.example.net\"\n"
        "threads = \"four\"\n"
        "[[listener]]\n"
        "address = \"127.0.0.1\"\n"
        "role = \"mxx\"\n"
        "prot = 25\n"
        "[[listener]]\n"
        "[relay]\n"
        "networks = [\"10.0.0.1/8\", 7, \"0.0.0.0/0\"]\n"
        "domains = [\"*\", \".a.example\"]\n"
        "[queue]\n"
        "retry = [\"5\", \"x\"]\n"
        "expire = 5\n"
        "[quue]\n",
        "t.toml");
    std::vector<std::string> keys;
    for (const Finding& error : loaded.errors) keys.push_back(error.key);
    const std::vector<std::string> want = {"hostnam",           "threads",           "listener[1].address",
                                           "listener[1].role",  "listener[1].prot",  "listener[2].address",
                                           "relay.networks[1]", "relay.networks[2]", "relay.networks[3]",
                                           "relay.domains[1]",  "relay.domains[2]",  "queue.retry[1]",
                                           "queue.retry[2]",    "queue.expire",      "quue"};
    CHECK_MESSAGE(keys == want, all_text(loaded.errors));
  }

  TEST_CASE("starttls is the default with a certificate, be it of [[tls.certificates]] alone") {
    for (const char* section : {"[tls]", "[[tls.certificates]]"}) {
      Loaded loaded = load_end(std::string(section) + "\ncertificate = \"/c\"\nkey = \"/k\"");
      CHECK(loaded.errors.empty());
      CHECK(loaded.warnings.empty());
      CHECK(loaded.config.listeners[0].tls == ListenerTls::starttls);
    }
  }

  TEST_CASE("a finding's text names place, key, mistake and remedy") {
    Finding finding{"waypost.toml", 12, 3, "listener[1].rolle", "unknown key", "did you mean \"role\"?"};
    CHECK(finding.text() == "waypost.toml:12:3: listener[1].rolle: unknown key (did you mean \"role\"?)");
    finding.hint.clear();
    finding.line = 0;
    CHECK(finding.text() == "waypost.toml: listener[1].rolle: unknown key");
    finding.key.clear();
    CHECK(finding.text() == "waypost.toml: unknown key");
  }
}
