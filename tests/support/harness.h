// tests/support/harness.h: one inbound session on in-memory streams and a virtual clock, and the client that talks to
// it.
#pragma once
#include <atomic>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "conf/config.h"
#include "mta/authenticator.h"
#include "mta/limits.h"
#include "mta/recipient_asker.h"
#include "mta/recipient_cache.h"
#include "mta/session.h"
#include "net/scope.h"
#include "net/stream.h"
#include "tests/support/fake_resolver.h"
#include "tests/support/fake_store.h"
#include "tests/support/virtual_runtime.h"

namespace waypost::tests {

/// A relay to talk to: hostname relay.example; local domains b.example (anyone), known.example (ann, bob), its
/// postmaster pm@b.example; relay domain backup.example and *.sub.example; trusted network 192.0.2.0/24.
conf::Config harness_config();

struct HarnessOptions {
  HarnessOptions() {}
  conf::Config config = harness_config();
  std::string client = "198.51.100.7";  ///< a stranger; 192.0.2.1 is trusted
  std::string local = "203.0.113.25";
  std::optional<std::uint32_t> user = {};  ///< in place of `client`: one of this machine
  conf::Listener listener;
  bool asks_dns = false;  ///< of Harness::dns
  std::uint64_t inline_limit = 64 * 1024;
  std::size_t capacity = 1 << 20;  ///< octets in flight each way
};

class Harness {
 public:
  explicit Harness(HarnessOptions options = HarnessOptions());
  ~Harness();

  /// Sends the lines one by one, each after the session has done what it can with the one before.
  /// Returns what was heard meanwhile.
  std::string say(std::initializer_list<std::string_view> lines);
  std::string say(std::string_view line);
  /// Sends the octets as they are, in one write, and lets the session do what it can. Returns what was heard.
  std::string send(std::string_view octets);
  /// What was heard since the last call of this or of the above.
  std::string heard();
  /// All that was ever heard.
  const std::string& all_heard() const { return all_heard_; }
  /// The codes of the replies in `heard`: "250 550 354".
  static std::string codes(std::string_view heard);

  /// The greeting and the reply to EHLO are heard and forgotten.
  void greet(std::string_view helo = "EHLO c.example");
  /// The client closes its end.
  void hang_up();
  bool ended() const { return scope_.running() == 0; }  ///< the session is over
  void stop() { scope_.stop(); }
  /// How many writes the session made: system calls, on a socket.
  std::size_t writes() const { return writes_; }
  /// Replaces the snapshot.
  void configure(conf::Config config) { config_ = std::make_shared<const conf::Config>(std::move(config)); }

  VirtualRuntime runtime;
  FakeStore store;
  FakeResolver dns;
  mta::Limits limits;
  std::atomic<bool> accepting{true};
  bool pool_is_full = false;  ///< no password is looked at
  mta::Authenticator auth;    ///< its pool works at once, on the thread of the test
  mta::Rates rates;
  mta::RecipientCache recipients;
  mta::RecipientAsker asker;

 private:
  static net::Task<> listen(Harness& harness);
  static net::Task<> write(Harness& harness, std::string octets);

  std::shared_ptr<const conf::Config> config_;
  conf::Listener listener_;
  mta::ServerContext context_;
  std::unique_ptr<net::Stream> client_;
  net::Scope scope_;
  net::Scope client_scope_;
  std::string all_heard_;
  std::size_t told_ = 0;
  std::size_t writes_ = 0;
};

}  // namespace waypost::tests
