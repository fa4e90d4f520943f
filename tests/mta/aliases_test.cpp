#include "mta/aliases.h"

#include <doctest/doctest.h>

#include "smtp/address.h"

namespace waypost::mta {
namespace {

conf::Aliases aliases(std::initializer_list<std::pair<std::string, std::vector<std::string>>> rows) {
  conf::Aliases out;
  for (const auto& [local, targets] : rows) {
    for (const std::string& target : targets) {
      const bool final = target.starts_with('\\');
      out[local].push_back({target.substr(final ? 1 : 0), final});
    }
  }
  return out;
}

/// a.example delivers and has a list; v.example is virtual; b.example takes everybody.
conf::Config config() {
  conf::Config out;
  conf::Domain a;
  a.name = "a.example";
  a.deliver = conf::NextHop{};
  a.recipients = {{"ann", "carl", "odd+name"}};
  a.sub_address = "+";
  a.aliases = aliases({{"info", {"ann@a.example", "sales@v.example"}},
                       {"ann", {"ann@a.example", "archive@far.example"}},
                       {"both", {"ann@a.example", "info@a.example", "Ann@a.example"}},
                       {"mail", {"\\carl@a.example"}},
                       {"green", {"gr\xc3\xbcn@far.example"}}});
  conf::Domain v;
  v.name = "v.example";
  v.aliases = aliases({{"sales", {"carl@a.example", "out@far.example"}}, {"@", {"ann+lost@a.example"}}});
  conf::Domain b;
  b.name = "b.example";
  b.deliver = conf::NextHop{};
  b.aliases = aliases({{"x", {"y@b.example"}}});
  out.domains = {a, v, b};
  return out;
}

std::string expanded(const std::string& address) {
  std::string out;
  for (const smtp::Path& path : expand_aliases(config(), smtp::Path{*smtp::parse_mailbox(address)}))
    out += (out.empty() ? "" : " ") + path.text();
  return out;
}

}  // namespace

TEST_SUITE("mta/aliases") {
  TEST_CASE("whom the next hop is asked about") {
    conf::Domain domain = config().domains[0];
    domain.recipients.reset();
    const auto asked = [&domain](const char* address) { return is_to_be_asked(domain, *smtp::parse_mailbox(address)); };
    CHECK_FALSE(asked("carl@a.example"));
    domain.asks_next_hop = true;
    for (const char* address : {"carl@a.example", "CARL+x@a.example", "infos@a.example"}) CHECK(asked(address));
    for (const char* address : {"Info@a.example", "info+x@a.example", "PostMaster@a.example", "ann@a.example"})
      CHECK_FALSE(asked(address));
    domain.aliases["@"] = {{"ann@a.example", false}};
    CHECK_FALSE(asked("carl@a.example"));
  }

  TEST_CASE("whom an address stands for: each once, through domains, to its own mailbox") {
    struct Row {
      const char* address;
      const char* want;
    };
    const Row rows[] = {
        {"carl@a.example", "carl@a.example"},
        {"Carl@a.example", "Carl@a.example"},
        {"ann@a.example", "ann@a.example archive@far.example"},
        {"info@a.example", "ann@a.example archive@far.example carl@a.example out@far.example"},
        {"INFO@A.example", "ann@a.example archive@far.example carl@a.example out@far.example"},
        {"both@a.example", "ann@a.example archive@far.example carl@a.example out@far.example"},
        {"mail@a.example", "carl@a.example"},
        {"carl+lists@a.example", "carl+lists@a.example"},
        {"ann+lists@a.example", "ann@a.example archive@far.example"},
        {"odd+name@a.example", "odd+name@a.example"},
        {"anybody@v.example", "ann@a.example archive@far.example"},
        {"sales@v.example", "carl@a.example out@far.example"},
        {"x@b.example", "y@b.example"},
        {"z@b.example", "z@b.example"},
        {"who@elsewhere.example", "who@elsewhere.example"},
        {"green@a.example", "gr\xc3\xbcn@far.example"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.address);
      CHECK(expanded(row.address) == row.want);
    }
  }

  TEST_CASE("aliases that go round by a catch-all stand for nobody") {
    conf::Config round = config();
    round.domains[2].aliases = aliases({{"x", {"nobody@v.example"}}});
    round.domains[1].aliases = aliases({{"@", {"x@b.example"}}});
    CHECK(expand_aliases(round, smtp::Path{*smtp::parse_mailbox("x@b.example")}).empty());
    // A good target beside it is no reason to lose the others in silence.
    round.domains[1].aliases["@"].push_back({"who@far.example", false});
    CHECK(expand_aliases(round, smtp::Path{*smtp::parse_mailbox("x@b.example")}).empty());
    conf::Config details = config();
    details.domains[0].aliases = aliases(
        {{"team", {"ann@a.example", "bob@a.example"}}, {"bob", {"carl+a@a.example"}}, {"carl", {"bob+b@a.example"}}});
    CHECK(expand_aliases(details, smtp::Path{*smtp::parse_mailbox("team@a.example")}).empty());
  }

  TEST_CASE("a chain of 200000 aliases is followed to its end") {
    constexpr int kLong = 200'000;
    const auto name = [](int i) { return "a" + std::to_string(i); };
    conf::Config chain;
    conf::Domain& domain = chain.domains.emplace_back();
    domain.name = "a.example";
    domain.sub_address = "+";
    // Details are steps that the configuration does not follow.
    for (int i = 0; i < kLong; ++i) domain.aliases[name(i)] = {{name(i + 1) + "+x@a.example", false}};
    domain.aliases[name(0)].push_back({"last@far.example", false});
    const smtp::Path first{*smtp::parse_mailbox("a0@a.example")};
    const std::vector<smtp::Path> paths = expand_aliases(chain, first);
    REQUIRE(paths.size() == 2);
    CHECK(paths[0].text() == name(kLong) + "+x@a.example");
    CHECK(paths[1].text() == "last@far.example");
  }

  TEST_CASE("who is somebody") {
    const conf::Config all = config();
    struct Row {
      const char* address;
      bool known;
    };
    const Row rows[] = {
        {"ann@a.example", true},       {"ANN@a.example", true},    {"info@a.example", true},
        {"info+x@a.example", true},    {"carl+x@a.example", true}, {"eve@a.example", false},
        {"eve+carl@a.example", false}, {"+carl@a.example", false}, {"anybody@v.example", true},
        {"anybody@b.example", true},
    };
    for (const Row& row : rows) {
      CAPTURE(row.address);
      const smtp::Mailbox mailbox = *smtp::parse_mailbox(row.address);
      CHECK(is_known(*all.find_domain(mailbox.domain), mailbox) == row.known);
    }
    conf::Domain bare;
    bare.name = "w.example";
    bare.aliases = aliases({{"x", {"y@far.example"}}});
    CHECK(is_known(bare, *smtp::parse_mailbox("x@w.example")));
    CHECK_FALSE(is_known(bare, *smtp::parse_mailbox("y@w.example")));
  }
}

}  // namespace waypost::mta
