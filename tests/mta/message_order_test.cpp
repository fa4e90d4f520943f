// tests/mta/message_order_test.cpp: what `waypost queue list --sort` puts first.
#include "mta/message_order.h"

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace waypost;
using namespace waypost::mta;

namespace {

queue::MessageRow row(std::uint64_t id, std::uint64_t size, std::vector<std::pair<std::uint32_t, int>> recipients) {
  queue::MessageRow message;
  message.info.id = queue::Id{id};
  message.info.size = size;
  for (const auto& [attempts, next] : recipients) {
    queue::RecipientRow recipient;
    recipient.attempts = attempts;
    if (next < 0) recipient.state = queue::State::held;
    recipient.next_attempt = net::WallTime(std::chrono::seconds(std::abs(next)));
    message.recipients.push_back(recipient);
  }
  return message;
}

}  // namespace

TEST_SUITE("mta/message_order") {
  TEST_CASE("orders") {
    const std::vector<queue::MessageRow> all{row(4, 10, {{3, 50}}), row(1, 30, {{1, 40}}), row(2, 20, {{1, -5}}),
                                             row(3, 30, {{1, 90}, {7, 20}}), row(5, 1, {})};
    struct Case {
      const char* name;
      std::size_t most;
      std::string want;
    };
    for (const Case& each : {Case{"age", 9, "12345"},
                             {"size", 9, "13245"},
                             {"size", 2, "13"},
                             {"next", 9, "31425"},
                             {"tries", 9, "34125"},
                             {"tries", 0, ""}}) {
      CAPTURE(each.name);
      CAPTURE(each.most);
      std::vector<queue::MessageRow> sorted = all;
      keep_first(sorted, parse_message_order(each.name).value(), each.most);
      std::string got;
      for (const queue::MessageRow& message : sorted) got += std::to_string(message.info.id.value);
      CHECK(got == each.want);
    }
    CHECK_FALSE(parse_message_order("date"));
    CHECK_FALSE(parse_message_order(""));
  }
}
