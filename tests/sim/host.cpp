#include "tests/sim/host.h"

#include <algorithm>
#include <utility>

namespace waypost::sim {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kLongestLine = 12000;

std::string path_in(const std::string& line) {
  const std::size_t from = line.find('<') + 1;
  return line.substr(from, line.find('>') - from);
}

/// An agreement as servers write it.
std::string yes(Chance& chance, const std::string& text) {
  switch (chance.below(6)) {
    case 0:
      return "250\r\n";
    case 1:
      return "250-" + text + "\r\n250 and so on\r\n";
    default:
      return "250 " + text + "\r\n";
  }
}

}  // namespace

struct Host::Dialogue {
  Dialogue(net::Stream& s, Manner m, bool has) : stream(s), lines(s), manner(m), has_manner(has) {}
  net::Stream& stream;
  net::LineBuffer lines;
  Manner manner;
  bool has_manner;
  std::string from;
  std::vector<std::string> to;
  std::string body;
  std::string out;  ///< replies of a group that is not at its end
  bool mail = false;
  bool over = false, stalls = false;  ///< once the replies are out
  std::vector<Take*> unconfirmed;     ///< until the relay says something more
  Told told;                          ///< by the replies that go out next
  bool does(Manner what) const { return has_manner && manner == what; }
};

Host::Host(Scene& scene, int number, std::vector<net::Address> addresses, std::uint64_t seed)
    : scene_(scene),
      addresses_(std::move(addresses)),
      name_("mx" + std::to_string(number)),
      lmtp_(number == kLmtpHost || number == kLmtpSocket),
      chance_(seed),
      scope_(scene.network.runtime(),
             [&scene](std::string_view what) { scene.ledger.broken("host: " + std::string(what)); }) {
  for (const net::Address& address : addresses_) {
    listeners_.push_back(std::move(*scene.network.listen(address)));
    scope_.spawn(accept(*this, *listeners_.back()));
  }
}

void Host::close() {
  for (const auto& listener : listeners_) listener->close();
  scope_.stop();
}

net::Task<> Host::accept(Host& host, net::Listener& listener) {
  for (;;) {
    Result<std::unique_ptr<net::Stream>> stream = co_await listener.accept();
    if (!stream) co_return;
    host.scope_.spawn(serve(host, *std::move(stream)));
  }
}

net::Task<> Host::serve(Host& host, std::unique_ptr<net::Stream> stream) {
  // Even in a bad hour some get through.
  const bool is_meant = host.manner_family.value_or(stream->local().family) == stream->local().family;
  const bool has_manner = host.manner && is_meant && !host.chance_.one_in(4);
  Dialogue dialogue(*stream, host.manner.value_or(Manner::slow), has_manner);
  std::string& out = dialogue.out;
  out = "220 " + host.name_ + (host.lmtp_ ? " LMTP\r\n" : " ESMTP\r\n");
  if (dialogue.does(Manner::banner_421)) out = "421 4.3.2 " + host.name_ + " not now\r\n";
  if (dialogue.does(Manner::banner_554)) out = "554 5.3.2 " + host.name_ + " not here\r\n";
  if (dialogue.does(Manner::hang_up)) co_return;
  tests::VirtualRuntime& runtime = host.scene_.network.runtime();
  if (dialogue.does(Manner::silent)) {
    co_await runtime.sleep_for(20min, host.scope_.stop_token());
    co_return;
  }
  while (true) {
    if (dialogue.does(Manner::slow)) co_await runtime.sleep_for(40s, host.scope_.stop_token());
    const std::string replies = std::exchange(out, {});
    if (!dialogue.told.empty()) host.expect(dialogue, replies.size());
    Result<> sent = co_await stream->write(std::string_view(replies), net::TimePoint::max());
    if (sent && dialogue.stalls) co_await runtime.sleep_for(20min, host.scope_.stop_token());
    if (!sent || dialogue.over || dialogue.stalls) co_return;
    do {
      const net::TimePoint deadline = runtime.now() + 30min;
      Result<net::LineBuffer::Line> line = co_await dialogue.lines.read_line(kLongestLine, deadline);
      if (!line) co_return;
      for (Take* take : dialogue.unconfirmed) take->confirmed = true;
      dialogue.unconfirmed.clear();
      if (line->end != net::LineBuffer::End::crlf) host.scene_.ledger.broken("a line of the relay ends in LF alone");
      const std::string text(line->text);
      Result<std::string> reply = co_await host.answer(dialogue, text);
      if (!reply) co_return;
      out += *reply;
    } while (dialogue.lines.has_line() && !dialogue.over);
  }
}

