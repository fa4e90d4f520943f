// delivery/reply_rules.h: what is done about a reply of a host beside what its code says, by rules in files:
// waypost-reply-rules(5). Pure.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/config.h"
#include "conf/load.h"
#include "delivery/connection.h"
#include "delivery/disposition.h"
#include "delivery/reaction.h"
#include "smtp/reply.h"

namespace waypost::delivery {

/// A 4xx or 5xx of a host, with what rules may ask. What is nullopt is not known, and no rule is left out for it: for
/// somebody who asks what would be done. A delivery knows all of it.
struct RemoteReply {
  int code = 0;
  std::optional<smtp::EnhancedCode> enhanced;
  std::string text;                 ///< as Outcome::reply: codes included, lines parted by ` / `
  std::optional<std::string> host;  ///< a name, or as Outcome::host; a numeric address has no name
  std::optional<Stage> stage;       ///< what was answered
  std::optional<int> family;        ///< 4 or 6: of the address that the session went to
  bool about_host = false;          ///< no recipient was answered: rules that want something of one are not asked
};
RemoteReply remote_reply(Stage stage, const smtp::Reply& reply, std::string host, int family);

std::string_view name_of(Action action);  ///< as in files: "other_address"
/// The recipient is deferred, whatever the class of the reply's code.
bool defers(Action action);

/// The rules of all files, compiled. Any number of threads may ask.
class ReplyRules {
 public:
  static constexpr std::size_t kMostRules = 1000;
  static constexpr std::size_t kMostOctets = 1UL << 20;  ///< of a file
  static constexpr std::size_t kMaxPattern = 1000;       ///< octets of a pattern

  struct Parsed {
    std::shared_ptr<const ReplyRules> rules;  ///< nullptr where there are errors
    std::vector<conf::Finding> errors;        ///< each mistake of each file
  };
  /// conf::RuleFile::kShipped stands for shipped_reply_rules().
  static Parsed parse(const std::vector<conf::RuleFile>& files);

  /// What the first rule that matches says. Time is linear in the text, of which 512 octets are looked at, and memory
  /// is bounded, whatever the patterns and the text.
  std::optional<Reaction> react(const RemoteReply& reply) const;

  std::vector<std::string> names() const;  ///< in the order in which they are asked

  ~ReplyRules();

 private:
  struct Rule;
  class Reader;
  ReplyRules();
  std::vector<std::unique_ptr<const Rule>> rules_;
};

/// What a reply by which a recipient has this outcome wants done, where there are rules: the outcome is changed, and
/// has the reaction.
void react(const ReplyRules* rules, Stage stage, const smtp::Reply& reply, const Peer& peer, Outcome& outcome);
/// Likewise of a host as a whole: only what its site has to do with counts.
void react(const ReplyRules* rules, Stage stage, const smtp::Reply& reply, const Peer& peer, HostFailure& failure);
/// When the recipient is to be tried again, where it is not by queue.retry. `attempts`: before this one. A hint counts
/// the first time.
std::optional<std::chrono::seconds> retry_after(const Reaction& reaction, std::uint32_t attempts);

/// As a step of a schedule (queue/retry.h), which is moved by a tenth either way: not before the time is over.
std::vector<std::chrono::seconds> not_before(std::chrono::seconds time);

/// The text of conf/reply-rules.toml when this was built.
std::string_view shipped_reply_rules();

/// Adds the mistakes of the rules that it names to the errors of a configuration that has none so far.
void check_reply_rules(conf::Loaded& loaded);

/// "connect" is no stage of a reply. nullopt: there is none of that name.
std::optional<Stage> stage_named(std::string_view name);
std::vector<std::string> stage_names();

}  // namespace waypost::delivery
