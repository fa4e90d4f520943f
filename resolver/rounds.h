// resolver/rounds.h: which name server is asked next, and what all of them said in the end. Pure. Private here.
#pragma once
#include <cstddef>
#include <optional>
#include <vector>

#include "net/clock.h"

namespace waypost::resolver {

/// The turns of one question. Every server once a round, in the order given; one that answered, if only to refuse, is
/// not asked again: asked twice, it says the same.
class Rounds {
 public:
  Rounds(std::vector<std::size_t> order, int tries) : order_(std::move(order)), left_(tries) {}

  /// Whom to ask now; nullopt when all tries are used up.
  std::optional<std::size_t> next() {
    while (left_ > 0 && !order_.empty()) {
      if (at_ < order_.size()) return order_[at_++];
      at_ = 0;
      --left_;
    }
    return std::nullopt;
  }
  /// The one that was asked last is out.
  void strike() {
    --at_;
    order_.erase(order_.begin() + static_cast<std::ptrdiff_t>(at_));
  }

 private:
  std::vector<std::size_t> order_;
  std::size_t at_ = 0;
  int left_;
};

}  // namespace waypost::resolver
