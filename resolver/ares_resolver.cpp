#include "resolver/ares_resolver.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <span>
#include <vector>

#include "base/event_log.h"
#include "base/metrics.h"
#include "resolver/ares_channel.h"
#include "resolver/ares_settings.h"
#include "resolver/dns_answer.h"
#include "resolver/name.h"
#include "resolver/rounds.h"
#include "resolver/system_servers.h"

namespace waypost::resolver {

namespace {

constexpr std::uint16_t kDnsPort = 53;

/// Once for all loops, and again when it could be read meanwhile.
void tell_unreadable(const Result<std::string>& text, const char* instead) {
  static std::atomic<bool> told = false;
  const bool before = told.exchange(!text);
  if (!text && !before) log::warning(text.error().what + ": " + instead);
}

/// The servers of one state of the configuration. A question keeps those that it began with.
struct Servers {
  std::vector<std::unique_ptr<AresChannel>> channels;
  std::vector<net::TimePoint> silent_until;  ///< by server: asked after the others until then

  /// In the order given, those last found silent at the end: a dead first server must not cost each question a timeout.
  std::vector<std::size_t> order(net::TimePoint now) const {
    std::vector<std::size_t> indexes(channels.size());
    for (std::size_t i = 0; i < indexes.size(); ++i) indexes[i] = i;
    std::ranges::stable_partition(indexes, [&](std::size_t i) { return silent_until[i] <= now; });
    return indexes;
  }
};

template <class Record>
using Parse = Answer<Record> (*)(std::span<const std::uint8_t>, std::string_view, net::TimePoint);

class AresResolver final : public Resolver {
 public:
  AresResolver(net::LoopRuntime& runtime, const conf::Config::Resolver& config, AresSettings settings)
      : runtime_(runtime), config_(config), settings_(std::move(settings)) {}
  ~AresResolver() override { stop(); }

  net::Task<Answer<Mx>> mx(std::string domain) override {
    return resolve<Mx>(std::move(domain), RecordType::mx, parse_mx);
  }
  net::Task<Answer<net::Address>> a(std::string host) override {
    return resolve<net::Address>(std::move(host), RecordType::a, parse_a);
  }
  net::Task<Answer<net::Address>> aaaa(std::string host) override {
    return resolve<net::Address>(std::move(host), RecordType::aaaa, parse_aaaa);
  }
  net::Task<Answer<std::string>> ptr(std::string name) override {
    return resolve<std::string>(std::move(name), RecordType::ptr, parse_ptr);
  }
  void stop() override;

  /// Opens the servers for the first time. Blocks for one small file.
  Result<> open();

 private:
  struct Turn;
  template <class Record>
  net::Task<Answer<Record>> resolve(std::string name, RecordType type, Parse<Record> parse);
  template <class Record>
  net::Task<Answer<Record>> ask_all(std::string name, RecordType type, Parse<Record> parse);
  net::Task<> look_for_changes();
  Result<> use(const std::vector<net::Address>& addresses);
  void leave();

