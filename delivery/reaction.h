// delivery/reaction.h: what a rule about replies wants done (delivery/reply_rules.h). Plain values.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace waypost::delivery {

enum class Action : std::uint8_t {
  slow,           ///< the site gets less mail for the time; a recipient that was answered is deferred
  wait,           ///< the site gets none for the time; so is the recipient
  retry,          ///< this recipient alone is deferred for the time: greylisting
  other_address,  ///< at once by another family, source address or exchanger; where there is none the reply counts
  fail,           ///< permanent in truth: the recipient's end. Of 4xx alone
  defer,          ///< temporary in truth: the recipient is deferred. Of 5xx alone
};

struct Reaction {
  Action action = Action::retry;
  /// slow, wait: at least 1 s, at most 24 h. retry: at most 1 h; defer: at most 24 h; 0 for both: by queue.retry.
  /// Others: 0. Where the host says it, it may say the same each time.
  std::chrono::seconds time{0};
  bool hinted = false;  ///< the time is what the reply asks for, within these bounds
  std::string rule;     ///< "yahoo-ts03": for the log and the history
  std::string why;      ///< one sentence for people
};

}  // namespace waypost::delivery
