#include "delivery/tls_policy.h"

#include <doctest/doctest.h>

using namespace waypost;
using namespace waypost::delivery;
using Level = conf::TlsLevel;
using Verdict = TlsEvidence::Verdict;
using Names = std::vector<std::string>;

namespace {

const std::string kHex(64, 'a');

conf::NextHop smtp(const std::string& host, bool look_up_mx) {
  conf::NextHop hop;
  hop.host.host = host;
  hop.look_up_mx = look_up_mx;
  return hop;
}

TlsPolicy policy_at(Level level, Names names = {}) {
  TlsPolicy policy;
  policy.level = level;
  policy.source = "route 3";
  policy.names = std::move(names);
  if (level == Level::fingerprint) policy.fingerprints = {kHex};
  return policy;
}

net::TlsInfo shown(bool verified, const std::string& key = "b") {
  net::TlsInfo info;
  info.version = "TLSv1.3";
  info.cipher = "TLS_AES_256_GCM_SHA384";
  info.bits = 256;
  info.peer.emplace();
  info.peer->verified = verified;
  if (!verified) info.peer->trouble = "self-signed certificate";
  info.peer->spki_sha256 = key;
  info.peer->names = {"mx.b.example"};
  return info;
}

}  // namespace

TEST_SUITE("delivery/tls_policy") {
  TEST_CASE("who says what is wanted: the domain's block, else the first route, else delivery.tls") {
    conf::Config config;
    config.delivery.tls = Level::encrypt;
    conf::HopTls verify;
    verify.level = Level::verify;
    verify.names = {"*.mx.example"};
    conf::HopTls key;
    key.level = Level::fingerprint;
    key.fingerprints = {"sha256:" + kHex};
    conf::Domain domain;
    domain.name = "own.example";
    domain.deliver = smtp("10.0.0.6", false);
    domain.tls = key;
    config.domains = {domain};
    config.routes = {{"plain.example", {}, {}}, {"*.b.example", {}, verify}, {"*.example", {}, key}};
    struct Row {
      const char* destination;
      Level level;
      const char* source;
    };
    for (const Row& row :
         {Row{"own.example", Level::fingerprint, "domain own.example"},
          Row{"plain.example", Level::encrypt, "delivery.tls"}, Row{"x.b.example", Level::verify, "route 2"},
          Row{"c.example", Level::fingerprint, "route 3"}, Row{"c.test", Level::encrypt, "delivery.tls"}}) {
      CAPTURE(row.destination);
      const TlsTerms terms = tls_terms(config, row.destination, smtp(row.destination, true));
      CHECK(terms.level == row.level);
      CHECK(terms.source == row.source);
      CHECK(terms.domain.empty());
      CHECK_FALSE(terms.host_is_given);
    }
    CHECK(tls_terms(config, "x.b.example", smtp("relay.test", true)).domain == "relay.test");
    CHECK(tls_terms(config, "x.b.example", smtp("relay.test", false)).host_is_given);
    CHECK(tls_terms(config, "x.b.example", smtp("relay.test", false)).names == Names{"*.mx.example"});
    CHECK(tls_terms(config, "c.example", smtp("c.example", true)).fingerprints == Names{kHex});
  }

  TEST_CASE("names that verify: none that a look-up told") {
    struct Row {
      const char* what;
      Names given;
      const char* domain;  // looked up
      bool host_is_given;
      const char* host;
      Names want;
    };
    const Row rows[] = {
        {"MX of the destination", {}, "", false, "mx.evil.example", {"b.example", ".b.example"}},
        {"MX of a next hop", {}, "relay.example", false, "mx.evil.example", {"relay.example", ".relay.example"}},
        {"a host in brackets", {}, "", true, "mail.c.example", {"mail.c.example"}},
        {"an address in brackets", {}, "", true, "10.0.0.5", {}},
        {"names of the configuration", {"p.example", "*.q.example"}, "", false, "mx", {"p.example", ".q.example"}},
        {"and for an address", {"p.example"}, "", true, "10.0.0.5", {"p.example"}},
    };
    for (const Row& row : rows) {
      CAPTURE(row.what);
      TlsQuestion question;
      question.terms.level = Level::verify;
      question.terms.names = row.given;
      question.terms.domain = row.domain;
      question.terms.host_is_given = row.host_is_given;
      question.destination = "b.example";
      question.host = row.host;
      const TlsPolicy policy = tls_policy(question);
      CHECK(policy.names == row.want);
      CHECK(policy.server_name == (std::string(row.host) == "10.0.0.5" ? "" : row.host));
    }
    TlsQuestion literal;
    literal.terms.level = Level::verify;
    literal.destination = "[192.0.2.1]";
    literal.host = "192.0.2.1";
    CHECK(tls_policy(literal).names.empty());
  }

  TEST_CASE("REQUIRETLS and TLS from the first octet raise what is wanted, and nothing lowers it [RFC 8689]") {
    struct Row {
      Level level;
      bool require_tls, implicit, given_up;
      Level want;
      const char* source;
      bool want_given_up;
    };
    const Row rows[] = {
        {Level::none, false, false, false, Level::none, "route 3", false},
        {Level::none, false, true, false, Level::encrypt, "route 3", false},
        {Level::none, true, false, false, Level::verify, "requiretls", false},
        {Level::opportunistic, false, false, false, Level::opportunistic, "route 3", false},
        {Level::opportunistic, false, false, true, Level::opportunistic, "route 3", true},
        {Level::opportunistic, false, true, true, Level::encrypt, "route 3", false},
        {Level::opportunistic, true, false, true, Level::verify, "requiretls", false},
        {Level::encrypt, false, false, true, Level::encrypt, "route 3", false},
        {Level::encrypt, true, false, false, Level::verify, "requiretls", false},
        {Level::verify, true, true, true, Level::verify, "route 3", false},
        {Level::fingerprint, true, false, true, Level::fingerprint, "route 3", false},
    };
    for (const Row& row : rows) {
      CAPTURE(static_cast<int>(row.level));
      CAPTURE(row.source);
      TlsQuestion question;
      question.terms.level = row.level;
      question.terms.source = "route 3";
      question.terms.implicit = row.implicit;
      question.destination = "b.example";
      question.host = "mx.b.example";
      question.require_tls = row.require_tls;
      question.given_up = row.given_up;
      const TlsPolicy policy = tls_policy(question);
      CHECK(policy.level == row.want);
      CHECK(policy.source == row.source);
      CHECK(policy.given_up == row.want_given_up);
      CHECK(policy.names.empty() == (row.want != Level::verify));
    }
  }

  TEST_CASE("the verdict on what a host has shown, and whether it is enough") {
    const Names names = {"b.example"};
    struct Row {
      Level level;
      Names names;
      net::TlsInfo info;
      Verdict verdict;
      bool enough;
    };
    net::TlsInfo nobody = shown(true);
    nobody.peer.reset();
    const Row rows[] = {
        {Level::opportunistic, {}, shown(true), Verdict::trusted, true},
        {Level::opportunistic, {}, shown(false), Verdict::untrusted, true},
        {Level::opportunistic, {}, nobody, Verdict::untrusted, true},
        {Level::encrypt, {}, shown(true), Verdict::trusted, true},
        {Level::encrypt, {}, shown(false), Verdict::untrusted, true},
        {Level::verify, names, shown(true), Verdict::verified, true},
        {Level::verify, names, shown(false), Verdict::untrusted, false},
        {Level::verify, {}, shown(true), Verdict::untrusted, false},
        {Level::verify, names, nobody, Verdict::untrusted, false},
        {Level::fingerprint, {}, shown(false, kHex), Verdict::fingerprint, true},
        {Level::fingerprint, {}, shown(true, "b"), Verdict::untrusted, false},
        {Level::fingerprint, {}, nobody, Verdict::untrusted, false},
    };
    for (const Row& row : rows) {
      CAPTURE(&row - rows);
      const TlsPolicy policy = policy_at(row.level, row.names);
      const TlsEvidence evidence = judge(policy, row.info);
      CHECK(evidence.verdict == row.verdict);
      CHECK(is_enough(policy, evidence) == row.enough);
    }
    for (const Level level : {Level::none, Level::opportunistic, Level::encrypt, Level::verify, Level::fingerprint}) {
      const TlsPolicy policy = policy_at(level, names);
      CHECK(is_enough(policy, in_clear(policy, "not offered")) == (level <= Level::opportunistic));
    }
  }

  TEST_CASE("a session that was verified for one domain is nothing to another") {
    const TlsEvidence trusted = judge(policy_at(Level::opportunistic), shown(true));
    const TlsEvidence of_b = judge(policy_at(Level::verify, {"b.example"}), shown(true));
    CHECK(is_enough(policy_at(Level::verify, {"b.example"}), of_b));
    CHECK_FALSE(is_enough(policy_at(Level::verify, {"c.example"}), of_b));
    CHECK_FALSE(is_enough(policy_at(Level::verify, {"b.example"}), trusted));
    CHECK(is_enough(policy_at(Level::encrypt), of_b));
    CHECK(is_enough(policy_at(Level::opportunistic), of_b));
  }

  TEST_CASE("sites part where the policy does") {
    TlsTerms terms;
    CHECK(tls_key(terms, "b.example") == "");
    terms.host_is_given = true;
    CHECK(tls_key(terms, "b.example") == ";given");
    terms.host_is_given = false;
    terms.domain = "relay.example";
    CHECK(tls_key(terms, "b.example") == ";of relay.example");
    terms = TlsTerms();
    terms.level = Level::encrypt;
    CHECK(tls_key(terms, "b.example") == ";encrypt by delivery.tls");
    terms.level = Level::verify;
    CHECK(tls_key(terms, "b.example") == ";verify by delivery.tls b.example");
    terms.domain = "relay.example";
    CHECK(tls_key(terms, "b.example") == ";of relay.example;verify by delivery.tls relay.example");
    terms.domain.clear();
    terms.host_is_given = true;
    CHECK(tls_key(terms, "b.example") == ";given;verify by delivery.tls");
    terms.names = {"*.c.example"};
    terms.source = "route 1";
    CHECK(tls_key(terms, "b.example") == ";given;verify by route 1 *.c.example");
    terms.level = Level::fingerprint;
    terms.fingerprints = {kHex};
    terms.implicit = true;
    CHECK(tls_key(terms, "b.example") == ";given;fingerprint by route 1 implicit " + kHex);
  }

  TEST_CASE("evidence is one value of a log line") {
    CHECK(in_clear(TlsPolicy(), "").text() == "");
    CHECK(in_clear(policy_at(Level::opportunistic), "not offered").text() ==
          "none: not offered; opportunistic by route 3");
    CHECK(judge(policy_at(Level::verify, {"b.example"}), shown(true)).text() ==
          "TLSv1.3/TLS_AES_256_GCM_SHA384/256 verified; verify by route 3; for mx.b.example");
    CHECK(judge(policy_at(Level::opportunistic), shown(false)).text() ==
          "TLSv1.3/TLS_AES_256_GCM_SHA384/256 untrusted: self-signed certificate; opportunistic by route 3; for "
          "mx.b.example");
    CHECK(judge(policy_at(Level::fingerprint), shown(false, kHex)).text() ==
          "TLSv1.3/TLS_AES_256_GCM_SHA384/256 fingerprint matched; fingerprint by route 3; for mx.b.example");
    net::TlsInfo many = shown(false);
    many.peer->trouble = "who (really), knows; this";
    many.peer->names.assign(100, std::string(250, 'x'));
    const std::string text = judge(policy_at(Level::encrypt), many).text();
    CHECK(text.size() <= 500);
    CHECK(text.find("untrusted: who  really   knows  this; encrypt by route 3") != std::string::npos);
    CHECK(text.find_first_of(",()") == std::string::npos);
  }
}
