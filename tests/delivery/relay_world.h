// tests/delivery/relay_world.h: dispatcher, real store and scripted hosts together in virtual time.
#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "conf/config.h"
#include "delivery/dispatcher.h"
#include "net/line_buffer.h"
#include "net/scope.h"
#include "net/tls_stream.h"
#include "queue/sqlite_store.h"
#include "tests/support/fake_resolver.h"
#include "tests/support/virtual_runtime.h"

namespace waypost::tests {

/// A host that takes mail: what it answers, and what it was given.
class Host {
 public:
  /// "192.0.2.1", at port 25, or the path of a socket.
  Host(VirtualRuntime& runtime, const std::string& address)
      : runtime_(runtime), scope_(runtime, [](std::string_view) {}) {
    const bool local = address.starts_with('/');
    const Result<std::shared_ptr<net::ListenSocket>> socket =
        runtime.listen(local ? net::Address::local(address) : *net::Address::parse(address, 25));
    listener_ = std::move(*runtime.accept_on(*socket));
    scope_.spawn(accept(*this));
  }

  std::string banner = "220 host.test ESMTP";
  /// Of RCPT; told the whole line. "" closes the connection.
  std::function<std::string(const std::string&)> on_rcpt = [](const std::string&) { return "250 2.1.5 ok"; };
  std::function<std::string()> on_dot = [] { return "250 2.0.0 taken"; };
  std::function<void()> on_quit = [] {};
  bool lmtp = false;
  bool dsn = false;
  enum class Tls { none, good, refused, broken };
  Tls tls = Tls::none;  ///< STARTTLS: not offered; taken; answered 454; the connection is closed in the handshake
  std::shared_ptr<const net::TlsServer> tls_server;
  bool require_tls = false;           ///< REQUIRETLS is offered under TLS
  std::string in_clear;               ///< all that was said without TLS
  std::string auth_reply;             ///< AUTH is offered, and answered so
  bool breaks_pipelining = false;     ///< hangs up when a command comes before its reply has gone
  bool closes_after_message = false;  ///< when the next command comes
  bool breaks_chunking = false;       ///< CHUNKING is offered, and BDAT answered 502
  /// Of each recipient of an LMTP transaction.
  std::function<std::string(const std::string&)> on_dot_for = [](const std::string&) { return "250 2.0.0 saved"; };
  struct Taken {
    std::string from;
    std::vector<std::string> to;
    std::string body;
    std::string ehlo{};    ///< who the client said it was
    std::string source{};  ///< its address
  };
  std::vector<Taken> taken;
  int connections = 0;
  int open = 0;
  int most_open = 0;

  void close() {
    listener_->close();
    scope_.stop();
  }
  bool idle() const { return scope_.running() == 0; }

 private:
  static net::Task<> accept(Host& host) {
    for (;;) {
      Result<std::unique_ptr<net::Stream>> stream = co_await host.listener_->accept();
      if (!stream) co_return;
      host.scope_.spawn(serve(host, std::move(*stream)));
    }
  }

