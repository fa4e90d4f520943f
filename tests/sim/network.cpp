#include "tests/sim/network.h"

#include <algorithm>
#include <stop_token>
#include <utility>

namespace waypost::sim {
namespace {

/// One end of a link, over a stream in memory.
class LinkStream : public net::Stream {
 public:
  LinkStream(Network& network, std::unique_ptr<net::Stream> below, std::shared_ptr<Link> link, std::size_t end)
      : network_(network), runtime_(network.runtime()), below_(std::move(below)), link_(std::move(link)), end_(end) {
    link_->ends[end_] = below_.get();
    if (link_->broken) below_->close();
  }
  ~LinkStream() override { link_->ends[end_] = nullptr; }

  net::Task<Result<std::size_t>> read(std::span<char> into, net::TimePoint deadline) override {
    if (link_->broken) co_return broken();
    if (into.size() > 1 && link_->chance.one_in(8)) into = into.first(1 + link_->chance.below(into.size() - 1));
    Result<std::size_t> got = co_await below_->read(into, deadline);
    if (link_->broken && !closed_ && (!got || *got == 0)) co_return broken();
    if (got) link_->read[end_] += *got;
    co_return got;
  }

  net::Task<Result<>> write(std::span<const std::string_view> pieces, net::TimePoint deadline) override {
    std::string all;
    for (std::string_view piece : pieces) all += piece;
    std::string_view rest = all;
    while (!rest.empty()) {
      if (closed_) co_return fail(Errc::cancelled, "write: closed here");
      if (link_->broken) co_return broken();
      std::string_view piece = rest;
      if (rest.size() > 1 && link_->chance.one_in(3)) piece = rest.substr(0, 1 + link_->chance.below(rest.size() - 1));
      std::uint64_t& sent = link_->sent[end_];
      const std::optional<std::uint64_t> breaks_at = link_->breaks_at[end_];
      if (breaks_at && sent + piece.size() >= *breaks_at)
        piece = piece.substr(0, *breaks_at - std::min(*breaks_at, sent));
      const auto slow = static_cast<std::uint64_t>(link_->slowness.count());
      if (slow > 0 && link_->chance.one_in(2)) {
        const net::TimePoint arrives = std::min(runtime_.now() + net::Duration(link_->chance.below(slow)), deadline);
        co_await runtime_.sleep_until(arrives, stop_.get_token());
        if (closed_) co_return fail(Errc::cancelled, "write: closed here");
        if (link_->broken) co_return broken();
      }
      const std::optional<std::uint64_t> silent_at = link_->silent_at[end_];
      network_.trace().add(piece);
      sent += piece.size();
      rest.remove_prefix(piece.size());
      // What goes into the void is not noticed by the one who sends it.
      if (!silent_at || sent <= *silent_at) {
        Result<> written = co_await below_->write(std::span<const std::string_view>(&piece, 1), deadline);
        if (link_->broken && !closed_) co_return broken();
        if (!written) co_return written;
      }
      if (breaks_at && sent >= *breaks_at) {
        link_->break_off();
        co_return broken();
      }
    }
    co_return Result<>();
  }

  void close() override {
    closed_ = true;
    stop_.request_stop();
    below_->close();
  }
  const net::Address& local() const override { return below_->local(); }
  const net::Address& remote() const override { return below_->remote(); }

 private:
  static tl::unexpected<Error> broken() { return fail(Errc::closed, "connection reset by peer"); }

  Network& network_;
  tests::VirtualRuntime& runtime_;
  std::unique_ptr<net::Stream> below_;
  std::shared_ptr<Link> link_;
  const std::size_t end_;
  bool closed_ = false;
  std::stop_source stop_;
};

class LinkListener : public net::Listener {
 public:
  LinkListener(Network& network, std::unique_ptr<net::Listener> below) : network_(network), below_(std::move(below)) {}
  net::Task<Result<std::unique_ptr<net::Stream>>> accept() override;
  void close() override { below_->close(); }

