#include "tests/sim/client.h"

#include <algorithm>
#include <utility>

namespace waypost::sim {
namespace {

using namespace std::chrono_literals;

/// What a client says and hears. A reply of 0: the connection is over.
class Dialogue {
 public:
  Dialogue(Scene& scene, std::unique_ptr<net::Stream> stream, std::uint64_t seed)
      : chance(seed), scene_(scene), stream_(std::move(stream)), lines_(*stream_) {}

  net::Task<bool> send(std::string octets) {
    Result<> sent = co_await stream_->write(std::string_view(octets), deadline());
    co_return sent.has_value();
  }
  /// The code of the next reply.
  net::Task<int> hear() {
    while (true) {
      Result<net::LineBuffer::Line> line = co_await lines_.read_line(1000, deadline());
      if (!line) co_return 0;
      const std::string_view text = line->text;
      if (text.size() < 4 || line->end != net::LineBuffer::End::crlf) {
        scene_.ledger.broken("a reply that is none: '" + std::string(text) + "'");
        co_return 0;
      }
      last = std::string(text);
      if (text[3] == ' ') co_return std::stoi(std::string(text.substr(0, 3)));
    }
  }
  net::Task<int> ask(std::string line) {
    const bool sent = co_await send(std::move(line) + "\r\n");
    if (!sent) co_return 0;
    co_return co_await hear();
  }
  void hang_up() { stream_->close(); }

  Chance chance;
  bool esmtp = true;
  std::string last;  ///< line of a reply