  static net::Task<> serve(Host& host, std::unique_ptr<net::Stream> stream) {
    ++host.connections;
    host.most_open = std::max(host.most_open, ++host.open);
    net::LineBuffer lines(*stream);
    std::string out = host.banner + "\r\n";
    Taken message;
    bool secured = false;
    bool taken_one = false;
    std::string ehlo;
    for (;;) {
      const Result<> sent = co_await stream->write(std::string_view(out), net::TimePoint::max());
      out.clear();
      if (!sent) break;
      const Result<net::LineBuffer::Line> line = co_await lines.read_line(4096, net::TimePoint::max());
      if (!line) break;
      const std::string said(line->text);
      if (host.closes_after_message && taken_one) break;
      if (!secured) host.in_clear += said + "\n";
      if (said == "STARTTLS" && host.tls == Tls::refused) {
        out = "454 4.7.0 not now\r\n";
      } else if (said == "STARTTLS" && host.tls != Tls::none) {
        const Result<> go = co_await stream->write(std::string_view("220 go\r\n"), net::TimePoint::max());
        if (!go || host.tls == Tls::broken) break;
        Result<std::unique_ptr<net::TlsStream>> tls =
            net::tls_accept(std::move(stream), host.tls_server, host.runtime_.now());
        net::TlsStream* server = tls->get();
        stream = *std::move(tls);
        lines.attach(*stream);
        const Result<> shaken = co_await server->handshake(net::TimePoint::max());
        if (!shaken) break;
        secured = true;
      } else if (said.starts_with(host.lmtp ? "LHLO" : "EHLO")) {
        ehlo = said.substr(5);
        out = "250-host.test\r\n250-PIPELINING\r\n250-SIZE\r\n250-8BITMIME\r\n";
        if (host.dsn) out += "250-DSN\r\n";
        if (host.breaks_chunking) out += "250-CHUNKING\r\n";
        if (host.tls != Tls::none && !secured) out += "250-STARTTLS\r\n";
        if (host.require_tls && secured) out += "250-REQUIRETLS\r\n";
        if (!host.auth_reply.empty()) out += "250-AUTH SCRAM-SHA-256\r\n";
        out += "250 ENHANCEDSTATUSCODES\r\n";
      } else if (said.starts_with("AUTH")) {
        out = host.auth_reply + "\r\n";
      } else if (said.starts_with("BDAT")) {
        out = "502 5.5.1 what\r\n";
      } else if (said.starts_with("MAIL")) {
        if (host.breaks_pipelining && lines.buffered() > 0) break;
        message = Taken{said.substr(10, said.find('>') - 9), {}, "", ehlo, stream->remote().host()};
        out = "250 2.1.0 ok\r\n";
      } else if (said.starts_with("RCPT")) {
        const std::string reply = host.on_rcpt(said);
        if (reply.empty()) break;
        if (reply.front() == '2') message.to.push_back(said.substr(8, said.find('>') - 7));
        out = reply + "\r\n";
      } else if (said == "DATA") {
        if (message.to.empty()) {
          out = "554 5.5.1 nobody\r\n";
          continue;
        }
        const Result<> start = co_await stream->write(std::string_view("354 go\r\n"), net::TimePoint::max());
        if (!start) break;
        bool ended = false;
        while (!ended) {
          const Result<net::LineBuffer::Line> text = co_await lines.read_line(4096, net::TimePoint::max());
          if (!text) break;
          ended = text->text == ".";
          if (!ended) message.body += std::string(text->text) + "\r\n";
        }
        if (!ended) break;
        if (host.lmtp) {
          for (const std::string& to : message.to) out += host.on_dot_for(to) + "\r\n";
          host.taken.push_back(message);
          continue;
        }
        const std::string reply = host.on_dot();
        if (reply.empty()) break;
        taken_one = true;
        if (reply.front() == '2') host.taken.push_back(message);
        out = reply + "\r\n";
      } else if (said == "QUIT") {
        host.on_quit();
        break;
      } else {
        out = "250 2.0.0 ok\r\n";
      }
    }
    stream->close();
    --host.open;
  }

  VirtualRuntime& runtime_;
  net::Scope scope_;
  std::unique_ptr<net::Listener> listener_;
};

/// `smtp:[HOST]`
inline conf::NextHop hop_to(const std::string& host) {
  conf::NextHop out;
  out.host.host = host;
  return out;
}

/// A store between the dispatcher and the real one: counts, and fails as told.
class TappedStore : public queue::Store {
 public:
  explicit TappedStore(queue::Store& store) : store_(store) {}

  int pages = 0;                                ///< calls of due()
  std::optional<Errc> fail_outcomes;            ///< settle() ends so, without effect
  std::optional<Errc> fail_destinations;        ///< and settle_destination()
  std::optional<Errc> fail_pages;               ///< and due()
  std::vector<queue::Settlement> settled;       ///< without their notifications
  std::size_t joins = 0;                        ///< calls of join_site()
  std::vector<queue::DestinationState> states;  ///< what settle_destination() was given

