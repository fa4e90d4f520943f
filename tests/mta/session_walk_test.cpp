// Random walks of commands against a reference model: after each reply the model knows which one was due, and what was
// stored (C4). A long one: WAYPOST_WALK_STEPS=10000000 build/release/tests/test_mta -tc='random walks of commands*'
#include <chrono>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include "base/text.h"
#include "tests/support/environment.h"
#include "tests/support/harness.h"

namespace waypost::mta {
namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using tests::Harness;
using tests::HarnessOptions;

constexpr int kErrors = 12;
constexpr std::size_t kRecipients = 3;

/// What a session must answer, written without any of its code. Codes and enhanced codes only.
class Model {
 public:
  struct Message {
    std::string sender;
    std::vector<std::string> recipients;
    std::string body;
  };
  bool closed = false;
  std::vector<Message> accepted;  ///< those that were answered with 250

  std::string helo() {
    ++junk_;
    reset();
    greeted_ = true;
    return weigh("250 ");
  }
  std::string mail(std::string_view refusal, std::string_view sender) {
    if (!refusal.empty() && refusal.substr(0, 3) != "552") return error(refusal);  // it does not parse
    if (!greeted_ || mail_) return error("503 5.5.1");
    if (!refusal.empty()) return std::string(refusal);
    mail_ = true;
    sender_ = sender;
    return "250 2.1.0";
  }
  std::string rcpt(std::string_view refusal, std::string_view address) {
    if (refusal.starts_with("501") || refusal.starts_with("555")) return error(refusal);
    if (!mail_ || begun_) return error("503 5.5.1");
    if (recipients_.size() >= kRecipients) return "452 4.5.3";
    if (refusal == "550 5.1.1") {
      ++unknown_;
      return weigh(refusal);
    }
    if (!refusal.empty()) return error(refusal);
    bool known = false;
    for (const std::string& each : recipients_) known = known || each == address;
    if (!known) recipients_.emplace_back(address);
    return "250 2.1.5";
  }
  std::string data() { return mail_ && !recipients_.empty() && !begun_ ? "354 " : error("503 5.5.1"); }
  /// `octets` have no bare line end.
  std::string bdat(std::string_view octets, bool last) {
    if (!mail_ || recipients_.empty()) return junk("503 5.5.1");
    begun_ = true;
    body_ += octets;
    const bool nul = body_.find('\0') != std::string::npos;
    const bool big = body_.size() > 1000;
    if (!last && !nul && !big) return weigh("250 2.0.0");
    if (last && !body_.empty() && !body_.ends_with("\r\n")) body_ += "\r\n";
    const std::string body = body_;
    return end_of_data(big ? "552 5.3.4" : nul ? "554 5.6.0" : "", body);
  }
  std::string end_of_data(std::string_view refusal, std::string_view body) {
    Message message{sender_, recipients_, std::string(body)};
    reset();
    if (refusal.starts_with("4") || refusal.starts_with("552")) return std::string(refusal);
    if (!refusal.empty()) return error(refusal);
    errors_ = unknown_ = junk_ = 0;
    accepted.push_back(std::move(message));
    return "250 2.0.0";
  }
  std::string rset() {
    reset();
    return junk("250 2.0.0");
  }
  std::string junk(std::string_view reply) {
    ++junk_;
    return weigh(reply);
  }
  std::string error(std::string_view reply) {
    ++errors_;
    return weigh(reply);
  }
  std::string quit() {
    closed = true;
    return "221 2.0.0";
  }

