// tests/sim/plan.h: what happens in one run of the simulation, all of it made from a seed. Pure.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "conf/config.h"
#include "net/address.h"
#include "net/clock.h"

namespace waypost::sim {

/// One thing that befalls the relay. Each has chances of its own, so that leaving one out changes no other.
struct Item {
  enum class Kind : std::uint8_t {
    client,    ///< a connection that brings mail, well or badly
    crash,     ///< the machine loses power: `where` is how many steps later, `what` what is left of the disk
    kill,      ///< the process dies, the machine lives on
    restart,   ///< SIGTERM, and a start
    io_error,  ///< of the disk: `where` is at which call; at times of all calls from there on
    cut,       ///< the power goes in the middle of a disk call: likewise
    disk_full,
    slow_disk,
    clock,      ///< the wall clock jumps: `where` in minutes
    dns,        ///< of domain `where`: `what` becomes of it
    host,       ///< of host `where`: `what` it does to those who connect
    network,    ///< connections break or go silent at some octet
    operator_,  ///< somebody holds and releases mail for domain `where`, or removes it, or retries all
    reload,
  };
  Kind kind = Kind::client;
  net::Duration at{0}, lasts{0};  ///< since the start of the run
  std::uint64_t seed = 0;
  int where = 0;
  int what = 0;

  std::string text() const;
};

/// An operator's `what`: holds mail for domain `where`, and releases it at the end.
inline constexpr int kHold = 3;

/// What a host does, in a window of its own, to those who connect.
enum class Manner : std::uint8_t {
  refuse,
  black_hole,
  banner_421,
  banner_554,
  silent,
  hang_up,
  no_ehlo,
  mail_451,
  rcpt_452,
  rcpt_hang_up,
  data_451,
  dot_451,
  dot_lost,    ///< takes the message and hangs up without a reply
  dot_stall,   ///< takes the message and says nothing more
  cut_reply,   ///< hangs up in the middle of its reply to the dot, or of its replies
  part_stall,  ///< or says nothing more there
  slow,
  nonsense,  ///< replies that are none, or none to what was asked
};
constexpr int kManners = 18;

/// Where packets to an IPv6 address lead: many a host has nothing behind it.
enum class Ipv6 : std::uint8_t { works, unreachable, lost };

struct Domain {
  enum class Kind : std::uint8_t { mx, address_only, null_mx, none, dead, local, routed, lmtp };
  std::string name;
  Kind kind = Kind::mx;
  std::vector<std::pair<std::uint16_t, int>> exchangers;  ///< preference, host
};

struct Plan {
  std::uint64_t seed = 0;
  bool calm = false;            ///< nothing goes wrong: mail arrives within a minute
  net::Duration traffic;        ///< items begin within
  net::Duration heal;           ///< from here on all is well, and the queue has to run empty
  std::vector<Domain> domains;  ///< the first: where senders are; the last: local
  Ipv6 ipv6 = Ipv6::works;
  std::vector<std::vector<net::Address>> hosts;  ///< the addresses of each
  conf::Config config;
  std::vector<Item> items;  ///< by time
};

inline constexpr int kRoutedHost = 200;                   ///< the host of the route
inline constexpr int kLmtpHost = 201, kLmtpSocket = 202;  ///< those of the route by LMTP
net::Address host_address(int host);                      ///< of one of these

Plan make_plan(std::uint64_t seed);

}  // namespace waypost::sim