/// What the relay has read of the replies that go out now counts, whether it says something more or not.
void Host::expect(Dialogue& dialogue, std::size_t octets) {
  Told told = std::exchange(dialogue.told, {});
  std::shared_ptr<Link> link = scene_.network.find_link(dialogue.stream.remote());
  if (!link) return;
  for (auto& [octet, take] : told) octet += link->sent[1];
  const std::uint64_t whole = link->sent[1] + octets;
  scope_.spawn(confirm(*this, std::move(link), std::move(told), whole));
}

net::Task<> Host::confirm(Host& host, std::shared_ptr<Link> link, Told told, std::uint64_t whole) {
  co_await host.scene_.network.runtime().sleep_for(1min, host.scope_.stop_token());
  for (const auto& [octet, take] : told) {
    take->confirmed = link->read[0] >= octet;
    if (link->read[0] < whole) take->waits = conf::Config().delivery.data_timeout;  // for the others
  }
}

/// Nothing that could be taken for a yes or a no.
std::string Host::nonsense() {
  const std::string kReplies[] = {"what\r\n",
                                  "\r\n",
                                  "999 nine\r\n",
                                  "150 so far\r\n",
                                  "350 go on\r\n",
                                  "650 six\r\n",
                                  "25\r\n",
                                  "2500 many\r\n",
                                  "250-one\r\n251 two\r\n",
                                  "\xff\xfe\r\n",
                                  std::string(5000, '2') + "\r\n",
                                  "-250 no\r\n"};
  return kReplies[chance_.below(std::size(kReplies))];
}

net::Task<Result<std::string>> Host::answer(Dialogue& dialogue, const std::string& line) {
  const bool is_end = line == "QUIT" || line.starts_with("BDAT ");
  if (dialogue.does(Manner::nonsense) && !is_end && chance_.one_in(4)) {
    const std::string reply = nonsense();
    // After DATA it would have to take a body.
    co_return line == "DATA" && reply.starts_with("3") ? std::string("what\r\n") : reply;
  }
  if (line.starts_with(lmtp_ ? "LHLO " : "EHLO ")) {
    if (dialogue.does(Manner::no_ehlo)) co_return std::string("502 5.5.1 no\r\n");
    std::string reply = "250-" + name_ + "\r\n250-8BITMIME\r\n250-SIZE\r\n";
    if (!chance_.one_in(3)) reply += "250-PIPELINING\r\n";
    if (chance_.one_in(2)) reply += "250-DSN\r\n";
    if (chance_.one_in(3)) reply += "250-CHUNKING\r\n";
    co_return reply + "250 ENHANCEDSTATUSCODES\r\n";
  }
  if (line.starts_with("HELO ") && !lmtp_) co_return "250 " + name_ + "\r\n";
  if (line.starts_with("MAIL FROM:<")) {
    if (dialogue.does(Manner::mail_451)) co_return std::string("451 4.3.0 later\r\n");
    if (dialogue.mail) scene_.ledger.broken("MAIL within a transaction");
    dialogue.from = path_in(line);
    dialogue.to.clear();
    dialogue.body.clear();
    dialogue.mail = true;
    co_return yes(chance_, "2.1.0 ok");
  }
  if (line.starts_with("RCPT TO:<")) {
    if (!dialogue.mail) co_return std::string("503 5.5.1 MAIL first\r\n");
    if (dialogue.does(Manner::rcpt_hang_up)) co_return fail(Errc::closed, "hung up");
    co_return on_recipient(dialogue, line);
  }
  if (line == "DATA") {
    if (!dialogue.mail || dialogue.to.empty()) co_return std::string("554 5.5.1 no valid recipients\r\n");
    if (dialogue.does(Manner::data_451)) co_return std::string("451 4.3.0 later\r\n");
    co_return co_await take_body(dialogue);
  }
  if (line.starts_with("BDAT ")) co_return co_await take_chunk(dialogue, line);
  if (line == "RSET") {
    dialogue.mail = false;
    dialogue.to.clear();
    co_return std::string("250 2.0.0 ok\r\n");
  }
  if (line == "QUIT") {
    dialogue.over = true;
    co_return std::string("221 2.0.0 bye\r\n");
  }
  scene_.ledger.broken("the relay says '" + line.substr(0, 60) + "' to a host");
  co_return std::string("500 5.5.2 what?\r\n");
}

