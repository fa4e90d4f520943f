#include "mta/certificates.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/temporary_folder.h"
#include "tests/support/test_certificate.h"

namespace waypost::mta {
namespace {

using tests::CertificateOptions;

net::WallTime now() {
  return std::chrono::time_point_cast<net::Duration>(std::chrono::system_clock::now());
}

struct Folder {
  Folder() {
    config.file = "waypost.toml";
    config.hostname = "relay.example";
  }
  /// Writes a pair and gives the paths.
  conf::Config::Tls::Certificate put(const std::string& name,
                                     const CertificateOptions& options = CertificateOptions()) {
    tests::TestCertificate made = tests::make_certificate(options);
    conf::Config::Tls::Certificate files{folder.path() + "/" + name + ".pem", folder.path() + "/" + name + ".key"};
    tests::write_file(files.certificate, made.certificate);
    tests::write_file(files.key, made.key);
    return files;
  }
  void use(const conf::Config::Tls::Certificate& files) {
    config.tls.certificate = files.certificate;
    config.tls.key = files.key;
  }
  LoadedCertificates load(net::WallTime at = now(), Reader reader = Reader::starting) const {
    return load_certificates(config, at, reader);
  }
  tests::TemporaryFolder folder;
  conf::Config config;
};

}  // namespace

TEST_SUITE("mta/certificates") {
  TEST_CASE("none configured: nothing, and nothing wrong") {
    LoadedCertificates loaded = Folder().load();
    CHECK_FALSE(loaded.certificates);
    CHECK(loaded.errors.empty());
    CHECK(loaded.warnings.empty());
    CHECK(loaded.client);  // mail goes out by TLS all the same
    CertificateHolder holder;
    CHECK_FALSE(holder.client());
    holder.set_client(loaded.client);
    CHECK(holder.client() == loaded.client);
  }

  TEST_CASE("roots that cannot be read are an error, with or without a certificate") {
    for (const bool with : {false, true}) {
      Folder folder;
      if (with) folder.use(folder.put("one"));
      folder.config.tls.ca = "/nonexistent/roots.pem";
      LoadedCertificates loaded = folder.load();
      REQUIRE(loaded.errors.size() == 1);
      CHECK(loaded.errors[0].key == "tls.ca");
      CHECK_FALSE(loaded.certificates);
    }
  }

  TEST_CASE("each role has a server of its own (C5)") {
    Folder folder;
    folder.use(folder.put("one"));
    folder.config.tls.certificates.push_back(folder.put("two", CertificateOptions({"two.example"})));
    LoadedCertificates loaded = folder.load();
    CHECK(loaded.errors.empty());
    CHECK(loaded.warnings.empty());
    REQUIRE(loaded.certificates);
    CHECK(loaded.certificates->mx);
    CHECK(loaded.certificates->submission);
    CHECK(loaded.certificates->mx != loaded.certificates->submission);
    CertificateHolder holder;
    CHECK_FALSE(holder.get(conf::Role::mx));
    holder.set(loaded.certificates);
    CHECK(holder.get(conf::Role::mx) == loaded.certificates->mx);
    CHECK(holder.get(conf::Role::submission) == loaded.certificates->submission);
  }

  TEST_CASE("what is wrong is said of every file, with its key in waypost.toml") {
    Folder folder;
    folder.use(folder.put("one"));
    folder.config.tls.key = "/nonexistent.key";
    folder.config.tls.certificates.push_back(folder.put("two"));
    folder.config.tls.certificates.push_back({"/nonexistent.pem", "/nonexistent.key"});
    folder.config.tls.certificates.push_back(folder.put("four"));
    folder.config.tls.certificates.back().key = folder.config.tls.certificates.front().key;
    LoadedCertificates loaded = folder.load();
    CHECK_FALSE(loaded.certificates);
    REQUIRE(loaded.errors.size() == 3);
    CHECK(loaded.errors[0].text() ==
          "waypost.toml: tls: \"/nonexistent.key\" cannot be read: No such file or directory");
    CHECK(loaded.errors[1].key == "tls.certificates[2]");
    CHECK(loaded.errors[2].key == "tls.certificates[3]");
    CHECK(loaded.errors[2].message.find("is not that of the first certificate") != std::string::npos);
  }

  TEST_CASE("expired, soon expired, not yet valid, and for another name: warnings (F42)") {
    using std::chrono::hours;
    struct {
      hours from, until;
      const char* name;
      const char* want;
    } const table[] = {
        {hours(-24), hours(24 * 90), "relay.example", ""},
        {hours(-24), hours(24 * 15), "*.example", ""},
        {hours(-24), hours(24 * 13), "relay.example", "expires on "},
        {hours(-24 * 9), hours(-24), "relay.example", "has expired on "},
        {hours(24), hours(24 * 90), "relay.example", "is not valid before "},
        {hours(-24), hours(24 * 90), "other.example", "no certificate is for the hostname, \"relay.example\""},
    };
    for (const auto& row : table) {
      CAPTURE(row.want);
      Folder folder;
      CertificateOptions options({row.name});
      options.from = row.from;
      options.until = row.until;
      folder.use(folder.put("one", options));
      LoadedCertificates loaded = folder.load();
      CHECK(loaded.errors.empty());
      CHECK(loaded.certificates);
      bool expected = std::string(row.want).empty();
      REQUIRE(loaded.warnings.size() == (expected ? 0 : 1));
      if (!expected) CHECK(loaded.warnings[0].text().find(row.want) != std::string::npos);
    }
  }

  TEST_CASE("a check also looks at chains and at who may read a key; the daemon's start does not") {
    Folder folder;
    CertificateOptions of_root, options;
    of_root.common_name = "root";
    const tests::TestCertificate root = tests::make_certificate(of_root);
    options.common_name = "leaf";
    options.issuer = &root;
    folder.use(folder.put("one", options));
    tests::write_file(folder.folder.path() + "/other.pem", tests::make_certificate().certificate);
    folder.config.tls.ca = folder.folder.path() + "/other.pem";
    ::chmod(folder.config.tls.key.c_str(), 0640);
    CHECK(folder.load().warnings.empty());
    LoadedCertificates checked = folder.load(now(), Reader::checking);
    REQUIRE(checked.warnings.size() == 1);
    CHECK(checked.warnings[0].message.find("is not whole: the certificate of ") != std::string::npos);
    CHECK(checked.certificates);
    CHECK(checked.certificates->all.at(0).files.key == "tls");
    CHECK(checked.certificates->all.at(0).certificate.subject == "CN=leaf");
    ::chmod(folder.config.tls.key.c_str(), 0644);
    checked = folder.load(now(), Reader::checking);
    REQUIRE(checked.warnings.size() == 2);
    CHECK(checked.warnings[1].hint == "chmod o= " + folder.config.tls.key);
  }

  TEST_CASE("a key that may not be read: advice; for an administrator's check it is a warning") {
    if (::geteuid() == 0) return;  // root reads all
    Folder folder;
    folder.config.user = "waypost";
    folder.use(folder.put("one"));
    ::chmod(folder.config.tls.key.c_str(), 0);
    LoadedCertificates reloading = folder.load(now(), Reader::reloading);
    REQUIRE(reloading.errors.size() == 1);
    CHECK(reloading.errors[0].hint.find("readable for waypost") != std::string::npos);
    CHECK(reloading.errors[0].hint.find("restart waypostd") != std::string::npos);
    LoadedCertificates checking = folder.load(now(), Reader::checking);
    CHECK(checking.errors.empty());
    CHECK(checking.warnings.size() == 1);
    CHECK_FALSE(checking.certificates);
  }
}

}  // namespace waypost::mta
