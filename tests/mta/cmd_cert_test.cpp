#include "mta/cmd_cert.h"

#include <string>

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "tests/mta/terminal.h"
#include "tests/support/temporary_folder.h"
#include "tests/support/test_certificate.h"

namespace waypost::mta {
namespace {

/// A configuration with one certificate, which the daemon has, before a clock of today.
struct Certified : Terminal {
  Certified() {
    console.now = [] { return std::chrono::time_point_cast<net::Duration>(std::chrono::system_clock::now()); };
    file = folder.path() + "/waypost.toml";
    tests::write_file(
        file, "hostname = \"relay.example\"\ndata_dir = \"" + folder.path() +
                  "\"\n[[listener]]\naddress = \"127.0.0.1:2525\"\nrole = \"mx\"\n[tls]\ncertificate = \"" + pem +
                  "\"\nkey = \"" + key + "\"\n");
    backend.used_certificates = backend.reloaded_certificates = {renew()};
  }
  /// Another certificate in the files.
  ReadCertificate renew(const tests::CertificateOptions& options = tests::CertificateOptions()) {
    const tests::TestCertificate made = tests::make_certificate(options);
    tests::write_file(pem, made.certificate);
    tests::write_file(key, made.key);
    ::chmod(key.c_str(), 0640);
    const Result<net::TlsChain> chain = net::TlsChain::read(pem, "");
    REQUIRE(chain);
    return {{"tls", pem, key}, chain->certificate};
  }
  tests::TemporaryFolder folder;
  std::string pem = folder.path() + "/cert.pem", key = folder.path() + "/key.pem";
};

}  // namespace

TEST_SUITE("cmd_cert") {
  TEST_CASE("list: what the file has, and whether the daemon has it too") {
    Certified t;
    CHECK(t.run({"cert", "list"}) == 0);
    CHECK(t.out.str().starts_with("tls\n  file         " + t.pem + "\n"));
    CHECK(t.said("  names        relay.example\n"));
    CHECK(t.said(" (89 days)\n"));
    CHECK(t.said("  public key   SHA256:" + t.backend.used_certificates[0].certificate.spki_sha256 + "\n"));
    CHECK(t.said("  in force     yes\n"));
    t.renew();
    CHECK(t.run({"cert", "list"}) == 0);
    CHECK(t.said("in force     no: the daemon has SHA256:" + t.backend.used_certificates[0].certificate.sha256));
    CHECK(t.run({"cert", "list", "--json"}) == 0);
    const Json json = Json::parse(t.out.str());
    CHECK(json["key"] == "tls");
    CHECK(json["days_left"] == 89);
    CHECK(json["in_force"]["sha256"] == t.backend.used_certificates[0].certificate.sha256);
    CHECK(json["sha256"] != json["in_force"]["sha256"]);
    t.backend.used_certificates.clear();
    CHECK(t.run({"cert", "list"}) == 0);
    CHECK(t.said("in force     no: the daemon has none"));
  }

  TEST_CASE("list: without a daemon, without a file, without a certificate") {
    Certified t;
    t.away = Error{Errc::refused, "no daemon"};
    CHECK(t.run({"cert", "list"}) == 0);
    CHECK(t.complained("no daemon; the files alone are shown"));
    CHECK(t.said("in force     not known"));
    CHECK(t.run({"cert", "list", "--json"}) == 0);
    CHECK(!Json::parse(t.out.str()).contains("in_force"));
    tests::write_file(t.pem, "nonsense");
    CHECK(t.run({"cert", "list"}) == 0);
    CHECK(t.said("trouble   \"" + t.pem + "\" holds no certificate"));
    tests::write_file(t.file,
                      "hostname = \"relay.example\"\n[[listener]]\naddress = \"127.0.0.1:2525\"\nrole = \"mx\"\n");
    CHECK(t.run({"cert", "list"}) == 1);
    CHECK(t.run({"cert", "check"}) == 1);
    CHECK(t.said("no certificate is configured"));
    tests::write_file(t.file, "hostnam = \"relay.example\"\n");
    CHECK(t.run({"cert", "list"}) == 78);
    CHECK(t.run({"cert", "check"}) == 78);
  }

  TEST_CASE("check: fine ones are said to be, others end with 1") {
    Certified t;
    CHECK(t.run({"cert", "check"}) == 0);
    CHECK(t.out.str().starts_with("ok: tls: relay.example, until "));
    tests::CertificateOptions options({"other.example"});
    options.until = std::chrono::hours(24 * 13 + 1);
    t.renew(options);
    CHECK(t.run({"cert", "check"}) == 1);
    CHECK(t.said(" expires on "));
    CHECK(t.said("no certificate is for the hostname, \"relay.example\""));
    CHECK(!t.said("ok:"));
    CHECK(t.run({"cert", "check", "--json"}) == 1);
    const Json json = Json::parse(t.out.str());
    CHECK(json["certificates"][0]["ok"] == false);
    CHECK(json["certificates"][0]["days_left"] == 13);
    CHECK(json["findings"].size() == 2);
  }

  TEST_CASE("reload: which have changed") {
    Certified t;
    CHECK(t.run({"cert", "reload"}) == 0);
    CHECK(t.said("tls: the same: SHA256:"));
    const std::string before = t.backend.used_certificates[0].certificate.sha256;
    t.backend.reloaded_certificates = {t.renew()};
    CHECK(t.run({"cert", "reload", "--json"}) == 0);
    const Json change = Json::parse(t.out.str())["certificates"][0];
    CHECK(change["before"] == before);
    CHECK(change["sha256"] == t.backend.used_certificates[0].certificate.sha256);
    CHECK(change["changed"] == true);
    t.backend.reloaded_certificates = {t.renew()};
    t.backend.reloaded_certificates[0].files.key = "tls.certificates[1]";
    CHECK(t.run({"cert", "reload"}) == 0);
    CHECK(t.said("tls.certificates[1]: new: SHA256:"));
    CHECK(t.said("\ntls: no longer named\n"));
    t.backend.report.errors.emplace_back().message = "no";
    CHECK(t.run({"cert", "reload"}) == 78);
    t.backend.report.errors.clear();
    t.backend.reloaded_certificates.clear();
    CHECK(t.run({"cert", "reload"}) == 0);
    CHECK(t.run({"cert", "reload"}) == 0);
    CHECK(t.said("no certificate is in force"));
    t.away = Error{Errc::refused, "no daemon"};
    CHECK(t.run({"cert", "reload"}) == 69);
  }
}

}  // namespace waypost::mta