bool Host::is_busy(const std::string& address) {
  return address.starts_with("later") && later_[address]++ < address[5] - '0';
}

std::string Host::on_recipient(Dialogue& dialogue, const std::string& line) {
  const std::string address = path_in(line);
  scene_.ledger.attempted(address, dialogue.stream.local(), scene_.network.runtime().now());
  if (dialogue.does(Manner::rcpt_452)) return "452 4.2.2 full\r\n";
  if (address.starts_with("no-")) {
    scene_.ledger.failed_for_good(address);
    return "550 5.1.1 no such user\r\n";
  }
  if (!(lmtp_ && chance_.one_in(2)) && is_busy(address)) return "450 4.2.1 busy\r\n";
  dialogue.to.push_back(address);
  return yes(chance_, "2.1.5 ok");
}

net::Task<Result<std::string>> Host::take_body(Dialogue& dialogue) {
  const std::string replies = std::exchange(dialogue.out, {}) + "354 go ahead\r\n";
  Result<> go = co_await dialogue.stream.write(std::string_view(replies), net::TimePoint::max());
  if (!go) co_return fail(go.error());
  while (true) {
    const net::TimePoint deadline = scene_.network.runtime().now() + 30min;
    Result<net::LineBuffer::Line> line = co_await dialogue.lines.read_line(kLongestLine, deadline);
    if (!line) co_return fail(line.error());
    if (line->end != net::LineBuffer::End::crlf) scene_.ledger.broken("a line of a body ends in LF alone");
    if (line->text == ".") break;
    dialogue.body += line->text.starts_with(".") ? line->text.substr(1) : line->text;
    dialogue.body += "\r\n";
  }
  co_return co_await end_of_body(dialogue);
}

net::Task<Result<std::string>> Host::take_chunk(Dialogue& dialogue, const std::string& line) {
  std::size_t left = std::stoul(line.substr(5));
  while (left > 0) {
    Result<std::string_view> octets = co_await dialogue.lines.peek(scene_.network.runtime().now() + 30min);
    if (!octets) co_return fail(octets.error());
    const std::size_t size = std::min(left, octets->size());
    dialogue.body += octets->substr(0, size);
    dialogue.lines.consume(size);
    left -= size;
  }
  if (!dialogue.mail || dialogue.to.empty()) co_return std::string("503 5.5.1 no valid recipients\r\n");
  if (dialogue.does(Manner::data_451)) {
    dialogue.mail = false;
    dialogue.to.clear();
    co_return std::string("451 4.3.0 later\r\n");
  }
  if (!line.ends_with(" LAST")) co_return std::string("250 2.0.0 so far\r\n");
  co_return co_await end_of_body(dialogue);
}

