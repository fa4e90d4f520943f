#include "mta/client_class.h"

#include <string>
#include <string_view>

#include <doctest/doctest.h>

#include "conf/load.h"
#include "smtp/command.h"
#include "tests/support/harness.h"

namespace waypost::mta {
namespace {

const std::string kKey = "sha256:" + std::string(64, 'a');

/// Printers by network, a branch office by certificate, staff by login, and a listener.
conf::Config four_classes() {
  conf::Loaded loaded = conf::load_text(R"(
hostname = "relay.example"
user = ""
[[listener]]
address = "127.0.0.1:25"
[[listener]]
address = "127.0.0.1:587"
role = "submission"
[relay]
networks = ["192.0.2.0/24"]
[[domain]]
name = "b.example"
deliver = "maildir:/m/{local}"

[[client]]
name = "printers"
networks = ["192.0.2.128/25", "2001:db8:1::/48"]
relay = false
sender = "printers@b.example"
message_size = "2MiB"
recipients = 5
message_rate = "2/1d"

[[client]]
name = "branch"
certificates = [")" + kKey + R"(", "branch.example"]
login = "branch"
relay = true
senders = ["@branch.example", "<>"]

[[client]]
name = "staff"
logins = ["*@b.example", "root"]
listeners = ["127.0.0.1:587"]
require_tls = true
recipient_rate = "3/1h"
hide_client = true

[[client]]
name = "rest"
listeners = ["127.0.0.1:587"]
relay = false
)",
                                        "t.toml");
  CAPTURE(loaded.errors.empty() ? "" : loaded.errors[0].text());
  REQUIRE(loaded.errors.empty());
  return loaded.config;
}

struct Who {
  const char* address = "198.51.100.7";
  const char* login = "";
  std::vector<std::string> certificates;
  std::size_t listener = 0;
  bool tls = false;
};

Client client(const conf::Config& config, const Who& who) {
  Client out;
  out.address = who.address;
  out.local = "203.0.113.25";
  out.trusted = is_trusted(config, who.address);
  out.login = who.login;
  out.certificates = who.certificates;
  out.is_private = who.tls;
  out.client_class = class_of(config, out, config.listeners[who.listener]);
  return out;
}

std::string class_name(const conf::Config& config, const Who& who) {
  const conf::ClientClass* of = client(config, who).client_class;
  return of == nullptr ? "" : of->name;
}

std::string said(const smtp::Reply& reply) {
  return std::to_string(reply.code) + " " + (reply.enhanced ? reply.enhanced->text() : "");
}

std::string send(const conf::Config& config, const Who& who, std::string_view from) {
  const auto command = smtp::parse_command("MAIL FROM:" + std::string(from), smtp::CommandRules());
  REQUIRE(command);
  const auto decision = admit_sender(config, client(config, who), config.listeners[who.listener].role,
                                     std::get<smtp::Mail>(*command).reverse_path, smtp::MailParameters());
  return decision ? decision->bracketed() : said(decision.error());
}

std::string write_to(const conf::Config& config, const Who& who, std::string_view to) {
  const auto command = smtp::parse_command("RCPT TO:" + std::string(to), smtp::CommandRules());
  REQUIRE(command);
  const auto decision = admit_recipient(config, client(config, who), config.listeners[who.listener].role,
                                        std::get<smtp::Rcpt>(*command).forward_path);
  return decision ? "ok" : said(decision.error());
}

}  // namespace

