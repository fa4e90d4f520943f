#include "base/metrics.h"

namespace waypost::metrics {

Events& events() {
  static Events all;
  return all;
}

std::string_view reject_reason(std::string_view reply) {
  constexpr std::array<std::string_view, 7> kSubjects{"address",  "mailbox", "system", "routing",
                                                      "protocol", "content", "policy"};
  // "554 5.7.1 ": the subject is the enhanced code's second number.
  constexpr std::size_t kSubject = 6;
  const bool has_one = reply.size() > kSubject + 1 && reply[kSubject - 1] == '.' && reply[kSubject + 1] == '.';
  const char subject = has_one ? reply[kSubject] : '0';
  return subject >= '1' && subject <= '7' ? kSubjects[static_cast<std::size_t>(subject - '1')] : "other";
}

}  // namespace waypost::metrics