  queue::Draft draft() override { return store_.draft(); }
  net::Task<Result<>> commit(queue::NewMessage message, queue::Draft draft, queue::BodyNotes notes,
                             std::optional<queue::Notification> notification) override {
    return store_.commit(std::move(message), std::move(draft), notes, std::move(notification));
  }
  net::Task<Result<bool>> settle(queue::Settlement settlement) override {
    queue::Settlement kept = settlement;
    kept.notifications.clear();
    settled.push_back(std::move(kept));
    if (fail_outcomes) return no_outcome(*fail_outcomes);
    return store_.settle(std::move(settlement));
  }
  net::Task<Result<>> settle_destination(queue::DestinationState state) override {
    states.push_back(state);
    if (fail_destinations) return failed(*fail_destinations);
    return store_.settle_destination(std::move(state));
  }
  net::Task<Result<std::vector<queue::DestinationRow>>> destinations(std::string name, bool count,
                                                                     queue::WallTime now) override {
    return store_.destinations(std::move(name), count, now);
  }
  net::Task<Result<>> join_site(std::string destination, std::string site, queue::WallTime until) override {
    ++joins;
    if (fail_destinations) return failed(*fail_destinations);
    return store_.join_site(std::move(destination), std::move(site), until);
  }
  net::Task<Result<>> change_destination(queue::DestinationChange change) override {
    return store_.change_destination(std::move(change));
  }
  net::Task<Result<queue::WaitingPage>> waiting(queue::Id after) override { return store_.waiting(after); }
  net::Task<Result<>> redirect(std::vector<queue::Due> due, queue::WallTime now) override {
    return store_.redirect(std::move(due), now);
  }
  net::Task<Result<bool>> compare_routes(std::uint64_t routes, queue::WallTime now) override {
    return store_.compare_routes(routes, now);
  }
  net::Task<Result<std::shared_ptr<const queue::Content>>> content(queue::Id id) override { return store_.content(id); }
  queue::BodyReader read_body(std::shared_ptr<const queue::Content> content) override {
    return store_.read_body(std::move(content));
  }
  net::Task<Result<queue::DuePage>> due(queue::DueQuery query) override {
    ++pages;
    if (fail_pages) return no_page(*fail_pages);
    return store_.due(std::move(query));
  }
  net::Task<Result<std::vector<queue::Overdue>>> overdue(queue::WallTime now, std::size_t limit) override {
    return store_.overdue(now, limit);
  }
  net::Task<Result<queue::Overdue>> unsettled(queue::Id id) override { return store_.unsettled(id); }
  net::Task<Result<std::optional<queue::WallTime>>> note_time(std::optional<queue::WallTime> now) override {
    return store_.note_time(now);
  }
  net::Task<Result<queue::Undelivered>> undelivered() override { return store_.undelivered(); }
  net::Task<Result<>> commit_digest(queue::Notification digest, queue::Undelivered told) override {
    return store_.commit_digest(std::move(digest), std::move(told));
  }
  net::Task<Result<queue::Listing>> list(queue::Filter filter, std::optional<queue::Id> after, std::size_t limit,
                                         queue::WallTime now) override {
    return store_.list(std::move(filter), after, limit, now);
  }
  net::Task<Result<queue::Counts>> count(queue::Filter filter, queue::WallTime now) override {
    return store_.count(std::move(filter), now);
  }
  net::Task<Result<std::size_t>> forward(queue::ForwardRequest request) override {
    return store_.forward(std::move(request));
  }
  net::Task<Result<queue::Matches>> match(queue::Filter filter, queue::Id after, queue::WallTime now) override {
    return store_.match(std::move(filter), after, now);
  }
  net::Task<Result<queue::Groups>> group(queue::Filter filter, queue::GroupBy by, std::size_t limit,
                                         queue::WallTime now) override {
    return store_.group(std::move(filter), by, limit, now);
  }
  net::Task<Result<queue::Changed>> change(queue::ChangeRequest request) override {
    return store_.change(std::move(request));
  }
  net::Task<Result<queue::Changed>> undo(std::uint64_t number, std::string who, queue::WallTime now,
                                         queue::Watched progress) override {
    return store_.undo(number, std::move(who), now, std::move(progress));
  }
  net::Task<Result<>> record(queue::ChangeRecord change) override { return store_.record(std::move(change)); }
  net::Task<Result<std::vector<queue::ChangeRecord>>> changes(std::uint64_t before, std::size_t limit) override {
    return store_.changes(before, limit);
  }
  net::Task<Result<>> forget_removed(queue::WallTime now, std::stop_token stop) override {
    return store_.forget_removed(now, std::move(stop));
  }

