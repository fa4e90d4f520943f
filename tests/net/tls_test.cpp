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
    CHECK((*identity)->names() == std::vector<std::string>{"mail.b.example", "*.b.example"});
    auto now = std::chrono::time_point_cast<net::Duration>(std::chrono::system_clock::now());
    CHECK((*identity)->not_before() < now);
    CHECK((*identity)->not_after() > now + std::chrono::hours(24 * 89));
    CHECK((*identity)->not_after() < now + std::chrono::hours(24 * 91));
  }

  TEST_CASE("without alternative names the common name counts; with them it does not") {
    CertificateOptions options;
    options.names.clear();
    CHECK(make_identity(options)->names() == std::vector<std::string>{"relay.example"});
    options.names = {"other.example"};
    CHECK(make_identity(options)->names() == std::vector<std::string>{"other.example"});
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
      CHECK(identity->covers(host) == want);
    }
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
