// delivery/tally.h: what has become so far of one message's recipients at one destination. Pure.
#pragma once
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "delivery/asked.h"
#include "delivery/outcome.h"
#include "queue/message.h"

namespace waypost::delivery {

/// Gathers outcomes over the hosts that are tried. A recipient is open until it has one that no other host can better.
class Tally {
 public:
  explicit Tally(queue::Due due) : due_(std::move(due)), entries_(due_.recipients.size()) {}

  const queue::Due& due() const { return due_; }
  /// Positions in due().recipients that are still open.
  std::vector<std::size_t> open() const;
  std::vector<queue::DueRecipient> recipients(const std::vector<std::size_t>& positions) const;
  bool any_open() const;

  /// Outcome `outcomes[i]` is of position `positions[i]`.
  void record(const std::vector<std::size_t>& positions, const std::vector<Outcome>& outcomes);
  /// A host of which nothing was learnt but that it failed: what it did is told of those that are open.
  void host_failed(const HostFailure& failure);
  /// The same outcome for all that are open, and they are not open any more.
  void close(const Outcome& outcome);
  /// No further host is tried: those of which something was learnt keep it. `again`: a host that could not be asked may
  /// be asked later; what it could better is deferred, not failed.
  void stop(bool again = false);
  /// After stop(): the outcome of those of which nothing was learnt.
  void learn_rest(const Outcome& outcome);

  struct Entry {
    Outcome outcome;
    bool learnt = false;  ///< `outcome` is of an attempt of this recipient; else only hosts failed
    bool open = true;
    bool settled = false;  ///< `outcome` is committed
    Asked asked{};         ///< the hosts so far
  };
  const std::vector<Entry>& entries() const { return entries_; }
  /// Positions with an outcome that is not committed yet: of those that a host took, or of all.
  std::vector<std::size_t> taken() const;
  std::vector<std::size_t> unsettled() const;
  void settled(const std::vector<std::size_t>& positions);
  /// A recipient of which nothing was learnt: its destination failed.
  bool any_unlearnt() const;
  /// What the hosts did to one of these, as the store keeps it.
  std::string asked_in_vain() const;
  bool in_doubt = false;
  std::optional<HostFailure> told_to_wait;  ///< a rule about a reply wants the site left alone for a while
  bool reached = false;  ///< a host answered, or it is certain that none is to be asked: the destination does not fail
  bool begun = false;    ///< a host failed in the midst of a transaction: that may be this message's doing

 private:
  queue::Due due_;
  std::vector<Entry> entries_;
};

}  // namespace waypost::delivery
