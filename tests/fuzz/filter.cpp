// tests/fuzz/filter.cpp: the filter language: what a filter means in SQL is what it means beside a plain reference, on
// a queue of a few messages; a refusal is one line.
// Covers: queue/filter.cpp queue/filter_sql.cpp
#include "queue/filter.h"

#include <algorithm>
#include <string>
#include <vector>

#include <re2/re2.h>

#include "base/escape.h"
#include "base/text.h"
#include "tests/fuzz/memory_queue.h"
#include "tests/fuzz/pattern.h"

using namespace waypost;
using Field = queue::Term::Field;
using Compare = queue::Term::Compare;
using queue::State;

namespace {

/// One recipient, with all that a filter can ask of it.
struct Row {
  std::string from, user, client;
  std::uint64_t size = 0;
  std::string to;
  State state = State::deferred;
  std::uint32_t tries = 0;
  std::string status, reply, host;
  bool waits = false;        ///< its next attempt is later
  std::uint64_t change = 0;  ///< the last one of it
};
struct Stored {
  queue::Id id;
  net::WallTime arrival;
  std::vector<Row> rows;
};

constexpr std::string_view kBackedOff = "down.example";
constexpr std::string_view kDownStatus = "4.4.1", kDownReason = "connect: timed out 100%";
constexpr std::string_view kDownHost = "MX.down.example[192.0.2.9]:25";

struct World {
  fuzz::MemoryQueue queue;
  std::vector<Stored> messages;

  World() {
    accept("ann@shop.example", {"x@gmail.com"}, "ann", "", 100);
    queue.runtime.advance(std::chrono::hours(2));
    accept("bob_1@other.example", {"y@gmail.com", "z%1@b.example", "w@down.example"}, "", "198.51.100.7", 900);
    queue.runtime.advance(std::chrono::minutes(50));
    accept("", {"ann@shop.example"}, "", "", 10);
    accept("\"a b\\\"*\"@c.example", {"q@down.example", "\xC3\xBC@b.example"}, "bob", "2001:db8::1", 2000);
    settle(1, 0, queue::Event::attempt_deferred, "4.2.2", "452 4.2.2 Mailbox full", "mx1.gmail.com[192.0.2.7]:25");
    settle(1, 1, queue::Event::attempt_relayed, "2.0.0", "250 ok", "[192.0.2.8]:25");
    settle(3, 1, queue::Event::attempt_deferred, "4.3.0", "450 try_again \\ 5%", "");
    queue::DestinationState down;
    down.name = kBackedOff;
    down.failures = 2;
    down.next_attempt = now() + std::chrono::hours(1);
    down.status = kDownStatus;
    down.reason = kDownReason;
    down.host = kDownHost;
    Result<> settled = queue.run(queue.store->settle_destination(down));
    fuzz::check(settled.has_value(), "the world is made");
    queue::Filter first = *queue::parse_filter(messages[0].id.text());
    Result<queue::Changed> held = queue.run(queue.store->change({.filter = first, .who = "ann", .now = now()}));
    fuzz::check(held && held->recipients == 1, "one is held");
    messages[0].rows[0].state = State::held;
    messages[0].rows[0].change = held->number;
    // The clock stands from here on, a whole number of seconds after the messages came.
  }

  net::WallTime now() const { return queue.runtime.wall_now(); }

 private:
  void accept(const std::string& from, const std::vector<std::string>& to, const std::string& user,
              const std::string& client, std::size_t size) {
    auto path = [](const std::string& address) {
      smtp::Path out;
      std::size_t at = address.rfind('@');
      if (at != std::string::npos) out.mailbox = {address.substr(0, at), address.substr(at + 1)};
      if (out.mailbox.local.starts_with('"')) out.mailbox.local = "a b\"*";
      return out;
    };
    queue::NewMessage message;
    message.envelope.reverse_path = path(from);
    Stored stored;
    for (const std::string& address : to) {
      smtp::EnvelopeRecipient recipient;
      recipient.forward_path = path(address);
      message.envelope.recipients.push_back(recipient);
      Row row;
      row.from = from;
      row.user = user;
      row.client = client;
      row.size = size;
      row.to = address;
      stored.rows.push_back(row);
    }
    message.origin.user = user;
    message.origin.client = client;
    message.arrival = stored.arrival = now();
    message.expires = now() + std::chrono::hours(100);
    queue::Draft draft = queue.store->draft();
    stored.id = draft.id();
    draft.buffer() = std::string(size, 'x');
    Result<> done = queue.run(queue.store->commit(std::move(message), std::move(draft), {}, std::nullopt));
    fuzz::check(done.has_value(), "a message is accepted");
    messages.push_back(std::move(stored));
  }