net::Task<Result<std::string>> Host::end_of_body(Dialogue& dialogue) {
  if (lmtp_) co_return on_lmtp_dot(dialogue);
  if (dialogue.does(Manner::nonsense) && chance_.one_in(2)) {
    dialogue.mail = false;
    dialogue.to.clear();
    co_return nonsense();
  }
  std::string reply = on_dot(dialogue);
  if (dialogue.does(Manner::dot_lost)) co_return fail(Errc::closed, "hung up");
  if (dialogue.does(Manner::dot_stall)) {
    co_await scene_.network.runtime().sleep_for(20min, scope_.stop_token());
    co_return fail(Errc::closed, "hung up");
  }
  if (dialogue.does(Manner::cut_reply) || dialogue.does(Manner::part_stall)) {
    reply.resize(chance_.below(reply.size()));
    (dialogue.does(Manner::cut_reply) ? dialogue.over : dialogue.stalls) = true;
  }
  co_return reply;
}

std::string Host::on_dot(Dialogue& dialogue) {
  const std::vector<std::string> to = std::exchange(dialogue.to, {});
  dialogue.mail = false;
  if (dialogue.does(Manner::dot_451)) return "451 4.3.0 later\r\n";
  for (const std::string& address : to) {
    if (!address.starts_with("dot-")) continue;
    for (const std::string& all : to) scene_.ledger.failed_for_good(all);
    return "554 5.6.0 not this\r\n";
  }
  dialogue.unconfirmed = scene_.ledger.taken(dialogue.from, to, dialogue.body, take_now());
  for (const std::string& address : to) scene_.note(name_ + " took " + address + " from <" + dialogue.from + ">");
  return yes(chance_, "2.0.0 taken");
}

Take Host::take_now() const {
  Take take;
  take.at = scene_.network.runtime().now();
  take.life = scene_.life();
  return take;
}

/// A reply for each (RFC 2033 §4.2), and what becomes of them. Whether those were taken whose reply does not arrive is
/// left to chance.
std::string Host::on_lmtp_dot(Dialogue& dialogue) {
  const std::vector<std::string> to = std::exchange(dialogue.to, {});
  dialogue.mail = false;
  std::string out;
  std::vector<std::size_t> ends;  // of the replies
  std::vector<bool> takes;
  std::size_t clear = std::string::npos;  // from here on the relay need not understand
  for (std::size_t i = 0; i < to.size() && !dialogue.over; ++i) {
    std::string reply;
    if (dialogue.does(Manner::nonsense) && chance_.one_in(4)) {
      reply = nonsense();
      clear = std::min(clear, out.size());
    } else if (dialogue.does(Manner::dot_451) && chance_.one_in(2)) {
      dialogue.over = chance_.one_in(4);
      reply = dialogue.over ? "421 4.3.2 not now\r\n" : "451 4.3.0 later\r\n";
    } else if (is_busy(to[i])) {
      reply = "450 4.2.1 busy\r\n";
    } else if (to[i].starts_with("dot-")) {
      scene_.ledger.failed_for_good(to[i]);
      reply = "554 5.6.0 not this\r\n";
    }
    takes.push_back(reply.empty());
    out += reply.empty() ? yes(chance_, "2.1.5 taken") : reply;
    ends.push_back(out.size());
  }
  dialogue.over = dialogue.over || dialogue.does(Manner::dot_lost) || dialogue.does(Manner::cut_reply);
  dialogue.stalls = dialogue.does(Manner::dot_stall) || dialogue.does(Manner::part_stall);
  if (dialogue.does(Manner::dot_lost) || dialogue.does(Manner::dot_stall)) out.clear();
  if (dialogue.does(Manner::cut_reply) || dialogue.does(Manner::part_stall))
    out.resize(chance_.one_in(2) ? ends[chance_.below(ends.size())] : chance_.below(out.size()));
  for (std::size_t i = 0; i < takes.size(); ++i) {
    const bool arrives = ends[i] <= out.size();
    if (!takes[i] || (!arrives && chance_.one_in(2))) continue;
    scene_.note(name_ + " took " + to[i] + " from <" + dialogue.from + ">");
    Take now = take_now();
    if (dialogue.stalls) now.waits = conf::Config().delivery.data_timeout;
    for (Take* take : scene_.ledger.taken(dialogue.from, {to[i]}, dialogue.body, now))
      if (arrives && ends[i] <= clear) dialogue.told.emplace_back(ends[i], take);
  }
  return out;
}

}  // namespace waypost::sim
