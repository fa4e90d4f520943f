#include "conf/aliases.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/text.h"
#include "conf/values.h"

namespace waypost::conf {
namespace {

constexpr int kMaxIncludes = 10;         // within one another
constexpr std::size_t kMostSteps = 100;  // from an alias to what it stands for in the end

/// A line with those that go on with it.
struct Entry {
  int line = 0;
  std::string text;
};

std::vector<Entry> entries_of(std::string_view text) {
  std::vector<Entry> entries;
  int line = 0;
  for (std::string_view row : split(text, '\n')) {
    ++line;
    if (row.ends_with('\r')) row.remove_suffix(1);
    const bool blank = trim(row).empty();
    if (blank || trim(row).starts_with('#')) continue;
    if (is_space(row.front()) && !entries.empty()) {
      entries.back().text.append(1, ' ').append(trim(row));
    } else {
      entries.push_back({line, std::string(trim(row))});
    }
  }
  return entries;
}

/// Takes a name, in quotes or up to a space, a comma or (of a key) a colon. A quoted one is told by its quotes.
std::string take_name(std::string_view& rest, bool key) {
  std::string name;
  bool quoted_now = false;
  while (!rest.empty()) {
    const char c = rest.front();
    const bool ends = c == ',' || is_space(c) || (key && c == ':');
    if (ends && !quoted_now) break;
    rest.remove_prefix(1);
    if (c == '"') {
      quoted_now = !quoted_now;
      continue;
    }
    if (c == '\\' && quoted_now && !rest.empty()) {
      name += rest.front();
      rest.remove_prefix(1);
      continue;
    }
    name += c;
  }
  return name;
}

class FileOfAliases {
 public:
  FileOfAliases(const std::string& domain, const AliasReader& reader, Aliases& into)
      : domain_(domain), reader_(reader), into_(into) {}

  void read(std::string_view text, const std::string& path) {
    for (const Entry& entry : entries_of(text)) {
      path_ = path;
      line_ = entry.line;
      std::string_view rest = entry.text;
      const std::optional<std::string> key = key_of(take_name(rest, true));
      if (!key) continue;
      rest = trim(rest);
      const bool included = rest.starts_with(":include:");
      if (rest.starts_with(':') && !included) rest.remove_prefix(1);
      std::vector<AliasTarget> targets;
      const int before = mistakes_;
      included_.clear();
      take_targets(rest, 0, targets);
      if (targets.empty() && mistakes_ == before) {
        wrong(quoted(*key) + " has no target", "write " + *key + ": address");
      } else if (!targets.empty() && !into_.emplace(*key, std::move(targets)).second) {
        wrong(quoted(*key) + " stands twice", "put all targets into one line, parted by commas");
      }
    }
  }

  void read(const std::vector<AliasRow>& rows, const std::string& path) {
    path_ = path;
    for (const auto& [name, target] : rows) {
      const std::optional<std::string> key = key_of(name);
      if (!key) continue;
      std::vector<AliasTarget> targets;
      const int before = mistakes_;
      row_ = *key;
      included_.clear();
      take_targets(target, 0, targets);
      row_.clear();
      if (targets.empty() && mistakes_ == before) wrong(quoted(*key) + " has no target", "");
      std::vector<AliasTarget>& all = into_[*key];
      for (AliasTarget& each : targets)
        if (std::find(all.begin(), all.end(), each) == all.end()) all.push_back(std::move(each));
    }
  }

 private:
  void wrong(const std::string& message, const std::string& hint) {
    ++mistakes_;
    reader_.wrong(path_, line_, row_.empty() ? message : quoted(row_) + ": " + message, hint);
  }

  std::optional<std::string> key_of(const std::string& name) {
    std::string local = name;
    const std::size_t at = name.rfind('@');
    if (at != std::string::npos) {
      local = name.substr(0, at);
      const bool ours = at + 1 == name.size() || equals_no_case(std::string_view(name).substr(at + 1), domain_);
      if (!ours) {
        wrong(quoted(name) + " is no address at " + domain_, "aliases of another domain stand in its own file");
        return std::nullopt;
      }
      if (local.empty()) return "@";
    }
    Result<std::string> parsed = parse_local_part(local);
    if (parsed) return to_lower(*parsed);
    wrong(parsed.error().what, "");
    return std::nullopt;
  }

  void take_targets(std::string_view rest, int depth, std::vector<AliasTarget>& into) {
    while (!rest.empty()) {
      if (rest.front() == ',' || is_space(rest.front())) {
        rest.remove_prefix(1);
        continue;
      }
      take_target(take_name(rest, false), depth, into);
    }
  }

  void take_target(std::string name, int depth, std::vector<AliasTarget>& into) {
    if (name.empty()) return;
    if (name.starts_with(":include:")) return include(name.substr(9), depth, into);
    if (name.starts_with('|')) {
      wrong(quoted(name) + " is a program, and none is ever run",
            "let it take mail by LMTP, and route its address there");
      return;
    }
    if (name.starts_with('/')) {
      wrong(quoted(name) + " is a file, and none is written to",
            "mail that is kept goes to a Maildir, by deliver of a [[domain]]; a [[route]] throws away by discard:");
      return;
    }
    AliasTarget target;
    if (name.starts_with('\\')) {
      target.final = true;
      name.erase(0, 1);
    }
    if (name.find('@') == std::string::npos) name += "@" + domain_;
    Result<std::string> address = parse_mailbox(name);
    if (!address) return wrong(address.error().what, "");
    target.address = *std::move(address);
    into.push_back(std::move(target));
  }

