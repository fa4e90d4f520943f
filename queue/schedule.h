// queue/schedule.h: the bounded window of what is due: what is held in memory of a queue of any length. Pure, one loop.
#pragma once
#include <algorithm>
#include <cstddef>
#include <deque>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "queue/message.h"

namespace waypost::queue {

/// Holds due recipients by destination: those that wait for an attempt and those in one. Flows of a destination take
/// turns, by the weight of their class. What finds no room stays in the store, and is read from there when there is
/// room again.
class Schedule {
 public:
  struct Limits {
    std::size_t recipients = 20'000;      ///< in all
    std::size_t per_destination = 1'000;  ///< so that a backlog leaves room for the others
  };
  /// Of both limits, beyond them: for what has just come while a backlog is left in the store, but nothing of its flow.
  static std::size_t for_new(std::size_t limit) { return (limit + 3) / 4; }
  explicit Schedule(Limits limits) : limits_(limits) {}

  /// True if it is now in the window. False if there is no room (more is wanted then), or it is there already.
  bool add(Due due);
  /// The same for what has just been committed: it does not overtake what is left in the store of its flow.
  bool add_new(Due due);
  /// The next one to attempt, which is in flight from now on; nullopt if none waits.
  std::optional<Due> take(const std::string& destination);
  /// Where else recipients of the message wait, beside `destination`.
  std::vector<std::string> waits_beside(Id message, const std::string& destination) const;
  /// Those of one message at a destination; nullptr if they do not wait. Good until the next change.
  const Due* find(Id message, const std::string& destination) const;
  /// The same, out of turn: in flight from now on, as by take().
  std::optional<Due> take(Id message, const std::string& destination);
  /// What take() gave is over: its outcome is committed, or it was given up without one.
  void finished(Id message, const std::string& destination, std::size_t recipients);
  /// Before that: its outcome cannot be recorded. The store has it as due for ever, and it is never attempted again nor
  /// claimed. It has its place in the window, so that damage which concerns all mail ends the attempts.
  void keep_out(Id message, const std::string& destination) { kept_out_.emplace(message.value, destination); }
  /// Forgets what waits for a destination: it is in the store, and the destination is in back-off.
  void drop_waiting(const std::string& destination);
  /// The same for all: an administrator changed what is due.
  void drop_waiting();

  /// Takes a message's recipients at a destination out of turn, for another end than an attempt: false if they are in
  /// flight. They are so from now on, until release().
  bool claim(Id message, const std::string& destination);
  void release(Id message, const std::string& destination);

  std::size_t waiting(const std::string& destination) const;
  bool holds(const std::string& destination) const;  ///< anything, waiting or in flight
  std::size_t held() const { return held_; }         ///< recipients, waiting or in flight
  /// Room for what one destination may hold: for less, the store is not read.
  bool has_room() const {
    return in_turn() + std::min(limits_.per_destination, limits_.recipients / 2) <= limits_.recipients;
  }
  /// Recipients that a page may bring.
  std::size_t room() const { return limits_.recipients - std::min(in_turn(), limits_.recipients); }
  const Limits& limits() const { return limits_; }

  /// Something that is due found no room, and there is room now: for a backlog, half of what one may hold. Read the
  /// store.
  bool wants_more() const { return has_room() && (more_ || hungry_ > 0); }
  /// Before the store is read: what finds no room from now on counts as more again.
  void read_again();
  /// More of this flow is left in the store; nullopt: of some that were not looked at.
  void set_more(const std::string& destination, std::optional<Flow> flow);

 private:
  struct Lane {
    std::deque<Due> waiting;
    int credit = 0;     ///< messages until another flow has its turn
    bool more = false;  ///< something of it is left in the store
  };
  struct Backlog {
    std::unordered_map<std::uint32_t, Lane> lanes;  ///< by flow
    std::deque<std::uint32_t> turns;                ///< flows with something that waits
    int high_in_a_row = 0;                          ///< that were taken
    struct Message {
      bool in_flight = false;
      std::size_t ahead = 0;       ///< recipients that went ahead of what is left in the store
      std::size_t recipients = 0;  ///< that are held
      bool again = false;          ///< the store has more that are due
    };
    std::unordered_map<std::uint64_t, Message> messages;  ///< by id
    std::size_t ahead = 0;                                ///< of all of them
    std::size_t waiting = 0;                              ///< messages
    std::size_t held = 0;
    bool more = false;
  };
  using Backlogs = std::unordered_map<std::string, Backlog>;
  std::size_t in_turn() const { return held_ - ahead_ + kept_out_.size(); }
  bool is_kept_out(Id message, const std::string& destination) const {
    return !kept_out_.empty() && kept_out_.contains({message.value, destination});
  }
  std::optional<Due> pull(Backlogs::value_type& entry, Id message);
  void forget_place(std::uint64_t message, const std::string& destination);
  void put(Backlogs::value_type& entry, Due due, bool ahead);
  void forget(Backlog& backlog, std::uint64_t message, std::size_t recipients);
  void forget_waiting(Backlogs::value_type& entry);
  bool is_hungry(const Backlog& backlog) const {
    return backlog.more && backlog.held - backlog.ahead <= limits_.per_destination / 2;
  }
  void set(Backlog& backlog, std::size_t held, std::size_t ahead, bool more);
  void erase_if_empty(Backlogs::iterator entry);

  Limits limits_;
  Backlogs backlogs_;
  std::unordered_multimap<std::uint64_t, const std::string*> places_;  ///< of what waits: the keys of its backlogs
  std::set<std::pair<std::uint64_t, std::string>> kept_out_;           ///< messages, and at which destination
  std::size_t held_ = 0;
  std::size_t ahead_ = 0;
  std::size_t hungry_ = 0;  ///< backlogs that have more in the store, and room for it
  bool more_ = false;       ///< the window as a whole was full, or was dropped
};

}  // namespace waypost::queue
