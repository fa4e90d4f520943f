// tests/power/workload.h: some dozens of steps of a queue's life, from a seed, with a ledger of what was promised.
#pragma once
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "tests/power/check.h"
#include "tests/power/ledger.h"
#include "tests/power/queue_on_disk.h"

namespace waypost::tests::power {

struct WorkloadOptions {
  int steps = 40;
  bool early_ack = false;  ///< the 250 before the commit: to show that it is found
  bool kills = true;       ///< of the process, without loss of power
  std::function<Fault(const Call&)> fault = {};
  bool bulk = false;  ///< so much mail that the WAL is moved into the database while it runs
};

/// Accepts (in the row, in a file), attempts' ends with and without notifications, deliveries into Maildirs, holds,
/// releases, removals, destinations that fail, drafts given up; several in one commit; restarts and kills in between.
/// An error of the disk ends the process as it would end the daemon, and the next one begins.
class Workload {
 public:
  Workload(SimDisk& disk, std::uint64_t seed, WorkloadOptions options);
  ~Workload();
  Workload(const Workload&) = delete;
  Workload& operator=(const Workload&) = delete;
  /// Before the first step, for `bulk`: until the WAL is nearly as long as it may get.
  void prepare();
  void run();
  /// Ends as a stop would.
  void end() { queue_.close(); }

  const Ledger& ledger() const { return ledger_; }
  /// What a restart after an error did not find: as check() tells it.
  const std::vector<Broken>& broken() const { return broken_; }

 private:
  void step();
  void restart(bool kill);
  void reconcile(const std::vector<queue::MessageRow>& rows);
  void acked(Span& span, Position position);

  void begin_one(std::vector<Mail*>& idle);
  Mail* new_mail(queue::Id id, std::string from, std::vector<std::string> to, std::string body);
  queue::NewMessage message_of(const Mail& mail) const;
  net::Task<> accept(std::string from, std::vector<std::string> to, std::string body, bool give_up);
  net::Task<> settle(Mail& mail, std::vector<queue::RecipientOutcome> outcomes);
  net::Task<> deliver(Mail& mail, std::size_t recipient);
  net::Task<> back_off(std::string destination);
  void change(Mail& mail);

  std::uint64_t below(std::uint64_t limit) { return chance_() % limit; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  std::vector<Mail*> live();
  std::string text(std::size_t size);

  SimDisk& disk_;
  WorkloadOptions options_;
  std::mt19937_64 chance_;
  QueueOnDisk queue_;
  Ledger ledger_;
  std::vector<Broken> broken_;
  std::vector<Span*> in_doubt_;  // seen after a kill: certain with the next commit
  Position kill_at_ = kNever;
  std::uint64_t count_ = 0;
  std::string last_error_;
  bool gave_up_ = false;
};

}  // namespace waypost::tests::power