  void include(const std::string& path, int depth, std::vector<AliasTarget>& into) {
    if (within_.contains(path)) return wrong(quoted(path) + " includes itself", "");
    if (depth == kMaxIncludes) return wrong(quoted(path) + " is included too deep", "");
    // Once for an alias: files that include one another several times would be read without end.
    if (!included_.insert(path).second) return;
    Result<std::string> text = parse_path(path);
    if (text) text = reader_.read(path);
    if (!text) return wrong(quoted(path) + " cannot be read: " + text.error().what, "");
    const std::string outer_path = std::exchange(path_, path);
    const int outer_line = line_;
    within_.insert(path);
    for (const Entry& entry : entries_of(*text)) {
      line_ = entry.line;
      take_targets(entry.text, depth + 1, into);
    }
    within_.erase(path);
    path_ = outer_path;
    line_ = outer_line;
  }

  const std::string& domain_;
  const AliasReader& reader_;
  Aliases& into_;
  std::string path_;
  int line_ = 0;
  std::string row_;  // the name of a table's, which has no lines
  int mistakes_ = 0;
  std::set<std::string> within_;    // the files that are being read
  std::set<std::string> included_;  // all that were, for the alias at hand
};

/// The aliases as a graph of addresses, walked to its depth.
class LoopSearch {
 public:
  explicit LoopSearch(const Config& config) : config_(config) {}

  std::string run() {
    for (const Domain& domain : config_.domains)
      for (const auto& [local, targets] : domain.aliases)
        if (local != "@" && !walk(local + "@" + domain.name)) return loop_;
    return "";
  }

 private:
  /// The most steps from the address to an end; nullopt: `loop_` says what is wrong.
  std::optional<std::size_t> walk(const std::string& address) {
    const auto known = steps_.find(address);
    if (known != steps_.end()) return checked(known->second);
    const auto seen = std::find(path_.begin(), path_.end(), address);
    if (seen != path_.end()) {
      for (auto each = seen; each != path_.end(); ++each) loop_ += *each + " -> ";
      loop_ += address;
      return std::nullopt;
    }
    const std::size_t at = address.rfind('@');
    const Domain* domain = config_.find_domain(address.substr(at + 1));
    if (domain == nullptr) return 0;
    const auto found = domain->aliases.find(to_lower(address.substr(0, at)));
    if (found == domain->aliases.end()) return 0;
    if (!checked(1)) return std::nullopt;
    path_.push_back(address);
    std::size_t most = 1;
    for (const AliasTarget& target : found->second) {
      const std::string next = to_lower(target.address);
      if (target.final || next == address) continue;
      const std::optional<std::size_t> rest = walk(next);
      if (!rest) return std::nullopt;
      most = std::max(most, 1 + *rest);
    }
    path_.pop_back();
    steps_.emplace(address, most);
    return most;
  }

  /// `steps`, if they are not too many behind those that were taken.
  std::optional<std::size_t> checked(std::size_t steps) {
    if (path_.size() + steps <= kMostSteps) return steps;
    loop_ = path_.front() + " -> ... for more than " + std::to_string(kMostSteps) + " steps";
    return std::nullopt;
  }

  const Config& config_;
  std::vector<std::string> path_;
  std::map<std::string, std::size_t> steps_;  // of those that were walked to their ends
  std::string loop_;
};

/// Who has moved has one new address.
void take_moved(const Aliases& moved, const std::string& path, const AliasReader& reader,
                std::map<std::string, std::string>& into) {
  for (const auto& [local, targets] : moved) {
    const bool one = targets.size() == 1 && local != "@" && !targets.front().final;
    if (one)
      into[local] = targets.front().address;
    else
      reader.wrong(path, 0, quoted(local) + " has not moved to one address", "write " + local + " new@address");
  }
}

}  // namespace

void read_aliases(std::string_view text, const std::string& path, const std::string& domain, const AliasReader& reader,
                  Aliases& into) {
  FileOfAliases(domain, reader, into).read(text, path);
}

void read_aliases(const std::vector<AliasRow>& rows, const std::string& path, const std::string& domain,
                  const AliasReader& reader, Aliases& into) {
  FileOfAliases(domain, reader, into).read(rows, path);
}

void read_relocated(std::string_view text, const std::string& path, const std::string& domain,
                    const AliasReader& reader, std::map<std::string, std::string>& into) {
  Aliases moved;
  read_aliases(text, path, domain, reader, moved);
  take_moved(moved, path, reader, into);
}

void read_relocated(const std::vector<AliasRow>& rows, const std::string& path, const std::string& domain,
                    const AliasReader& reader, std::map<std::string, std::string>& into) {
  Aliases moved;
  read_aliases(rows, path, domain, reader, moved);
  take_moved(moved, path, reader, into);
}

std::string find_alias_loop(const Config& config) {
  return LoopSearch(config).run();
}

}  // namespace waypost::conf
