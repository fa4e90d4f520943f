#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "conf/load.h"

using namespace waypost::conf;

namespace {

const std::string kSample = "conf/waypost.toml";
const std::string kPage = "man/waypost.toml.5";

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(path);
  REQUIRE_MESSAGE(file.good(), path << " (the tests run in the source's root)");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::string texts(const std::vector<Finding>& findings) {
  std::string all;
  for (const Finding& finding : findings) all += finding.text() + "\n";
  return all;
}

/// The sample with what is commented out put in force: "#key = value" and "#[[section]]", but not "# prose".
std::string sample_in_force() {
  std::string text;
  for (const std::string& line : lines_of(kSample)) {
    bool off = line.size() > 1 && line[0] == '#' && line[1] != ' ';
    const bool include = line.starts_with("include");  // of a file alone
    // A file that is there.
    const bool secret = line.starts_with("#password_file");
    text += (include ? "" : secret ? "password_file = \"/proc/self/personality\"" : off ? line.substr(1) : line) + "\n";
  }
  return text;
}

/// The keys that the sample shows, in force or not: "listener.role".
std::set<std::string> sample_keys() {
  std::set<std::string> keys;
  std::string section;
  for (std::string line : lines_of(kSample)) {
    if (line.starts_with("#") && !line.starts_with("# ")) line.erase(0, 1);
    if (line.starts_with("#")) continue;
    if (line.starts_with("[")) {
      section = line.substr(0, line.find(']'));
      section.erase(0, section.find_first_not_of('['));
      section += ".";
    } else if (line.find(" = ") != std::string::npos) {
      keys.insert(section + line.substr(0, line.find(" = ")));
    }
  }
  return keys;
}

/// The keys that the manual page describes: under `.Ss [section]` or `.Ss [[section]]`, each `.It Ic key`.
std::set<std::string> page_keys() {
  std::set<std::string> keys;
  std::string section;
  for (const std::string& line : lines_of(kPage)) {
    if (line.starts_with(".Sh ")) section.clear();
    if (line.starts_with(".Ss [")) {
      section = line.substr(0, line.find(']')).substr(4);
      section.erase(0, section.find_first_not_of('['));
      section += ".";
    }
    if (!line.starts_with(".It Ic ")) continue;
    std::istringstream words(line.substr(7));
    std::string key;
    words >> key;
    keys.insert(section + key);
  }
  return keys;
}

}  // namespace

TEST_SUITE("conf/sample") {
  TEST_CASE("the sample loads as it stands, and changes no default but what a file must name") {
    Loaded loaded = load(kSample);
    CHECK(texts(loaded.errors).empty());
    Config want;
    want.file = kSample;
    want.files = {"conf/conf.d/"};
    want.hostname = loaded.config.hostname;
    want.listeners = loaded.config.listeners;
    want.relay.networks = loaded.config.relay.networks;
    CHECK(loaded.config == want);
    REQUIRE(loaded.config.listeners.size() == 1);
    CHECK(loaded.config.listeners[0] == Listener{{"127.0.0.1", 25}, Role::mx, ListenerTls::none, false});
    REQUIRE(loaded.config.relay.networks.size() == 2);
    CHECK(loaded.config.relay.networks[0].text() == "127.0.0.0/8");
    CHECK(loaded.config.relay.networks[1].text() == "::1/128");
    // Only the machine's own name may give reason to a warning.
    for (const Finding& warning : loaded.warnings) CHECK(warning.key == "hostname");
  }

  TEST_CASE("what the sample shows commented out loads too, and is the default where there is one") {
    Loaded loaded = load_text(sample_in_force(), "sample");
    CHECK(texts(loaded.errors).empty());
    Config got = loaded.config;
    CHECK(got.hostname == "relay.example.net");
    CHECK(got.tls.certificates.size() == 1);
    CHECK(got.relay.domains.size() == 1);
    CHECK(got.clients.size() == 1);
    CHECK(got.checks.lists.size() == 1);
    CHECK(got.delivery.limits.size() == 3);
    CHECK(got.domains.size() == 2);
    CHECK(got.routes.size() == 1);
    CHECK(got.postmaster == "postmaster@example.com");
    CHECK(got.listeners[0].role == Role::mx);
    Config want;
    want.file = "sample";
    want.hostname = got.hostname;
    want.postmaster = got.postmaster;
    want.listeners = got.listeners;
    want.tls = got.tls;
    want.relay = got.relay;
    want.clients = got.clients;
    want.checks.lists = got.checks.lists;
    want.delivery.limits = got.delivery.limits;
    want.domains = got.domains;
    want.routes = got.routes;
    CHECK(got == want);
    CHECK(got.tls.ca.empty());
    CHECK_FALSE(got.relay.open);
    CHECK_FALSE(got.listeners[0].reject_bare_newline);
  }

  TEST_CASE("the sample shows every key and none that does not exist") {
    std::vector<std::string> keys = all_keys();
    std::set<std::string> want(keys.begin(), keys.end());
    std::set<std::string> got = sample_keys();
    for (const std::string& key : want) CHECK_MESSAGE(got.contains(key), key << " is missing in " << kSample);
    for (const std::string& key : got)
      CHECK_MESSAGE(want.contains(key), key << " is in " << kSample << " and does not exist");
  }

  TEST_CASE("waypost.toml(5) describes every key and none that does not exist") {
    std::vector<std::string> keys = all_keys();
    std::set<std::string> want(keys.begin(), keys.end());
    std::set<std::string> got = page_keys();
    for (const std::string& key : want) CHECK_MESSAGE(got.contains(key), key << " is missing in " << kPage);
    for (const std::string& key : got)
      CHECK_MESSAGE(want.contains(key), key << " is in " << kPage << " and does not exist");
  }
}
