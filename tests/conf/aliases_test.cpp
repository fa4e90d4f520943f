#include "conf/aliases.h"

#include <algorithm>

#include <doctest/doctest.h>

namespace waypost::conf {
namespace {

struct Files {
  std::map<std::string, std::string> texts;
  std::vector<std::string> wrong;
  AliasReader reader() {
    AliasReader out;
    out.read = [this](const std::string& path) -> Result<std::string> {
      const auto found = texts.find(path);
      if (found == texts.end()) return fail(Errc::not_found, "No such file or directory");
      return found->second;
    };
    out.wrong = [this](const std::string& path, int line, const std::string& message, const std::string& hint) {
      wrong.push_back(path + ":" + std::to_string(line) + ": " + message + (hint.empty() ? "" : " (" + hint + ")"));
    };
    return out;
  }
};

/// `name: target, \\target` for each, sorted by name.
std::string shown(const Aliases& aliases) {
  std::string out;
  for (const auto& [local, targets] : aliases) {
    out += local + ":";
    for (const AliasTarget& target : targets) out += (target.final ? " \\" : " ") + target.address;
    out += "\n";
  }
  return out;
}

std::string read(const std::string& text, Files& files) {
  Aliases aliases;
  read_aliases(text, "/etc/aliases", "a.example", files.reader(), aliases);
  return shown(aliases);
}

}  // namespace

TEST_SUITE("conf/aliases") {
  TEST_CASE("files as other MTAs have them") {
    struct Row {
      const char* text;
      const char* want;
    };
    const Row rows[] = {
        {"", ""},
        {"# nothing\n\n   \n", ""},
        {"root: ann\n", "root: ann@a.example\n"},
        {"Root:ann@B.example,carl\r\n", "root: ann@b.example carl@a.example\n"},
        {"staff: ann,\n\tcarl,\n  # not they\n eve@c.example\n", "staff: ann@a.example carl@a.example eve@c.example\n"},
        {"ann@a.example  x@b.example y@b.example\n", "ann: x@b.example y@b.example\n"},
        {"@a.example all@b.example\n", "@: all@b.example\n"},
        {"@: all@b.example\n", "@: all@b.example\n"},
        {"ann: \\ann, archive@b.example\n", "ann: \\ann@a.example archive@b.example\n"},
        {"\"ann\": \"carl\"\n", "ann: carl@a.example\n"},
        {"list: :include:/lists/one, eve\n", "list: x@b.example y@a.example z@c.example eve@a.example\n"},
        {"list :include:/lists/one\n", "list: x@b.example y@a.example z@c.example\n"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.text);
      Files files;
      files.texts = {{"/lists/one", "# who\nx@b.example\ny, :include:/lists/two\n"}, {"/lists/two", "z@c.example\n"}};
      CHECK(read(row.text, files) == row.want);
      CHECK(files.wrong.empty());
    }
  }

  TEST_CASE("what is wrong is told by file and line, with what to do; the rest is read") {
    struct Row {
      const char* text;
      const char* what;
    };
    const Row rows[] = {
        {"ann: carl\nrobot: \"|/usr/bin/robot -x\"\n", "/etc/aliases:2: \"|/usr/bin/robot -x\" is a program"},
        {"ann: carl\nrobot: |robot\n", "take mail by LMTP"},
        {"ann: carl\nlog: /var/log/mail\n", "/etc/aliases:2: \"/var/log/mail\" is a file"},
        {"ann: carl\nx@b.example: y\n", "\"x@b.example\" is no address at a.example"},
        {"ann: carl\nempty:\n", "\"empty\" has no target"},
        {"ann: carl\nAnn: eve\n", "\"ann\" stands twice"},
        {"ann: carl\nx: y@@b.example\n", "/etc/aliases:2: "},
        {"ann: carl\nx: gr\xfc\xdf@b.example\n", "is no text in UTF-8"},
        {"ann: carl\nx: a\xc2\x98@b.example\n", "has a control character"},
        {"ann: carl\nx: :include:/nowhere\n", "\"/nowhere\" cannot be read: No such file"},
        {"ann: carl\nx: :include:/round\n", "/round:1: \"/round\" includes itself"},
        {"ann: carl\nx: :include:/deep/0\n", "/deep/9:1: \"/deep/10\" is included too deep"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.text);
      Files files;
      files.texts = {{"/round", ":include:/round\n"}};
      for (int i = 0; i < 11; ++i)
        files.texts["/deep/" + std::to_string(i)] = ":include:/deep/" + std::to_string(i + 1) + "\n";
      CHECK(read(row.text, files).starts_with("ann: carl@a.example\n"));
      REQUIRE(!files.wrong.empty());
      CHECK(files.wrong.front().find(row.what) != std::string::npos);
    }
  }

  TEST_CASE("files that include one another many times are read once for an alias") {
    Files files;
    std::string all;
    for (int i = 0; i < 9; ++i) all += ":include:/f" + std::to_string(i) + "\n";
    for (int i = 0; i < 9; ++i) files.texts["/f" + std::to_string(i)] = all + "x" + std::to_string(i) + "@b.example\n";
    const std::string read_all = read("x: :include:/f0\ny: :include:/f8\n", files);
    CHECK(std::count(read_all.begin(), read_all.end(), '@') == 18);
    CHECK(files.wrong.size() < 200);
  }

  TEST_CASE("those who have moved") {
    Files files;
    std::map<std::string, std::string> moved;
    read_relocated("Ann ann@b.example\ncarl: c@d.example, e@d.example\n", "/etc/moved", "a.example", files.reader(),
                   moved);
    CHECK(moved == std::map<std::string, std::string>{{"ann", "ann@b.example"}});
    REQUIRE(files.wrong.size() == 1);
    CHECK(files.wrong[0].find("has not moved to one address") != std::string::npos);
  }

  TEST_CASE("circles are found, also through another domain; a name among its own targets is none") {
    struct Row {
      const char* a;
      const char* b;
      const char* want;
    };
    const Row rows[] = {
        {"x: y\ny: z\n", "", ""},
        {"x: x, y\n", "", ""},
        {"x: \\y\ny: x\n", "", ""},
        {"x: y\ny: x\n", "", "x@a.example -> y@a.example -> x@a.example"},
        {"w: x\nx: y@b.example\n", "y: Z\nz: x@A.example\n",
         "x@a.example -> y@b.example -> z@b.example -> x@a.example"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.a);
      Files files;
      Config config;
      for (const auto& [name, text] : {std::pair<std::string, std::string>{"a.example", row.a}, {"b.example", row.b}}) {
        Domain domain;
        domain.name = name;
        read_aliases(text, "/f", name, files.reader(), domain.aliases);
        config.domains.push_back(domain);
      }
      CHECK(find_alias_loop(config) == row.want);
    }
  }

  TEST_CASE("a chain of more than 100 steps is told, from whichever end its names are read") {
    for (const bool down : {false, true}) {
      CAPTURE(down);
      for (const int steps : {100, 101}) {
        const auto name = [&](int i) { return "a" + std::to_string(1000 + (down ? -i : i)); };
        Config config;
        Domain& domain = config.domains.emplace_back();
        domain.name = "a.example";
        for (int i = 0; i < steps; ++i) domain.aliases[name(i)] = {{name(i + 1) + "@a.example", false}};
        const std::string want = name(0) + "@a.example -> ... for more than 100 steps";
        CHECK(find_alias_loop(config) == (steps == 100 ? "" : want));
      }
    }
  }
}

}  // namespace waypost::conf
