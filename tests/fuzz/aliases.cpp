// tests/fuzz/aliases.cpp: aliases and those who have moved, from files that others wrote, with the files that these
// include, and from tables. What is read is written and read as the same; mistakes stand in a line; all of it ends.
//
// The first octet says how: bit 0 as rows of a table, bit 1 those who have moved, bit 2 with details behind "+", bit 3
// rows of users in place of aliases. The rest are fields between US (0x1F): the files /a and /b, and then the text, or
// the columns of the rows. Covers: conf/aliases.cpp mta/aliases.cpp mta/users.cpp
#include "conf/aliases.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/escape.h"
#include "base/text.h"
#include "conf/values.h"
#include "mta/aliases.h"
#include "mta/users.h"
#include "tests/fuzz/input.h"

using namespace waypost;

namespace {

const std::string kDomain = "b.example";

/// The files that there are, and what was told of them.
struct Files {
  std::string_view whole;
  std::map<std::string, std::string> texts;
  int reads = 0, mistakes = 0;

  conf::AliasReader reader() {
    conf::AliasReader out;
    out.read = [this](const std::string& path) -> Result<std::string> {
      ++reads;
      const auto found = texts.find(path);
      if (found == texts.end()) return fail(Errc::not_found, "No such file or directory");
      return found->second;
    };
    out.wrong = [this](const std::string& path, int line, const std::string& message, const std::string& hint) {
      ++mistakes;
      const auto found = texts.find(path);
      fuzz::check(found != texts.end(), "a mistake is in a file");
      const auto lines = std::count(found->second.begin(), found->second.end(), '\n') + 1;
      fuzz::check(line >= 0 && line <= lines, "in a line of it");
      fuzz::check(!message.empty() && fuzz::is_one_line(message) && fuzz::is_one_line(hint), "and is one line itself");
      fuzz::check(message.size() <= 5000, "of some length");
    };
    return out;
  }
};

void check_local(const std::string& local) {
  fuzz::check(local == to_lower(local), "a name is in lower case");
  fuzz::check(local == "@" || conf::parse_local_part(local).has_value(), "and a local part, or stands for all others");
}

/// As aliases(5) has them, each name in quotes, so that none begins a comment.
std::string written(const conf::Aliases& aliases) {
  std::string out;
  for (const auto& [local, targets] : aliases) {
    out += '"' + local + "\":";
    for (const conf::AliasTarget& target : targets)
      out += std::string(" ") + (target.final ? "\\" : "") + target.address + ",";
    out += "\n";
  }
  return out;
}

void check_aliases(const conf::Aliases& aliases) {
  for (const auto& [local, targets] : aliases) {
    check_local(local);
    for (const conf::AliasTarget& target : targets) {
      const Result<std::string> again = conf::parse_mailbox(target.address);
      fuzz::check(again && *again == target.address, "a target is an address");
    }
  }
  Files none;
  const std::string text = written(aliases);
  none.texts["/again"] = text;
  conf::Aliases again;
  conf::read_aliases(text, "/again", kDomain, none.reader(), again);
  fuzz::check(again == aliases && none.mistakes == 0 && none.reads == 0, "aliases that are written are the same");
}

/// Walks from each name, written without the product's code; true if one is met again on the way.
bool goes_round(const conf::Aliases& aliases, const std::string& local, std::set<std::string>& done,
                std::set<std::string>& way) {
  if (way.contains(local)) return true;
  if (!aliases.contains(local) || !done.insert(local).second) return false;
  way.insert(local);
  for (const conf::AliasTarget& target : aliases.at(local)) {
    const std::size_t at = target.address.rfind('@');
    const std::string next = to_lower(target.address.substr(0, at));
    const bool ours = target.address.substr(at + 1) == kDomain && next != local;
    if (ours && !target.final && goes_round(aliases, next, done, way)) return true;
  }
  way.erase(local);
  return false;
}

void check_expansion(const conf::Aliases& aliases, bool details) {
  conf::Config config;
  conf::Domain domain;
  domain.name = kDomain;
  domain.aliases = aliases;
  if (details) domain.sub_address = "+";
  config.domains = {domain};

  const std::string loop = conf::find_alias_loop(config);
  bool round = false;
  std::set<std::string> done;
  for (const auto& [local, targets] : aliases) {
    std::set<std::string> way;
    if (local != "@") round = round || goes_round(aliases, local, done, way);
  }
  const bool too_long = loop.find(" -> ... for more than ") != std::string::npos;
  fuzz::check(loop.empty() == !round || too_long, "circles are told, and nothing else");
  if (!loop.empty()) return;

  for (const auto& [local, targets] : aliases) {
    smtp::Path path;
    path.mailbox = {local == "@" ? "nobody" : local, kDomain};
    const std::vector<smtp::Path> all = mta::expand_aliases(config, path);
    std::set<std::string> seen;
    for (const smtp::Path& each : all)
      fuzz::check(seen.insert(to_lower(each.text())).second, "nobody gets a message twice by one alias");
    const bool may_go_round = details || aliases.contains("@");
    fuzz::check(!all.empty() || may_go_round, "an alias stands for somebody");
    fuzz::check(mta::is_known(domain, path.mailbox), "an alias is known");
  }
}

void read_users(std::string_view input) {
  std::vector<std::vector<std::string>> rows;
  while (!input.empty()) {
    std::vector<std::string> row;
    for (int i = 0; i < 4; ++i) row.emplace_back(fuzz::take_field(input));
    rows.push_back(std::move(row));
  }
  const mta::ParsedUsers parsed = mta::parse_users(rows, "sqlite:/users");
  fuzz::check(parsed.users.all().size() + parsed.mistakes.size() >= std::min<std::size_t>(rows.size(), 1),
              "a row is a user, or a mistake");
  for (const std::string& mistake : parsed.mistakes) fuzz::check(fuzz::is_one_line(mistake), "a mistake is one line");
  std::string text;
  for (const auto& [name, user] : parsed.users.all()) {
    fuzz::check(!name.empty() && name.size() <= 255 && fuzz::is_one_line(name), "a name is one line");
    if (mta::check_user_name(name)) text += mta::user_line(name, user) + "\n";
  }
  const mta::ParsedUsers again = mta::parse_users(text, "users");
  for (const auto& [name, user] : again.users.all()) {
    const auto found = parsed.users.all().find(name);
    fuzz::check(found != parsed.users.all().end() && found->second == user, "a file says of users what a table says");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  const std::uint8_t how = fuzz::take_octet(input);
  if ((how & 8) != 0) {
    read_users(input);
    return 0;
  }
  Files files;
  files.texts["/a"] = fuzz::take_field(input);
  files.texts["/b"] = fuzz::take_field(input);
  files.texts["/text"] = input;
  std::vector<conf::AliasRow> rows;
  for (std::string_view rest = input; (how & 1) != 0 && !rest.empty();) {
    const std::string name(fuzz::take_field(rest));
    rows.emplace_back(name, fuzz::take_field(rest));
  }
  const auto entries = static_cast<int>(std::count(input.begin(), input.end(), '\n') + 1 + std::ssize(rows));

  if ((how & 2) != 0) {
    std::map<std::string, std::string> moved;
    if ((how & 1) != 0)
      conf::read_relocated(rows, "/text", kDomain, files.reader(), moved);
    else
      conf::read_relocated(input, "/text", kDomain, files.reader(), moved);
    for (const auto& [local, address] : moved) {
      check_local(local);
      fuzz::check(conf::parse_mailbox(address) == address, "the new address is one");
    }
  } else {
    conf::Aliases aliases;
    if ((how & 1) != 0)
      conf::read_aliases(rows, "/text", kDomain, files.reader(), aliases);
    else
      conf::read_aliases(input, "/text", kDomain, files.reader(), aliases);
    // A row that is a mistake leaves its name without a target.
    const auto empty = std::erase_if(aliases, [](const auto& each) { return each.second.empty(); });
    fuzz::check(empty == 0 || ((how & 1) != 0 && files.mistakes > 0), "an alias has a target");
    check_aliases(aliases);
    check_expansion(aliases, (how & 4) != 0);
  }
  const auto named = static_cast<int>(size / std::string_view(":include:").size() + 1);
  fuzz::check(files.reads <= entries * named, "a file is read once for an alias");
  return 0;
}