 private:
  static net::Task<Result<>> failed(Errc code) { co_return fail(code, "as told"); }
  static net::Task<Result<bool>> no_outcome(Errc code) { co_return fail(code, "as told"); }
  static net::Task<Result<queue::DuePage>> no_page(Errc code) { co_return fail(code, "as told"); }
  queue::Store& store_;
};

/// The outbound half of a relay.
class RelayWorld {
 public:
  explicit RelayWorld(
      std::function<void(conf::Config&)> change = [](conf::Config&) {}, queue::Schedule::Limits limits = {})
      : resolver(runtime), window(limits) {
    folder_ = std::filesystem::temp_directory_path() /
              ("waypost-dispatcher-" + std::to_string(getpid()) + "-" + std::to_string(next_++));
    std::filesystem::create_directories(folder_);
    auto made = std::make_shared<conf::Config>();
    made->hostname = "relay.test";
    made->queue.retry = {std::chrono::seconds(60), std::chrono::seconds(120)};
    made->queue.expire = std::chrono::hours(1);
    made->queue.bounce_expire = std::chrono::hours(1);
    made->queue.delay_warning = std::chrono::seconds(0);
    change(*made);
    config = made;
    open();
  }
  ~RelayWorld() {
    shut();
    for (auto& [address, host] : hosts_) host->close();
    runtime.run_until_idle();
    std::filesystem::remove_all(folder_);
  }

  queue::History& history() { return *history_; }

  VirtualRuntime runtime;
  FakeResolver resolver;
  std::shared_ptr<const conf::Config> config;
  std::unique_ptr<queue::SqliteQueue> queue;
  std::unique_ptr<queue::Store> store;
  std::unique_ptr<TappedStore> tapped;  ///< what the dispatcher has
  std::unique_ptr<delivery::Dispatcher> dispatcher;
  queue::Schedule::Limits window;                    ///< of the next open()
  std::vector<smtp::Path> postmasters;               ///< whom digests go to
  std::vector<net::Address> own;                     ///< our addresses
  std::shared_ptr<const net::TlsClient> tls_client;  ///< null: no TLS on the way out
  std::vector<queue::Due> spare;                     ///< for a test's own use
  net::Duration step = std::chrono::milliseconds(100);
  bool require_tls = false;  ///< of what is submitted
  std::string login;         ///< likewise

  void adjust(const std::function<void(conf::Config&)>& change) {
    auto made = std::make_shared<conf::Config>(*config);
    change(*made);
    config = made;
  }
  void reload(const std::function<void(conf::Config&)>& change) {
    adjust(change);
    dispatcher->reconfigured();
  }

  Host& host(const std::string& address) {
    std::unique_ptr<Host>& one = hosts_[address];
    if (!one) one = std::make_unique<Host>(runtime, address);
    return *one;
  }

