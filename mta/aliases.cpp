#include "mta/aliases.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "base/text.h"
#include "smtp/address.h"

namespace waypost::mta {
namespace {

bool is_listed(const conf::Domain& domain, const std::string& local) {
  return domain.recipients &&
         std::find(domain.recipients->begin(), domain.recipients->end(), local) != domain.recipients->end();
}

/// `user` of `user+detail`; "" where there is no detail.
std::string without_detail(const conf::Domain& domain, const std::string& local) {
  if (domain.sub_address.empty()) return "";
  const std::size_t at = local.find(domain.sub_address);
  return at == std::string::npos || at == 0 ? "" : local.substr(0, at);
}

/// The targets of an alias, or nullptr: it is a mailbox, or nobody.
const std::vector<conf::AliasTarget>* targets_of(const conf::Domain& domain, const std::string& local) {
  const std::string user = without_detail(domain, local);
  for (const std::string& name : {local, user}) {
    if (name.empty()) continue;
    const auto found = domain.aliases.find(name);
    if (found != domain.aliases.end()) return &found->second;
    if (is_listed(domain, name)) return nullptr;
  }
  const auto catch_all = domain.aliases.find("@");
  return catch_all == domain.aliases.end() ? nullptr : &catch_all->second;
}

/// Depth first, with the way so far in a list: a chain may be as long as the files are.
class Expansion {
 public:
  explicit Expansion(const conf::Config& config) : config_(config) {}

  void run(const smtp::Path& path) {
    add(path, false);
    while (!way_.empty()) {
      Step& step = way_.back();
      if (step.next == step.targets->size()) {
        on_the_way_.erase(step.key);
        way_.pop_back();
        continue;
      }
      const conf::AliasTarget& target = (*step.targets)[step.next++];
      Result<smtp::Mailbox> mailbox = smtp::parse_mailbox(target.address, true);
      if (!mailbox) continue;  // conf has checked it
      const bool itself = to_lower(target.address) == step.key;
      add(smtp::Path{*std::move(mailbox)}, target.final || itself);
    }
  }
  std::vector<smtp::Path> paths;
  bool goes_round = false;

 private:
  /// An alias, and which of its targets comes next.
  struct Step {
    std::string key;
    const std::vector<conf::AliasTarget>* targets;
    std::size_t next;
  };

  void add(const smtp::Path& path, bool final) {
    std::string key = to_lower(path.mailbox.text());
    const conf::Domain* domain = config_.find_domain(path.mailbox.domain);
    const std::vector<conf::AliasTarget>* targets =
        domain == nullptr || final ? nullptr : targets_of(*domain, to_lower(path.mailbox.local));
    if (targets == nullptr) {
      if (taken_.insert(std::move(key)).second) paths.push_back(path);
      return;
    }
    if (!expanded_.insert(key).second) {
      goes_round = goes_round || on_the_way_.contains(key);
      return;
    }
    on_the_way_.insert(key);
    way_.push_back({std::move(key), targets, 0});
  }

  const conf::Config& config_;
  std::vector<Step> way_;
  std::set<std::string> taken_, expanded_, on_the_way_;
};

}  // namespace

bool is_known(const conf::Domain& domain, const smtp::Mailbox& mailbox) {
  if (!domain.recipients && domain.deliver) return true;
  const std::string local = to_lower(mailbox.local);
  return is_listed(domain, local) || is_listed(domain, without_detail(domain, local)) ||
         targets_of(domain, local) != nullptr;
}

bool is_to_be_asked(const conf::Domain& domain, const smtp::Mailbox& mailbox) {
  if (!domain.asks_next_hop || !domain.deliver || smtp::is_postmaster(mailbox)) return false;
  return targets_of(domain, to_lower(mailbox.local)) == nullptr;
}

std::vector<smtp::Path> expand_aliases(const conf::Config& config, const smtp::Path& path) {
  Expansion expansion(config);
  expansion.run(path);
  if (expansion.goes_round) return {};
  return std::move(expansion.paths);
}

}  // namespace waypost::mta