 private:
  void reset() {
    mail_ = false;
    sender_.clear();
    recipients_.clear();
    begun_ = false;
    body_.clear();
  }
  std::string weigh(std::string_view reply) {
    if (errors_ < kErrors && unknown_ < 50 && junk_ < 100) return std::string(reply);
    closed = true;
    return "421 4.7.0";
  }
  bool greeted_ = false;
  bool mail_ = false;
  bool begun_ = false;  ///< by BDAT
  std::string body_;
  std::string sender_;
  std::vector<std::string> recipients_;
  int errors_ = 0;
  int unknown_ = 0;
  int junk_ = 0;
};

struct Sender {
  std::string_view line;
  std::string_view refusal;
  std::string_view address;
};
constexpr Sender kMails[] = {
    {"MAIL FROM:<s@c.example>", "", "s@c.example"},          {"MAIL FROM:<>", "", ""},
    {"mail from: <t@c.example> size=10", "", "t@c.example"}, {"MAIL FROM:<s@c.example> SIZE=1001", "552 5.3.4", ""},
    {"MAIL FROM:<s@@c.example>", "501 5.1.7", ""},           {"MAIL FROM:<s@c.example> X=Y", "555 5.5.4", ""},
};
struct Recipient {
  std::string_view line;
  std::string_view refusal;
  std::string_view address;
};
constexpr Recipient kRcpts[] = {
    {"RCPT TO:<r@b.example>", "", "r@b.example"},
    {"RCPT TO:<r@B.example>", "", "r@b.example"},
    {"RCPT TO:<q@b.example>", "", "q@b.example"},
    {"RCPT TO:<Postmaster>", "", "pm@b.example"},
    {"RCPT TO:<@a.example:ann@known.example>", "", "ann@known.example"},
    {"RCPT TO:<carl@known.example>", "550 5.1.1", ""},
    {"RCPT TO:<x@elsewhere.example>", "554 5.7.1", ""},
    {"RCPT TO:<x!y@backup.example>", "550 5.7.1", ""},
    {"RCPT TO:<x@[192.0.2.77]>", "550 5.1.2", ""},
    {"RCPT TO:<x@>", "501 5.1.3", ""},
    {"RCPT TO:<r@b.example> NOTIFY=NEVER", "", "r@b.example"},
    {"RCPT TO:<r@b.example> NOTIFY=NEVER,DELAY", "501 5.5.4", ""},
    {"RCPT TO:<r@b.example> COLOUR=RED", "555 5.5.4", ""},
};
struct Body {
  std::string_view wire;
  std::string_view refusal;
  std::string_view stored;
};
constexpr Body kBodies[] = {
    {"a: b\r\n\r\ntext\r\n.\r\n", "", "a: b\r\n\r\ntext\r\n"},
    {".\r\n", "", ""},
    {"RCPT TO:<r@b.example>\r\nDATA\r\n..\r\n.\r\n", "", "RCPT TO:<r@b.example>\r\nDATA\r\n.\r\n"},
    {"a\nb\r\n.\r\n", "", "a\r\nb\r\n"},
    {"a\0b\r\n.\r\n"sv, "554 5.6.0", ""},
    {"big", "552 5.3.4", ""},
    {"full", "452 4.3.1", ""},
    {"io", "451 4.3.0", ""},
};

class Walk {
 public:
  explicit Walk(std::uint64_t seed) : chance_(seed), h_(options()) { h_.heard(); }

  /// One command and its reply; what went wrong, or "".
  std::string step() {
    std::string want;
    std::string line;
    switch (pick(22)) {
      case 0:
        line = pick(2) == 0 ? "EHLO c.example" : "HELO c.example";
        want = model_.helo();
        break;
      case 1:
      case 2:
      case 3:
      case 4: {
        const Sender& mail = kMails[pick(4) == 0 ? pick(std::size(kMails)) : pick(3)];
        line = mail.line;
        want = model_.mail(mail.refusal, mail.address);
        break;
      }
      case 5:
      case 6:
      case 7:
      case 8:
      case 9:
      case 10: {
        const Recipient& rcpt = kRcpts[pick(2) == 0 ? pick(std::size(kRcpts)) : pick(5)];
        line = rcpt.line;
        want = model_.rcpt(rcpt.refusal, rcpt.address);
        break;
      }
      case 11:
      case 12:
      case 13:
      case 14:
        line = "DATA";
        want = model_.data();
        break;
      case 15:
        line = "RSET";
        want = model_.rset();
        break;
      case 16:
        line = pick(2) == 0 ? "NOOP" : "VRFY r@b.example";
        want = model_.junk(line == "NOOP" ? "250 2.0.0" : "252 2.0.0");
        break;
      case 17:
        line = "STARTTLS";
        want = model_.error("502 5.5.1");
        break;
      case 18:
        line = "BOGUS";
        want = model_.error("500 5.5.2");
        break;
      case 19:
      case 20: {
        static const std::string kChunks[] = {
            "", "a: b\r\n", "\r\n.\r\nQUIT\r\n", "x", "y", std::string("a\0b", 3), std::string(400, 'z')};
        const std::string& octets = kChunks[pick(4) == 0 ? pick(std::size(kChunks)) : pick(4)];
        const bool last = pick(3) == 0;
        line = "BDAT " + std::to_string(octets.size()) + (last ? " LAST" : "");
        return exchange(line + "\r\n" + octets, model_.bdat(octets, last), line);
      }
      default:
        line = pick(20) == 0 ? "QUIT" : "EHLO";
        want = line == "QUIT" ? model_.quit() : model_.error("501 5.5.2");
        break;
    }
    std::string wrong = exchange(line + "\r\n", want, line);
    if (!wrong.empty() || !want.starts_with("354")) return wrong;
    return body();
  }
  bool closed() const { return model_.closed; }
  /// What was stored since the last call is what was answered with 250.
  std::string check_store() {
    if (h_.store.committed.size() != model_.accepted.size()) return "stored another number than was accepted";
    for (; checked_ < model_.accepted.size(); ++checked_) {
      const Model::Message& want = model_.accepted[checked_];
      const tests::FakeStore::Committed& got = h_.store.committed[checked_];
      if (got.message.envelope.reverse_path.text() != want.sender) return "the sender differs";
      std::vector<std::string> recipients;
      for (const smtp::EnvelopeRecipient& each : got.message.envelope.recipients)
        recipients.push_back(to_lower(each.forward_path.text()));
      if (recipients != want.recipients) return "recipients differ";
      if (got.body != want.body) return "the body differs";
    }
    return "";
  }