  void settle(std::size_t message, std::uint32_t index, queue::Event event, const std::string& status,
              const std::string& reply, const std::string& host) {
    queue::Settlement settlement;
    settlement.message = messages[message].id;
    queue::RecipientOutcome outcome;
    outcome.index = index;
    outcome.event = event;
    outcome.status = status;
    outcome.reply = reply;
    outcome.host = host;
    outcome.next_attempt = now() + std::chrono::minutes(5);
    settlement.recipients.push_back(outcome);
    Result<bool> done = queue.run(queue.store->settle(std::move(settlement)));
    fuzz::check(done && !*done, "an outcome is written");
    Row& row = messages[message].rows[index];
    row.state = *queue::next_state(row.state, event);
    row.tries = 1;
    row.status = status;
    row.reply = reply;
    row.host = host;
    row.waits = true;
  }
};

bool compares(Compare compare, std::uint64_t is, std::uint64_t given) {
  switch (compare) {
    case Compare::equal:
      return is == given;
    case Compare::less:
      return is < given;
    case Compare::less_equal:
      return is <= given;
    case Compare::greater:
      return is > given;
    case Compare::greater_equal:
      return is >= given;
  }
  return false;
}

class Reference {
 public:
  explicit Reference(const World& world) : world_(world) {}

  bool holds(const queue::Term& term, const Stored& message, const Row& row) const {
    bool down = fuzz::matches("*@" + std::string(kBackedOff), row.to);
    switch (term.field) {
      case Field::id:
        return message.id.text() == term.text;
      case Field::from:
        return address(term.text, row.from);
      case Field::to:
        return address(term.text, row.to);
      case Field::destination:
        // Its row is the destination's as long as something waits for it, and these never go.
        return fuzz::matches(term.text, std::string_view(row.to).substr(row.to.rfind('@') + 1));
      case Field::mx: {
        const std::string_view host = down && row.state == State::deferred ? kDownHost : std::string_view(row.host);
        return fuzz::matches(term.text, host) || fuzz::matches(term.text, host.substr(0, host.find('[')));
      }
      case Field::age: {
        auto age = std::chrono::floor<std::chrono::seconds>(world_.now() - message.arrival);
        return compares(term.compare, static_cast<std::uint64_t>(age.count()), term.number);
      }
      case Field::size:
        return compares(term.compare, row.size, term.number);
      case Field::tries:
        return compares(term.compare, row.tries, term.number);
      case Field::change:
        return compares(term.compare, row.change, term.number);
      case Field::error:
        return found(term, row.status) || found(term, row.reply) ||
               (down && (found(term, kDownStatus) || found(term, kDownReason)));
      case Field::state:
        if (term.text == "active") return row.state == State::deferred && !row.waits && !down;
        return term.text == queue::to_text(row.state);
      case Field::user:
        return fuzz::matches(term.text, row.user);
      case Field::client:
        return fuzz::matches(term.text, row.client);
    }
    return false;
  }

  bool means(const queue::Filter& filter, const Stored& message, const Row& row) const {
    bool asks_state = false;
    for (int number = 0; number <= static_cast<int>(Field::change); ++number) {
      bool any = false, one = false;
      for (const queue::Term& term : filter.terms) {
        if (term.field != static_cast<Field>(number)) continue;
        bool holds_here = holds(term, message, row);
        if (term.negated || term.compare != Compare::equal) {
          if (holds_here == term.negated) return false;
          continue;
        }
        any = true;
        one = one || holds_here;
        asks_state = asks_state || term.field == Field::state;
      }
      if (any && !one) return false;
    }
    return asks_state || row.state == State::deferred || row.state == State::held;
  }

 private:
  static bool address(std::string_view pattern, std::string_view text) {
    return pattern.empty() || pattern == "<>" ? text.empty() : fuzz::matches(pattern, text);
  }
  static bool found(const queue::Term& term, std::string_view text) {
    const std::string& pattern = term.text;
    if (term.regex) {
      const bool whole = pattern.find('\0') == std::string::npos;
      return whole && re2::RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), re2::RE2("(?i)" + pattern));
    }
    return fuzz::matches("*" + std::string(pattern.starts_with('@') ? "*" : "") + pattern + "*", text);
  }

  const World& world_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static World world;
  std::string_view text = fuzz::view(data, size);
  // Seeds and mutations cannot know the ids: the second message is `$`.
  std::string input;
  for (char c : text) input += c == '$' ? world.messages[1].id.text() : std::string(1, c);

  Result<queue::Filter> filter = queue::parse_filter(input);
  if (!filter) {
    fuzz::check(filter.error().code == Errc::invalid, "a refusal is of the filter");
    fuzz::check(fuzz::is_one_line(filter.error().what) && is_utf8(filter.error().what), "in one line of text");
    return 0;
  }
  std::string words = in_words(*filter);
  fuzz::check(fuzz::is_one_line(words) && is_utf8(words), "a filter in words is one line of text");
  fuzz::check((words == "all messages") == filter->terms.empty(), "everything is called everything");

  Result<queue::Counts> counts = world.queue.run(world.queue.store->count(*filter, world.now()));
  fuzz::check(counts.has_value(), "a filter can be looked for");
  // SQLite takes octets that are no UTF-8 for one another.
  if (!is_utf8(input)) return 0;
  Reference reference(world);
  std::uint64_t messages = 0, recipients = 0;
  for (const Stored& message : world.messages) {
    auto meant = std::count_if(message.rows.begin(), message.rows.end(),
                               [&](const Row& row) { return reference.means(*filter, message, row); });
    recipients += static_cast<std::uint64_t>(meant);
    messages += meant > 0 ? 1 : 0;
  }
  fuzz::check(counts->recipients == recipients, "recipients are the reference's");
  fuzz::check(counts->messages == messages, "messages are the reference's");
  return 0;
}