 private:
  net::TimePoint deadline() const { return scene_.network.runtime().now() + 10min; }
  Scene& scene_;
  std::unique_ptr<net::Stream> stream_;
  net::LineBuffer lines_;
};

std::string make_body(const std::string& token, const std::string& from, Chance& chance) {
  std::string body = "From: <" + from + ">\r\nSubject: " + token + "\r\nX-Token: " + token + "\r\nMessage-ID: <" +
                     token + "@client.example>\r\n\r\n";
  const std::uint64_t lines = chance.one_in(4) ? chance.below(200) : chance.below(12);
  for (std::uint64_t i = 0; i < lines; ++i) {
    switch (chance.below(8)) {
      case 0:
        body += ".";
        break;
      case 1:
        body += "..two dots, and more";
        break;
      case 2:
        body += std::string(chance.below(900), static_cast<char>('a' + chance.below(26)));
        break;
      case 3:
        body += "f\xC3\xBCr acht Bit";
        break;
      case 4:
        break;
      default:
        body += "line " + std::to_string(i) + " of " + token;
    }
    body += "\r\n";
  }
  return body;
}

std::string stuffed(const std::string& body) {
  std::string out;
  bool at_start = true;
  for (char c : body) {
    if (at_start && c == '.') out += '.';
    out += c;
    at_start = c == '\n';
  }
  return out;
}

std::string a_sender(const Plan& plan, Chance& chance, const std::string& token) {
  switch (chance.below(10)) {
    case 0:
    case 1:
      return "";
    case 2:
      return token + "@local.example";
    case 3:
      return token + "@" + plan.domains[chance.below(plan.domains.size())].name;
    default:
      return token + "@home.example";
  }
}

std::string a_recipient(const Domain& domain, Chance& chance, const std::string& token, std::uint64_t number) {
  constexpr const char* kFates[] = {"ok-", "ok-", "ok-", "ok-", "ok-", "no-", "later1-", "later2-", "later3-", "dot-"};
  return kFates[chance.below(std::size(kFates))] + token + "-" + std::to_string(number) + "@" + domain.name;
}

/// Where all recipients of some messages are, most of all where each has a reply of its own. Null: anywhere.
const Domain* a_common_domain(const Plan& plan, Chance& chance) {
  if (!chance.one_in(3)) return nullptr;
  const auto is_lmtp = [](const Domain& domain) { return domain.kind == Domain::Kind::lmtp; };
  const auto lmtp = std::find_if(plan.domains.begin(), plan.domains.end(), is_lmtp);
  if (lmtp != plan.domains.end() && chance.one_in(2)) return &*lmtp;
  return &plan.domains[chance.below(plan.domains.size())];
}

struct Transaction {
  std::string token;
  Ledger::Message message;
  std::vector<std::string> accepted;
};

/// MAIL and RCPTs, one by one or in a group. False: the connection is over.
net::Task<bool> envelope(Dialogue& dialogue, const Plan& plan, Transaction& transaction) {
  Chance& chance = dialogue.chance;
  std::vector<std::string> lines = {"MAIL FROM:<" + transaction.message.from + ">"};
  if (dialogue.esmtp) lines.front() += " BODY=8BITMIME";
  if (dialogue.esmtp && chance.one_in(3)) lines.front() += " SIZE=" + std::to_string(transaction.message.body.size());
  if (dialogue.esmtp && chance.one_in(4)) lines.front() += chance.one_in(2) ? " RET=HDRS" : " RET=FULL";
  std::vector<std::string> to;
  const Domain* one = a_common_domain(plan, chance);
  const std::uint64_t recipients = chance.from(1, one == nullptr ? 4 : 6);
  for (std::uint64_t i = 0; i < recipients; ++i) {
    const Domain& domain = one == nullptr ? plan.domains[chance.below(plan.domains.size())] : *one;
    to.push_back(a_recipient(domain, chance, transaction.token, i));
    std::string line = "RCPT TO:<" + to.back() + ">";
    if (!transaction.message.notify.empty()) line += " NOTIFY=" + transaction.message.notify;
    lines.push_back(line);
    if (chance.one_in(20)) {
      lines.push_back(line);
      to.push_back(to.back());
    }
  }
  const bool pipelined = chance.one_in(2);
  if (pipelined) {
    std::string all;
    for (const std::string& line : lines) all += line + "\r\n";
    const bool sent = co_await dialogue.send(all);
    if (!sent) co_return false;
  }
  for (std::size_t i = 0; i < lines.size(); ++i) {
    int code = 0;
    if (pipelined)
      code = co_await dialogue.hear();
    else
      code = co_await dialogue.ask(lines[i]);
    if (code == 0) co_return false;
    if (i > 0 && code == 250) transaction.accepted.push_back(to[i - 1]);
  }
  co_return true;
}

/// The body as it is, in one to four pieces, each with its BDAT before it (RFC 3030).
std::vector<std::string> chunks(const std::string& body, Chance& chance) {
  std::vector<std::string> out;
  std::size_t at = 0;
  for (std::uint64_t left = chance.from(1, 4); left > 0; --left) {
    const std::size_t size = left == 1 ? body.size() - at : chance.below(body.size() - at + 1);
    out.push_back("BDAT " + std::to_string(size) + (left == 1 ? " LAST\r\n" : "\r\n") + body.substr(at, size));
    at += size;
  }
  return out;
}

/// DATA, or BDATs, to the last reply. False: the connection is over.
net::Task<bool> content(Dialogue& dialogue, Scene& scene, Transaction& transaction) {
  const bool by_chunks = dialogue.esmtp && dialogue.chance.one_in(4);
  if (!by_chunks) {
    const int go = co_await dialogue.ask("DATA");
    if (go != 354) co_return go != 0;
  }
  const std::string body = transaction.message.body;
  const int number = scene.ledger.offered(transaction.token, std::move(transaction.message), transaction.accepted);
  std::vector<std::string> pieces = {stuffed(body) + ".\r\n"};  // each gets a reply
  if (by_chunks) pieces = chunks(body, dialogue.chance);
  std::string wire;
  for (const std::string& piece : pieces) wire += piece;
  if (dialogue.chance.one_in(30)) {
    // Broken off in the middle: nothing of it may ever be seen.
    wire.resize(dialogue.chance.below(wire.size() - 3));
    scene.ledger.told(number, Ledger::Message::State::refused, scene.network.runtime().now());
    const bool sent = co_await dialogue.send(wire);
    (void)sent;
    dialogue.hang_up();
    co_return false;
  }
  const bool sent = co_await dialogue.send(wire);
  int code = 0;
  for (std::size_t i = 0; sent && i < pieces.size(); ++i) {
    code = co_await dialogue.hear();
    if (code == 0) break;
  }
  if (code == 0) co_return false;  // it does not know
  const bool accepted = code == 250;
  scene.ledger.told(number, accepted ? Ledger::Message::State::accepted : Ledger::Message::State::refused,
                    scene.network.runtime().now());
  scene.note("client was told " + dialogue.last + " for " + transaction.token);
  co_return true;
}

net::Task<bool> one_message(Dialogue& dialogue, Scene& scene, const Plan& plan, std::string token) {
  Chance& chance = dialogue.chance;
  if (chance.one_in(6)) {
    // Given up before DATA: none of these recipients may ever get anything.
    Transaction given_up;
    given_up.token = token + "x";
    given_up.message.from = given_up.token + "@home.example";
    const bool alive = co_await envelope(dialogue, plan, given_up);
    if (!alive) co_return false;
    const std::string hello = dialogue.esmtp ? "EHLO client.example" : "HELO client.example";
    const std::string verb = chance.one_in(3) ? hello : "RSET";
    const int reset = co_await dialogue.ask(verb);
    if (reset == 0) co_return false;
  }
  if (chance.one_in(12)) {
    constexpr const char* kOdd[] = {"NOOP", "VRFY somebody", "HELP", "RCPT TO:<x@y.example>",
                                    "WHAT", "MAIL FROM:<",   "DATA"};
    const int odd = co_await dialogue.ask(kOdd[chance.below(std::size(kOdd))]);
    if (odd == 0 || odd == 421) co_return false;
  }
  Transaction transaction;
  transaction.token = token;
  transaction.message.from = a_sender(plan, chance, token);
  constexpr const char* kNotify[] = {"NEVER", "NEVER", "SUCCESS,FAILURE", "SUCCESS", "FAILURE,DELAY"};
  if (dialogue.esmtp && chance.one_in(4)) transaction.message.notify = kNotify[chance.below(std::size(kNotify))];
  transaction.message.body = make_body(token, transaction.message.from, chance);
  const bool alive = co_await envelope(dialogue, plan, transaction);
  if (!alive) co_return false;
  if (transaction.accepted.empty()) {
    const int reset = co_await dialogue.ask("RSET");
    co_return reset == 250;
  }
  co_return co_await content(dialogue, scene, transaction);
}

}  // namespace

net::Task<> run_client(Scene& scene, const Plan& plan, Item item, net::Address relay) {
  const std::string number = std::to_string(1 + item.where % 200);
  std::string host = "10.0.0." + number;
  if (relay.family == 6) host = item.seed % 8 == 0 ? "::1" : "2001:db8:a:" + number + "::1";
  const net::Address from = *net::Address::parse(host, 0);
  const net::TimePoint deadline = scene.network.runtime().now() + 1min;
  Result<std::unique_ptr<net::Stream>> stream =
      co_await scene.network.connect(relay, from, deadline, std::stop_token());
  if (!stream) co_return;
  Dialogue dialogue(scene, *std::move(stream), item.seed);
  const int greeting = co_await dialogue.hear();
  if (greeting != 220) co_return;
  dialogue.esmtp = !dialogue.chance.one_in(10);
  const std::string verb = dialogue.esmtp ? "EHLO" : "HELO";
  const int hello = co_await dialogue.ask(verb + " client.example");
  if (hello != 250) co_return;
  const std::uint64_t messages = dialogue.chance.from(1, 4);
  for (std::uint64_t i = 0; i < messages; ++i) {
    const bool alive =
        co_await one_message(dialogue, scene, plan, "t" + std::to_string(item.where) + "m" + std::to_string(i));
    if (!alive) co_return;
  }
  if (!dialogue.chance.one_in(4)) co_await dialogue.ask("QUIT");
}

}  // namespace waypost::sim
