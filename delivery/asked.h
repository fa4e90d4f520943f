// delivery/asked.h: what each host that was asked in one attempt made of a recipient, for people. Pure.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "delivery/outcome.h"

namespace waypost::delivery {

/// The hosts that were asked in one attempt, in their order. Told only where there are several: of a single one a
/// report has the reply.
class Asked {
 public:
  static constexpr std::size_t kMaxHosts = 5, kMaxOctets = 512;  ///< of each line

  /// What one host did; it stands in place of what the same host did before. Nothing, where no host was reached for.
  void add(const Outcome& outcome) { add(outcome.host, outcome.status, outcome.reply); }
  void add(const HostFailure& failure) { add(failure.host, failure.status, failure.reason); }

  /// A line for each host (in_words()); none unless there are several.
  std::vector<std::string> lines() const;
  /// These as the store keeps them: at most queue::RecipientOutcome::kMaxAsked octets, each line its share; "" where
  /// there is none.
  std::string text() const;
  /// The lines of such a text.
  static std::vector<std::string> lines_of(std::string_view text);

 private:
  void add(const std::string& host, std::string_view status, std::string_view reply);
  struct Host {
    std::string name, words;
  };
  std::vector<Host> hosts_;
};

}  // namespace waypost::delivery
