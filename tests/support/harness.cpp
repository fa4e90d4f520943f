#include "tests/support/harness.h"

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "base/event_log.h"
#include "net/memory_stream.h"

namespace waypost::tests {
namespace {

conf::Network network(std::array<std::uint8_t, 4> bytes, std::uint8_t prefix) {
  conf::Network out;
  for (std::size_t i = 0; i < bytes.size(); ++i) out.bytes[i] = bytes[i];
  out.prefix = prefix;
  return out;
}

conf::Domain local_domain(std::string name) {
  conf::NextHop maildir;
  maildir.kind = conf::NextHop::Kind::maildir;
  maildir.value = "/var/mail/{domain}/{local}";
  conf::Domain domain;
  domain.name = std::move(name);
  domain.deliver = maildir;
  return domain;
}

/// Counts the writes of what it wraps.
class CountingStream : public net::Stream {
 public:
  CountingStream(std::unique_ptr<net::Stream> inner, std::size_t& writes) : inner_(std::move(inner)), writes_(writes) {}
  net::Task<Result<std::size_t>> read(std::span<char> into, net::TimePoint deadline) override {
    return inner_->read(into, deadline);
  }
  net::Task<Result<>> write(std::span<const std::string_view> pieces, net::TimePoint deadline) override {
    ++writes_;
    return inner_->write(pieces, deadline);
  }
  void try_write(std::string_view octets) override { inner_->try_write(octets); }
  void close() override { inner_->close(); }
  const net::Address& local() const override { return inner_->local(); }
  const net::Address& remote() const override { return inner_->remote(); }

 private:
  std::unique_ptr<net::Stream> inner_;
  std::size_t& writes_;
};

/// What sessions log is made as always, for the sake of sanitizers, and read by nobody.
void quiet_log() {
  static const bool once = [] {
    log::Options options;
    options.target = "/dev/null";
    options.level = log::Level::debug;
    return log::open(options).has_value();
  }();
  (void)once;
}

void on_exception(std::string_view what) {
  throw std::runtime_error("out of a task: " + std::string(what));
}

}  // namespace

conf::Config harness_config() {
  conf::Config config;
  config.hostname = "relay.example";
  config.postmaster = "pm@b.example";
  config.domains.push_back(local_domain("b.example"));
  config.domains.push_back(local_domain("known.example"));
  config.domains.back().recipients = std::vector<std::string>{"ann", "bob"};
  config.relay.domains = {"backup.example", "*.sub.example"};
  config.relay.networks = {network({192, 0, 2, 0}, 24)};
  return config;
}

Harness::Harness(HarnessOptions options)
    : store(runtime, options.inline_limit),
      dns(runtime),
      auth([this](const std::function<void()>& work) {
        if (!pool_is_full) work();
        return !pool_is_full;
      }),
      asker({runtime, dns, recipients, [this] { return config_; }, [] { return std::vector<net::Address>(); }, 2}),
      config_(std::make_shared<const conf::Config>(std::move(options.config))),
      listener_(std::move(options.listener)),
      context_{runtime, store, limits, [this] { return config_; },        accepting,
               nullptr, &auth, &rates, options.asks_dns ? &dns : nullptr, &asker},
      scope_(runtime, on_exception),
      client_scope_(runtime, on_exception) {
  quiet_log();
  net::MemoryPairOptions pair;
  pair.first_address =
      options.user ? net::Address::of_user(*options.user) : *net::Address::parse(options.client, 40000);
  pair.second_address = *net::Address::parse(options.local, 25);
  pair.capacity = options.capacity;
  std::pair<std::unique_ptr<net::Stream>, std::unique_ptr<net::Stream>> ends = net::memory_pair(runtime, pair);
  client_ = std::move(ends.first);
  std::optional<mta::Limits::Token> place = limits.acquire(ends.second->remote(), 10, 10);
  client_scope_.spawn(listen(*this));
  auto counting = std::make_unique<CountingStream>(std::move(ends.second), writes_);
  scope_.spawn(mta::serve(std::move(counting), context_, listener_, *std::move(place), scope_.stop_token()));
  runtime.run_until_idle();
}

Harness::~Harness() {
  hang_up();
  store.release_commits();
  scope_.stop();
  asker.stop();
  runtime.run_until([this] { return scope_.running() == 0 && client_scope_.running() == 0 && !asker.running(); });
}

net::Task<> Harness::listen(Harness& harness) {
  std::array<char, 4096> piece{};
  while (true) {
    Result<std::size_t> got = co_await harness.client_->read(piece, net::TimePoint::max());
    if (!got || *got == 0) co_return;
    harness.all_heard_.append(piece.data(), *got);
  }
}

net::Task<> Harness::write(Harness& harness, std::string octets) {
  // A session that has closed makes it fail: what the session said tells why.
  Result<> written = co_await harness.client_->write(octets, net::TimePoint::max());
  (void)written;
}

std::string Harness::send(std::string_view octets) {
  client_scope_.spawn(write(*this, std::string(octets)));
  runtime.run_until_idle();
  return heard();
}

std::string Harness::say(std::string_view line) {
  return send(std::string(line) + "\r\n");
}

std::string Harness::say(std::initializer_list<std::string_view> lines) {
  std::string out;
  for (std::string_view line : lines) out += say(line);
  return out;
}

std::string Harness::heard() {
  std::string out = all_heard_.substr(told_);
  told_ = all_heard_.size();
  return out;
}

std::string Harness::codes(std::string_view heard) {
  std::string out;
  while (!heard.empty()) {
    std::string_view line = heard.substr(0, heard.find("\r\n"));
    heard.remove_prefix(std::min(heard.size(), line.size() + 2));
    bool last = line.size() >= 4 && line[3] == ' ';
    if (!last) continue;
    if (!out.empty()) out += ' ';
    out += line.substr(0, 3);
  }
  return out;
}

void Harness::greet(std::string_view helo) {
  say(helo);
  heard();
}

void Harness::hang_up() {
  client_->close();
  runtime.run_until_idle();
}

}  // namespace waypost::tests
