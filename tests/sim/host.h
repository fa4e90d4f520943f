// tests/sim/host.h: a remote host that takes mail, and does to those who connect what the plan says.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "net/line_buffer.h"
#include "net/scope.h"
#include "tests/sim/ledger.h"
#include "tests/sim/network.h"
#include "tests/sim/plan.h"

namespace waypost::sim {

/// What hosts and clients know of the run that they are in.
struct Scene {
  Network& network;
  Ledger& ledger;
  std::function<int()> life;                     ///< of the relay
  std::function<void(const std::string&)> note;  ///< into the trace
};

/// Recipients' local parts say what becomes of them: ok-, no- (550), later1-, later2-, later3- (450 so many times),
/// dot- (554 to the final dot). By LMTP 450, too, may come after the dot, and each has a reply of its own there.
class Host {
 public:
  Host(Scene& scene, int number, std::vector<net::Address> addresses, std::uint64_t seed);

  const std::vector<net::Address>& addresses() const { return addresses_; }
  std::optional<Manner> manner;               ///< of now
  std::optional<std::uint8_t> manner_family;  ///< those alone who come by it see that
  bool idle() const { return scope_.running() == 0; }
  void close();

 private:
  struct Dialogue;
  /// The octet with which the reply for it ends.
  using Told = std::vector<std::pair<std::uint64_t, Take*>>;
  static net::Task<> accept(Host& host, net::Listener& listener);
  static net::Task<> serve(Host& host, std::unique_ptr<net::Stream> stream);
  net::Task<Result<std::string>> answer(Dialogue& dialogue, const std::string& line);
  net::Task<Result<std::string>> take_body(Dialogue& dialogue);
  net::Task<Result<std::string>> take_chunk(Dialogue& dialogue, const std::string& line);
  net::Task<Result<std::string>> end_of_body(Dialogue& dialogue);
  void expect(Dialogue& dialogue, std::size_t octets);
  static net::Task<> confirm(Host& host, std::shared_ptr<Link> link, Told told, std::uint64_t whole);
  std::string nonsense();
  bool is_busy(const std::string& address);
  std::string on_recipient(Dialogue& dialogue, const std::string& line);
  std::string on_dot(Dialogue& dialogue);
  std::string on_lmtp_dot(Dialogue& dialogue);
  Take take_now() const;

  Scene& scene_;
  const std::vector<net::Address> addresses_;
  const std::string name_;
  const bool lmtp_;
  Chance chance_;
  net::Scope scope_;
  std::vector<std::unique_ptr<net::Listener>> listeners_;
  std::map<std::string, int> later_;  ///< how often a recipient was put off
};

}  // namespace waypost::sim