  void open() {
    files_ = std::move(*queue::open_files(folder_.string()));
    // What is old is forgotten by the real clock.
    const std::chrono::hours for_ever(24 * 365 * 200);
    history_ = std::move(*queue::open_history((folder_ / "history.db").string(), for_ever));
    queue::StoreOptions options;
    options.data_dir = folder_.string();
    options.own_thread = false;
    options.clock = &runtime;
    queue = std::move(*queue::SqliteQueue::open(options, *files_, *history_));
    store = queue->store(runtime);
    tapped = std::make_unique<TappedStore>(*store);
    dispatcher = std::make_unique<delivery::Dispatcher>(
        runtime, *tapped, resolver, [this] { return config; }, [this] { return own; }, queue::open_folder, window,
        [this] { return tls_client; });
    dispatcher->set_postmasters([this] { return postmasters; });
    queue::StoreEvents events;
    events.arrived = [this](std::vector<queue::Due> due) {
      auto shared = std::make_shared<std::vector<queue::Due>>(std::move(due));
      runtime.post([this, shared] {
        if (dispatcher) dispatcher->arrived(std::move(*shared));
      });
    };
    events.changed = [this] {
      runtime.post([this] {
        if (dispatcher) dispatcher->changed();
      });
    };
    queue->set_events(std::move(events));
    dispatcher->start();
  }

  /// As a stop of the daemon: what is under way ends, nothing new begins.
  void shut() {
    dispatcher->stop();
    dispatcher->abort();
    until([this] { return !dispatcher->running(); }, std::chrono::minutes(30));
    dispatcher.reset();
    tapped.reset();
    store.reset();
    queue.reset();
    history_.reset();
    files_.reset();
  }

  /// Lets everything happen, with time passing in steps, until `done` holds.
  bool until(const std::function<bool()>& done, net::Duration limit) {
    const net::TimePoint end = runtime.now() + limit;
    for (;;) {
      runtime.run_until_idle();
      while (queue->run_pending()) runtime.run_until_idle();
      if (done()) return true;
      if (runtime.now() >= end) return false;
      runtime.advance(step);
    }
  }
  void pass(net::Duration time) {
    until([] { return false; }, time);
  }
  void settle_down() {
    until([] { return false; }, std::chrono::milliseconds(200));
  }

  queue::Id submit(const std::string& from, const std::vector<std::string>& to,
                   const std::string& body = "Subject: x\r\n\r\ntext\r\n", smtp::Notify notify = {}) {
    queue::Draft draft = store->draft();
    queue::NewMessage message;
    message.id = draft.id();
    if (!from.empty()) message.envelope.reverse_path = smtp::Path{*smtp::parse_mailbox(from)};
    for (const std::string& one : to) {
      smtp::EnvelopeRecipient recipient;
      recipient.forward_path = smtp::Path{*smtp::parse_mailbox(one)};
      recipient.notify = notify;
      message.envelope.recipients.push_back(recipient);
    }
    message.envelope.require_tls = require_tls;
    message.origin.user = login;
    delivery::assign_destinations(*config, message);
    message.trace = "Received: by relay.test\r\n";
    message.arrival = runtime.wall_now();
    message.expires = message.arrival + config->queue.expire;
    if (config->queue.delay_warning.count() > 0) message.warn_at = message.arrival + config->queue.delay_warning;
    draft.buffer() = body;
    const queue::Id id = message.id;
    std::optional<Result<>> done;
    net::Scope scope(runtime, [](std::string_view) {});
    scope.spawn(commit(*store, std::move(message), std::move(draft), done));
    until([&] { return scope.running() == 0; }, std::chrono::seconds(5));
    if (!done || !*done) throw std::runtime_error("commit failed");
    return id;
  }

  /// As the store would tell of it.
  queue::Due due_of(queue::Id id, const std::string& destination) {
    auto info = std::make_shared<queue::MessageInfo>();
    info->id = id;
    queue::Due due;
    due.message = info;
    due.destination = destination;
    due.recipients.resize(1);
    return due;
  }

  queue::Counts counts() {
    std::optional<Result<queue::Counts>> out;
    net::Scope scope(runtime, [](std::string_view) {});
    scope.spawn(count(*store, runtime.wall_now(), out));
    until([&] { return scope.running() == 0; }, std::chrono::seconds(5));
    return **out;
  }
  bool empty() { return counts().messages == 0; }
  /// Until nothing is queued.
  bool drained(net::Duration limit) {
    for (const net::TimePoint end = runtime.now() + limit; runtime.now() < end;) {
      if (empty()) return true;
      until([] { return false; }, std::chrono::seconds(1));
    }
    return empty();
  }
  std::vector<queue::MessageRow> rows() {
    std::optional<Result<queue::Listing>> out;
    net::Scope scope(runtime, [](std::string_view) {});
    scope.spawn(list(*store, runtime.wall_now(), out));
    until([&] { return scope.running() == 0; }, std::chrono::seconds(5));
    return (**out).messages;
  }
  void change(queue::Change what) {
    net::Scope scope(runtime, [](std::string_view) {});
    scope.spawn(do_change(*store, what, runtime.wall_now()));
    until([&] { return scope.running() == 0; }, std::chrono::seconds(5));
  }