TEST_SUITE("mta/client_class") {
  TEST_CASE("the first class whose conditions all hold") {
    const conf::Config config = four_classes();
    CHECK(class_name(config, {}) == "");
    CHECK(class_name(config, {"192.0.2.1"}) == "");
    CHECK(class_name(config, {"192.0.2.200"}) == "printers");
    CHECK(class_name(config, {"2001:db8:1::9"}) == "printers");
    CHECK(class_name(config, {"192.0.2.200", "root", {}, 1}) == "printers");
    CHECK(class_name(config, {"198.51.100.7", "", {kKey}}) == "branch");
    CHECK(class_name(config, {"198.51.100.7", "", {"sha256:00", "branch.example"}}) == "branch");
    CHECK(class_name(config, {"198.51.100.7", "", {"sha256:00", "other.example"}}) == "");
    CHECK(class_name(config, {"198.51.100.7", "Ann@B.example", {}, 1}) == "staff");
    CHECK(class_name(config, {"198.51.100.7", "ROOT", {}, 1}) == "staff");
    CHECK(class_name(config, {"198.51.100.7", "ann@b.example", {}, 0}) == "");
    CHECK(class_name(config, {"198.51.100.7", "ann@c.example", {}, 1}) == "rest");
    CHECK(class_name(config, {"198.51.100.7", "", {}, 1}) == "rest");
  }

  TEST_CASE("EXTERNAL logs in as the class of the certificate says") {
    const conf::Config config = four_classes();
    CHECK(external_login(config, client(config, {"198.51.100.7", "", {kKey}}), config.listeners[0]) == "branch");
    CHECK(external_login(config, client(config, {"198.51.100.7", "", {"sha256:00"}}), config.listeners[0]) == "");
    CHECK(external_login(config, client(config, {}), config.listeners[0]) == "");
  }

  TEST_CASE("a certificate's names count only where a root vouches for it") {
    net::TlsPeer peer;
    peer.spki_sha256 = std::string(64, 'a');
    peer.names = {"branch.example"};
    CHECK(certificate_marks(peer) == std::vector<std::string>{kKey});
    peer.verified = true;
    CHECK(certificate_marks(peer) == std::vector<std::string>{kKey, "branch.example"});
  }

  TEST_CASE("senders: one for all, some, and none without TLS") {
    const conf::Config config = four_classes();
    const Who printer{"192.0.2.200"};
    const Who branch{"198.51.100.7", "", {kKey}};
    CHECK(send(config, printer, "<root@localhost.example>") == "<printers@b.example>");
    CHECK(send(config, printer, "<>") == "<>");
    CHECK(send(config, branch, "<ann@branch.example>") == "<ann@branch.example>");
    CHECK(send(config, branch, "<>") == "<>");
    CHECK(send(config, branch, "<ann@b.example>") == "553 5.7.1");
    CHECK(send(config, {"198.51.100.7", "root", {}, 1}, "<root@b.example>") == "530 5.7.0");
    CHECK(send(config, {"198.51.100.7", "root", {}, 1, true}, "<root@b.example>") == "<root@b.example>");
    CHECK(send(config, {"198.51.100.7", "", {}, 1}, "<root@b.example>") == "530 5.7.0");
    CHECK(send(config, {}, "<x@y.example>") == "<x@y.example>");
  }

  TEST_CASE("recipients: relay is as the class says, and as before where it says nothing") {
    const conf::Config config = four_classes();
    CHECK(write_to(config, {"192.0.2.1"}, "<x@elsewhere.example>") == "ok");
    CHECK(write_to(config, {"192.0.2.200"}, "<x@elsewhere.example>") == "554 5.7.1");
    CHECK(write_to(config, {"192.0.2.200"}, "<x@b.example>") == "ok");
    CHECK(write_to(config, {"198.51.100.7", "", {kKey}}, "<x@elsewhere.example>") == "ok");
    CHECK(write_to(config, {"198.51.100.7", "root", {}, 1, true}, "<x@elsewhere.example>") == "ok");
    CHECK(write_to(config, {"198.51.100.7", "x@c.example", {}, 1}, "<x@elsewhere.example>") == "554 5.7.1");
    CHECK(write_to(config, {"198.51.100.7", "x@c.example", {}, 1}, "<x@b.example>") == "ok");
    CHECK(write_to(config, {"198.51.100.7", "", {}, 1}, "<x@b.example>") == "530 5.7.0");
    conf::Config open = config;
    open.relay.open = true;
    CHECK(write_to(open, {}, "<x@elsewhere.example>") == "ok");
    CHECK(write_to(open, {"192.0.2.200"}, "<x@elsewhere.example>") == "554 5.7.1");
  }

  TEST_CASE("limits of a class, and whose rates are counted together") {
    const conf::Config config = four_classes();
    CHECK(message_size(config, client(config, {"192.0.2.200"})) == 2 * 1024 * 1024);
    CHECK(message_size(config, client(config, {})) == config.limits.message_size);
    CHECK(most_recipients(config, client(config, {"192.0.2.200"})) == 5);
    CHECK(most_recipients(config, client(config, {})) == 1000);
    conf::ClientClass of;
    CHECK(rate_key(of, client(config, {"192.0.2.200"})) == "192.0.2.200");
    CHECK(rate_key(of, client(config, {"2001:db8:1:2:3::9"})) == "2001:db8:1:2::/64");
    CHECK(rate_key(of, client(config, {"192.0.2.200", "Ann"})) == "ann");
    of.rate_together = true;
    CHECK(rate_key(of, client(config, {"192.0.2.200", "Ann"})) == "");
  }
}

}  // namespace waypost::mta