 private:
  Network& network_;
  std::unique_ptr<net::Listener> below_;
};

net::Task<Result<std::unique_ptr<net::Stream>>> LinkListener::accept() {
  Result<std::unique_ptr<net::Stream>> stream = co_await below_->accept();
  if (!stream) co_return stream;
  std::shared_ptr<Link> link = network_.link_from((*stream)->remote());
  std::unique_ptr<net::Stream> end = std::make_unique<LinkStream>(network_, std::move(*stream), std::move(link), 1);
  co_return end;
}

}  // namespace

void Link::break_off() {
  broken = true;
  for (net::Stream* end : ends)
    if (end) end->close();
}

net::Task<Result<std::unique_ptr<net::Stream>>> Network::connect(net::Address remote,
                                                                 std::optional<net::Address> source,
                                                                 net::TimePoint deadline, std::stop_token stop) {
  if (ipv6 == Ipv6::unreachable && remote.family == 6)
    co_return fail(Errc::unreachable, "connect to " + remote.text() + ": network is unreachable");
  if (black_holes.contains(remote) || (ipv6 == Ipv6::lost && remote.family == 6)) {
    const bool waited = co_await runtime_.sleep_until(deadline, stop);
    if (!waited) co_return fail(Errc::cancelled, "connect to " + remote.text() + ": stopped");
    co_return fail(Errc::timed_out, "connect to " + remote.text() + ": timed out");
  }
  if (refusing.contains(remote)) co_return fail(Errc::refused, "connect to " + remote.text() + ": connection refused");
  Result<std::unique_ptr<net::Stream>> stream = co_await runtime_.connect(remote, source, deadline, stop);
  if (!stream) co_return stream;
  auto link = std::make_shared<Link>(chance_.next(), (*stream)->local());
  link->slowness = slowness;
  if (flaky && chance_.one_in(2)) {
    // Most of a dialogue is within its first hundreds of octets.
    const std::uint64_t at = chance_.below(chance_.one_in(2) ? 300 : 6000);
    (chance_.one_in(2) ? link->breaks_at : link->silent_at)[chance_.below(2)] = at;
  }
  coming_[link->client] = link;
  links_.push_back(link);
  std::unique_ptr<net::Stream> end = std::make_unique<LinkStream>(*this, std::move(*stream), link, 0);
  co_return end;
}

Result<std::unique_ptr<net::Listener>> Network::listen(const net::Address& address) {
  Result<std::shared_ptr<net::ListenSocket>> socket = runtime_.listen(address);
  if (!socket) return fail(socket.error());
  return accept_on(*std::move(socket));
}

Result<std::unique_ptr<net::Listener>> Network::accept_on(std::shared_ptr<net::ListenSocket> socket) {
  Result<std::unique_ptr<net::Listener>> below = runtime_.accept_on(std::move(socket));
  if (!below) return below;
  return std::make_unique<LinkListener>(*this, *std::move(below));
}

void Network::break_all() {
  for (const std::weak_ptr<Link>& each : links_)
    if (std::shared_ptr<Link> link = each.lock()) link->break_off();
  links_.clear();
  coming_.clear();
}

std::shared_ptr<Link> Network::link_from(const net::Address& client) {
  auto found = coming_.find(client);
  if (found == coming_.end()) {
    auto gone = std::make_shared<Link>(0, client);
    gone->broken = true;
    return gone;
  }
  std::shared_ptr<Link> link = std::move(found->second);
  coming_.erase(found);
  return link;
}

std::shared_ptr<Link> Network::find_link(const net::Address& client) const {
  for (auto each = links_.rbegin(); each != links_.rend(); ++each)
    if (std::shared_ptr<Link> link = each->lock(); link && !link->broken && link->client == client) return link;
  return nullptr;
}

net::Task<Result<std::unique_ptr<net::Stream>>> Machine::connect(net::Address remote,
                                                                 std::optional<net::Address> source,
                                                                 net::TimePoint deadline, std::stop_token stop) {
  if (dead_) co_return fail(Errc::cancelled, "connect to " + remote.text() + ": this life is over");
  Result<std::unique_ptr<net::Stream>> stream = co_await network_.connect(remote, source, deadline, stop);
  if (dead_ && stream) co_return fail(Errc::cancelled, "connect to " + remote.text() + ": this life is over");
  co_return stream;
}

}  // namespace waypost::sim
