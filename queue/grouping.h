// queue/grouping.h: mail counted by what it has in common: for `waypost queue count --by` and `queue shape`. No I/O.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "net/clock.h"
#include "queue/id.h"

namespace waypost::queue {

/// Of a recipient: where its mail goes, who sent it, the last reply, the last host, its state, who logged in, who
/// brought it.
enum class GroupBy : std::uint8_t { domain, sender, error, mx, state, user, source };
std::optional<GroupBy> parse_group_by(std::string_view name);
inline constexpr std::string_view kGroupByList = "domain, sender, error, mx, state, user, source";

struct Group {
  /// Upper ends of the columns of a shape, in minutes; the last column is what is older.
  static constexpr std::array<int, 9> kMinutes{5, 10, 20, 40, 80, 160, 320, 640, 1280};
  std::string key;
  std::uint64_t messages = 0, recipients = 0, octets = 0;
  net::WallTime oldest;
  std::array<std::uint64_t, kMinutes.size() + 1> ages{};  ///< recipients by how long ago they came
};

struct Groups {
  std::vector<Group> groups;   ///< those of most recipients first
  Group others;                ///< what is in none of them; `key` is empty
  std::uint64_t left_out = 0;  ///< how many groups are in `others`; those beyond kMostKeys are one
};

/// Counts recipients that come in order of their messages. The memory is bounded.
class Grouping {
 public:
  static constexpr std::size_t kMostKeys = 100'000;

  Grouping(GroupBy by, net::WallTime now) : by_(by), now_(now) {}
  GroupBy by() const { return by_; }
  net::WallTime now() const { return now_; }
  void add(const std::string& key, Id message, std::uint64_t octets, net::WallTime arrival);
  /// The largest, at most so many.
  Groups largest(std::size_t limit) const;

 private:
  struct Entry {
    Group group;
    Id last;  ///< its octets are counted once
  };
  static void add_to(Entry& entry, Id message, std::uint64_t octets, net::WallTime arrival, std::size_t column);
  GroupBy by_;
  net::WallTime now_;
  std::unordered_map<std::string, Entry> entries_;
  Entry beyond_;
};

/// "450 4.2.0 <x@b.example>: try again in 283 seconds (id 4F0AB12C)" -> "450 4.2.0 <...>: try again in ... seconds (id
/// ...)": what differs from message to message in replies that mean the same.
std::string error_shape(std::string_view reply);

}  // namespace waypost::queue