 private:
  static net::Task<> commit(queue::Store& store, queue::NewMessage message, queue::Draft draft,
                            std::optional<Result<>>& out) {
    const queue::BodyNotes notes;
    Result<> done = co_await store.commit(std::move(message), std::move(draft), notes, std::nullopt);
    out.emplace(std::move(done));
  }
  static net::Task<> count(queue::Store& store, queue::WallTime now, std::optional<Result<queue::Counts>>& out) {
    queue::Filter all;
    Result<queue::Counts> counts = co_await store.count(all, now);
    out.emplace(std::move(counts));
  }
  static net::Task<> list(queue::Store& store, queue::WallTime now, std::optional<Result<queue::Listing>>& out) {
    queue::Filter all;
    Result<queue::Listing> listing = co_await store.list(all, std::nullopt, 1000, now);
    out.emplace(std::move(listing));
  }
  static net::Task<> do_change(queue::Store& store, queue::Change what, queue::WallTime now) {
    queue::ChangeRequest request;
    request.change = what;
    request.reason = "test";
    request.now = now;
    Result<queue::Changed> changed = co_await store.change(std::move(request));
    if (!changed) throw std::runtime_error(changed.error().what);
  }

  static inline int next_ = 0;
  std::filesystem::path folder_;
  std::unique_ptr<queue::Files> files_;
  std::unique_ptr<queue::History> history_;
  std::map<std::string, std::unique_ptr<Host>> hosts_;
};

/// A domain with one exchanger of its own.
inline Host& own_host(RelayWorld& world, const std::string& domain, const std::string& address) {
  world.resolver.add_mx(domain, {{10, "mx." + domain}});
  world.resolver.add_host("mx." + domain, {address});
  return world.host(address);
}

inline std::string domain(int number) {
  return "d" + std::to_string(number) + ".test";
}

/// So many domains with the same exchanger: one site.
inline Host& many_domains(RelayWorld& world, int count) {
  for (int i = 0; i < count; ++i) world.resolver.add_mx(domain(i), {{10, "mx.many.test"}});
  world.resolver.add_host("mx.many.test", {"192.0.2.77"});
  return world.host("192.0.2.77");
}

/// b.test with two equal exchangers and one behind them.
inline void three_exchangers(RelayWorld& world) {
  world.resolver.add_mx("b.test", {{10, "mx1.b.test"}, {10, "mx2.b.test"}, {20, "mx3.b.test"}});
  world.resolver.add_host("mx1.b.test", {"192.0.2.1"});
  world.resolver.add_host("mx2.b.test", {"192.0.2.2"});
  world.resolver.add_host("mx3.b.test", {"192.0.2.3"});
}

/// a.test takes the notifications.
inline Host& sender_host(RelayWorld& world) {
  world.resolver.add_mx("a.test", {{10, "mx.a.test"}});
  world.resolver.add_host("mx.a.test", {"192.0.2.100"});
  return world.host("192.0.2.100");
}

/// That a host took, of all copies.
inline std::size_t recipients_of(const Host& host) {
  std::size_t count = 0;
  for (const Host::Taken& copy : host.taken) count += copy.to.size();
  return count;
}

/// Opens the world; what `submit` brings is queued before anything is delivered.
inline void queue_without_delivery(RelayWorld& world, const std::function<void()>& submit) {
  world.open();
  world.dispatcher->stop();
  submit();
  world.shut();
  world.open();
}

}  // namespace waypost::tests