  net::LoopRuntime& runtime_;
  conf::Config::Resolver config_;
  AresSettings settings_;
  std::shared_ptr<Servers> servers_;
  std::vector<std::weak_ptr<Servers>> former_;  // with questions still out
  FileStamp stamp_;
  net::TimePoint look_at_{};     // when to look at the file again
  net::TimePoint last_heard_{};  // from any server
  std::size_t out_ = 0;
  std::deque<std::coroutine_handle<>> waiting_;
  bool stopped_ = false;
};

/// Waits until fewer than the most questions are out. Whoever leaves hands its place on.
struct AresResolver::Turn {
  explicit Turn(AresResolver& resolver) : owner(resolver) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    if (taken) owner.leave();
  }
  AresResolver& owner;
  bool taken = false;
  bool await_ready() const noexcept {
    if (owner.out_ >= owner.settings_.at_once) return false;
    ++owner.out_;
    return true;
  }
  void await_suspend(std::coroutine_handle<> suspended) const { owner.waiting_.push_back(suspended); }
  void await_resume() noexcept { taken = true; }
};

void AresResolver::leave() {
  if (waiting_.empty()) {
    --out_;
    return;
  }
  runtime_.resume_later(waiting_.front());
  waiting_.pop_front();
}

void AresResolver::stop() {
  if (stopped_) return;
  stopped_ = true;
  if (servers_) former_.push_back(servers_);
  for (const std::weak_ptr<Servers>& former : former_) {
    std::shared_ptr<Servers> open = former.lock();
    if (!open) continue;
    for (std::unique_ptr<AresChannel>& channel : open->channels) channel->close();
  }
}

Result<> AresResolver::use(const std::vector<net::Address>& addresses) {
  auto servers = std::make_shared<Servers>();
  net::Duration timeout = std::min<net::Duration>(config_.timeout, settings_.longest);
  for (const net::Address& address : addresses) {
    auto channel = AresChannel::create(runtime_, address, timeout);
    if (!channel) return fail(channel.error());
    servers->channels.push_back(std::move(*channel));
    servers->silent_until.emplace_back();
  }
  std::erase_if(former_, [](const std::weak_ptr<Servers>& former) { return former.expired(); });
  if (servers_) former_.push_back(servers_);
  servers_ = std::move(servers);
  return {};
}

Result<> AresResolver::open() {
  std::vector<net::Address> addresses;
  for (const conf::HostPort& server : config_.servers) {
    std::optional<net::Address> address = net::Address::parse(server.host, server.port == 0 ? kDnsPort : server.port);
    if (!address) return fail(Errc::invalid, "name server " + server.text() + ": not a numeric address");
    addresses.push_back(*address);
  }
  if (config_.servers.empty()) {
    const FileStamp stamp = stamp_of(settings_.resolv_conf);
    const Result<std::string> text = read_text(settings_.resolv_conf);
    tell_unreadable(text, "the name server is 127.0.0.1 until it can be");
    if (text) stamp_ = stamp;
    addresses = parse_resolv_conf(text.value_or(""), settings_.system_port);
    look_at_ = runtime_.now() + settings_.look_again;
  }
  return use(addresses);
}

/// Uses the file's servers if it has changed. One question looks, the others go on with the servers that are known.
net::Task<> AresResolver::look_for_changes() {
  if (stopped_ || !config_.servers.empty() || runtime_.now() < look_at_) co_return;
  look_at_ = runtime_.now() + settings_.look_again;
  FileStamp stamp;
  Result<std::string> text = fail(Errc::not_found, "");
  std::function<void()> read = [this, &stamp, &text] {
    stamp = stamp_of(settings_.resolv_conf);
    text = read_text(settings_.resolv_conf);
  };
  co_await runtime_.offload(read);
  tell_unreadable(text, "the name servers that were known serve on");
  if (stopped_ || !text || stamp == stamp_ || stamp == FileStamp()) co_return;
  Result<> used = use(parse_resolv_conf(*text, settings_.system_port));
  if (used) stamp_ = stamp;
}

template <class Record>
net::Task<Answer<Record>> AresResolver::resolve(std::string name, RecordType type, Parse<Record> parse) {
  name = canonical(name);
  if (!fits_dns(name)) {
    Answer<Record> none;
    none.status = Status::no_domain;
    none.valid_until = runtime_.now();
    none.detail = "not a name that the DNS can hold";
    co_return none;
  }
  Turn turn(*this);
  co_await turn;
  co_await look_for_changes();
  const auto began = std::chrono::steady_clock::now();  // the loop's clock has the time of its turn, in milliseconds
  const net::TimePoint asked = runtime_.now();
  Answer<Record> answer = co_await ask_all(std::move(name), type, parse);
  metrics::events().dns.observe(std::chrono::steady_clock::now() - began);
  const bool is_answered = last_heard_ >= asked;
  if (is_answered || (answer.no_server && !stopped_))
    metrics::events().dns_questions.at(is_answered ? "answered" : "unanswered", "").add();
  co_return answer;
}

/// By the configuration's tries, until a server knows. No longer than settings_.longest, and one timeout.
template <class Record>
net::Task<Answer<Record>> AresResolver::ask_all(std::string name, RecordType type, Parse<Record> parse) {
  std::shared_ptr<Servers> servers = servers_;
  net::TimePoint began = runtime_.now();
  Rounds rounds(servers->order(began), config_.tries);
  Answer<Record> failure;
  failure.detail = "the resolver has stopped";
  for (std::optional<std::size_t> index = rounds.next(); index && !stopped_; index = rounds.next()) {
    AresChannel& channel = *servers->channels[*index];
    Heard heard = co_await channel.ask(name, type);
    net::TimePoint now = runtime_.now();
    std::string from = " " + channel.server().text();
    switch (heard.kind) {
      case Heard::Kind::message: {
        last_heard_ = now;
        servers->silent_until[*index] = net::TimePoint();
        Answer<Record> answer = parse(heard.message, name, now);
        if (answer.status != Status::server_failed) co_return answer;
        failure = std::move(answer);
        failure.detail += " from" + from;
        rounds.strike();
        break;
      }
      case Heard::Kind::no_name:
        failure.status = Status::no_domain;
        failure.detail = "a name that is not asked for in the DNS";
        failure.valid_until = now;
        co_return failure;
      case Heard::Kind::failed:
        failure.status = Status::server_failed;
        failure.detail = heard.trouble + from;
        break;
      case Heard::Kind::refused:
      case Heard::Kind::silent:
        servers->silent_until[*index] = now + settings_.demoted;
        if (failure.status == Status::timed_out) failure.detail = heard.trouble + from;
        break;
      case Heard::Kind::stopped:
        failure.detail = "the resolver has stopped";
        break;
    }
    if (now - began + config_.timeout > settings_.longest) break;
  }
  failure.valid_until = runtime_.now();
  if (stopped_) failure.status = Status::timed_out;
  failure.no_server = failure.status == Status::timed_out && (stopped_ || last_heard_ < began);
  co_return failure;
}

}  // namespace

Result<std::unique_ptr<Resolver>> make_ares_resolver(net::LoopRuntime& runtime, const conf::Config::Resolver& config,
                                                     AresSettings settings) {
  auto resolver = std::make_unique<AresResolver>(runtime, config, std::move(settings));
  Result<> opened = resolver->open();
  if (!opened) return fail(opened.error());
  return std::unique_ptr<Resolver>(std::move(resolver));
}

Result<std::unique_ptr<Resolver>> make_ares_resolver(net::LoopRuntime& runtime, const conf::Config::Resolver& config) {
  return make_ares_resolver(runtime, config, AresSettings());
}

}  // namespace waypost::resolver
