#include "net/tls.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/temporary_folder.h"
#include "tests/support/test_certificate.h"

using namespace waypost;
using net::TlsIdentity;
using tests::CertificateOptions;
using tests::make_certificate;
using tests::make_identity;
using tests::write_file;

namespace {

struct Files {
  explicit Files(const CertificateOptions& options = CertificateOptions()) : made(make_certificate(options)) {
    write_file(certificate, made.certificate);
    write_file(key, made.key);
  }
  Result<std::shared_ptr<const TlsIdentity>> load() const { return TlsIdentity::load(certificate, key); }
  Error error() const {
    Result<std::shared_ptr<const TlsIdentity>> loaded = load();
    REQUIRE_FALSE(loaded);
    return loaded.error();
  }
  tests::TemporaryFolder folder;
  std::string certificate = folder.path() + "/cert.pem";
  std::string key = folder.path() + "/key.pem";
  tests::TestCertificate made;
};

bool says(const Error& error, const std::string& words) {
  INFO(error.what);
  return error.what.find(words) != std::string::npos;
}

}  // namespace

TEST_SUITE("net/tls") {
  TEST_CASE("a certificate says its names and its time") {
    CertificateOptions options({"Mail.B.example", "*.b.example"});
    Files files(options);
    Result<std::shared_ptr<const TlsIdentity>> identity = files.load();
    REQUIRE(identity);
    CHECK((*identity)->certificate().names == std::vector<std::string>{"mail.b.example", "*.b.example"});
    auto now = std::chrono::time_point_cast<net::Duration>(std::chrono::system_clock::now());
    CHECK((*identity)->certificate().subject == "CN=relay.example");
    CHECK((*identity)->certificate().sha256.size() == 64);
    CHECK((*identity)->certificate().spki_sha256.size() == 64);
    CHECK((*identity)->certificate().not_before < now);
    CHECK((*identity)->certificate().not_after > now + std::chrono::hours(24 * 89));
    CHECK((*identity)->certificate().not_after < now + std::chrono::hours(24 * 91));
  }

  TEST_CASE("without alternative names the common name counts; with them it does not") {
    CertificateOptions options;
    options.names.clear();
    CHECK(make_identity(options)->certificate().names == std::vector<std::string>{"relay.example"});
    options.names = {"other.example"};
    CHECK(make_identity(options)->certificate().names == std::vector<std::string>{"other.example"});
  }

  TEST_CASE("covers: any case; a wildcard for one label [RFC 6125 6.4.3]") {
    auto identity = make_identity(CertificateOptions({"a.example", "*.b.example"}));
    const std::pair<const char*, bool> table[] = {
        {"a.example", true},  {"A.Example", true},   {"x.b.example", true},    {"X.B.EXAMPLE", true},
        {"b.example", false}, {".b.example", false}, {"x.y.b.example", false}, {"c.example", false},
        {"", false},          {"example", false},
    };
    for (const auto& [host, want] : table) {
      CAPTURE(host);
      CHECK(identity->certificate().covers(host) == want);
    }
  }

  TEST_CASE("a chain is whole: each issuer behind whom it vouches for, up to one that is known") {
    const auto made = [](const char* name, const tests::TestCertificate* issuer) {
      CertificateOptions options({name});
      options.common_name = name;
      options.authority = std::string(name) != "relay.example";
      options.issuer = issuer;
      return tests::make_certificate(options);
    };
    const tests::TestCertificate root = made("root", nullptr), between = made("between", &root);
    const tests::TestCertificate leaf = made("relay.example", &between), other = made("other", nullptr);
    const std::string l = leaf.certificate, b = between.certificate, r = root.certificate, o = other.certificate;
    const char* missing = "is missing in it";
    const struct {
      std::string file, roots;
      const char* trouble;
    } table[] = {
        {l + b, r, ""},
        {l + b + r, r, ""},
        {l + b + r, o, ""},  // a root of one's own
        {r, o, ""},
        {l, r, missing},
        {l + b, o, "the certificate of \"CN=root\" is missing in it, and is no root that is known here"},
        {l + r + b, r, "number 2, \"CN=root\", is not that of the issuer of the one before, \"CN=relay.example\""},
        {l + b + o, r, "number 3, \"CN=other\", is not"},
        {l + o, r, "number 2, \"CN=other\", is not"},
    };
    tests::TemporaryFolder folder;
    for (const auto& row : table) {
      tests::write_file(folder.path() + "/chain.pem", row.file);
      tests::write_file(folder.path() + "/roots.pem", row.roots);
      const Result<net::TlsChain> chain =
          net::TlsChain::read(folder.path() + "/chain.pem", folder.path() + "/roots.pem");
      REQUIRE(chain);
      INFO(chain->trouble);
      CHECK(chain->trouble.empty() == std::string(row.trouble).empty());
      CHECK(chain->trouble.find(row.trouble) != std::string::npos);
    }
    tests::write_file(folder.path() + "/chain.pem", "nothing");
    CHECK(net::TlsChain::read(folder.path() + "/chain.pem", "").error().code == Errc::invalid);
  }

  TEST_CASE("errors name the file and say what to do") {
    Files files;
    SUBCASE("no certificate file") {
      ::unlink(files.certificate.c_str());
      CHECK(files.error().code == Errc::not_found);
      CHECK(says(files.error(), "cert.pem\" cannot be read: No such file"));
    }
    SUBCASE("no key file") {
      ::unlink(files.key.c_str());
      CHECK(files.error().code == Errc::not_found);
      CHECK(says(files.error(), "key.pem\" cannot be read: No such file"));
    }
    SUBCASE("a folder") {
      ::unlink(files.key.c_str());
      ::mkdir(files.key.c_str(), 0700);
      CHECK(files.error().code == Errc::io);
    }
    SUBCASE("not readable") {
      ::chmod(files.key.c_str(), 0);
      if (::geteuid() != 0) CHECK(files.error().code == Errc::denied);
    }
    SUBCASE("empty") {
      write_file(files.certificate, "");
      CHECK(files.error().code == Errc::invalid);
      CHECK(says(files.error(), "holds no certificate in PEM form"));
    }
    SUBCASE("the key where the certificate belongs") {
      write_file(files.certificate, files.made.key);
      CHECK(says(files.error(), "cert.pem\" holds no certificate in PEM form"));
    }
    SUBCASE("the certificate where the key belongs") {
      write_file(files.key, files.made.certificate);
      CHECK(says(files.error(), "key.pem\" holds no private key in PEM form"));
    }
    SUBCASE("a damaged certificate") {
      std::string text = files.made.certificate;
      text.replace(100, 20, "AAAAAAAAAAAAAAAAAAAA");
      write_file(files.certificate, text);
      CHECK(says(files.error(), "cert.pem\" holds a damaged certificate"));
    }
    SUBCASE("a chain that breaks off") {
      write_file(files.certificate, files.made.certificate + files.made.certificate.substr(0, 300));
      CHECK(says(files.error(), "cert.pem\" holds a damaged certificate"));
    }
    SUBCASE("a damaged key") {
      std::string text = files.made.key;
      text.replace(60, 20, "AAAAAAAAAAAAAAAAAAAA");
      write_file(files.key, text);
      CHECK(says(files.error(), "key.pem\" holds a damaged key"));
    }
    SUBCASE("a key with a passphrase") {
      std::string text = files.made.key;
      text.insert(text.find('\n') + 1,
                  "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n");
      write_file(files.key, text);
      CHECK(says(files.error(), "key.pem\" has a passphrase"));
      CHECK(files.error().code == Errc::invalid);
    }
    SUBCASE("another's key") {
      write_file(files.key, make_certificate().key);
      CHECK(files.error().code == Errc::invalid);
      CHECK(says(files.error(), "is not that of the first certificate in"));
    }
    SUBCASE("too large") {
      write_file(files.certificate, std::string(2 << 20, 'x'));
      CHECK(files.error().code == Errc::too_big);
    }
  }

  TEST_CASE("one file may hold both, and text between; an expired certificate is read") {
    Files files;
    write_file(files.certificate, "subject: x\n" + files.made.key + "more\n" + files.made.certificate);
    CHECK(TlsIdentity::load(files.certificate, files.certificate));
    CertificateOptions expired;
    expired.from = -std::chrono::hours(48);
    expired.until = -std::chrono::hours(24);
    CHECK(make_identity(expired));
  }

  TEST_CASE("a server needs a certificate; roots that cannot be read are an error") {
    CHECK_FALSE(net::TlsServer::make({}, {}));
    net::TlsServerOptions options;
    options.ask_for_certificate = true;
    options.ca = "/nonexistent/roots.pem";
    Result<std::shared_ptr<const net::TlsServer>> server = net::TlsServer::make({make_identity()}, options);
    REQUIRE_FALSE(server);
    CHECK(says(server.error(), "\"/nonexistent/roots.pem\" cannot be read"));
    net::TlsClientOptions client;
    client.ca = "/nonexistent/roots.pem";
    CHECK_FALSE(net::TlsClient::make(client));
  }
}