 private:
  static HarnessOptions options() {
    HarnessOptions out;
    out.config.limits.errors = kErrors;
    out.config.limits.recipients = static_cast<int>(kRecipients);
    out.config.limits.message_size = 1000;
    return out;
  }
  std::size_t pick(std::size_t of) { return chance_() % of; }

  std::string body() {
    const Body& choice = kBodies[pick(std::size(kBodies))];
    std::string wire(choice.wire);
    if (choice.wire == "big") wire = std::string(1001, 'x') + "\r\n.\r\n";
    if (choice.wire == "full" || choice.wire == "io") wire = "a: b\r\n\r\n.\r\n";
    if (choice.wire == "full") h_.store.fail_commits(Errc::full);
    if (choice.wire == "io") h_.store.fail_commits(Errc::io);
    std::string wrong = exchange(wire, model_.end_of_data(choice.refusal, choice.stored), choice.wire);
    h_.store.fail_commits(std::nullopt);
    return wrong;
  }

  std::string exchange(const std::string& sent, const std::string& want, std::string_view what) {
    std::string heard = h_.send(sent);
    if (heard.empty()) {
      h_.runtime.advance(10s);  // a tarpit
      heard = h_.heard();
    }
    // EHLO has many lines; one reply it is in any case.
    std::string got = heard.substr(0, want.size());
    if (want == "250 " && heard.starts_with("250-")) got = want;
    if (got != want) return std::string(what) + ": want " + want + ", heard " + heard;
    if (Harness::codes(heard).size() != 3) return std::string(what) + ": more than one reply: " + heard;
    if (h_.ended() != model_.closed) return std::string(what) + ": the session has ended, or has not";
    return "";
  }

  std::mt19937_64 chance_;
  Model model_;
  Harness h_;
  std::size_t checked_ = 0;  // messages
};

TEST_SUITE("mta/session") {
  TEST_CASE("random walks of commands: each reply is the one that the model knows (C4)") {
    const std::uint64_t enough = tests::from_environment("WAYPOST_WALK_STEPS", 40'000);
    const std::uint64_t first = tests::from_environment("WAYPOST_WALK_SEED", 1);
    std::uint64_t steps = 0;
    std::uint64_t sessions = 0;
    for (std::uint64_t seed = first; steps < enough; ++seed) {
      CAPTURE(seed);
      Walk walk(seed);
      std::string wrong;
      for (int i = 0; i < 400 && !walk.closed() && wrong.empty(); ++i, ++steps) {
        wrong = walk.step();
        if (wrong.empty()) wrong = walk.check_store();
      }
      REQUIRE(wrong == "");
      ++sessions;
    }
    MESSAGE(steps, " steps in ", sessions, " sessions");
    CHECK(sessions > enough / 400);
  }
}

}  // namespace
}  // namespace waypost::mta
