// tests/fuzz/history.cpp: what `waypost trace` may look for in a history.db of a few events, beside a plain reference.
// Covers: queue/history.cpp
//
// Fields, split at US (0x1F): message id, Message-ID, from, to, seconds since, limit; each may be missing.
#include "queue/history.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "base/escape.h"
#include "base/text.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/pattern.h"
#include "tests/support/temporary_folder.h"

using namespace waypost;
using Kind = queue::HistoryEvent::Kind;

namespace {

struct World {
  tests::TemporaryFolder folder;
  std::vector<queue::HistoryEvent> events;
  std::unique_ptr<queue::History> history;

  World() {
    Result<std::unique_ptr<queue::History>> opened =
        queue::open_history(folder.path() + "/history.db", std::chrono::hours(24 * 365 * 200));
    fuzz::check(opened.has_value(), "history.db opens");
    history = *std::move(opened);
    accepted(1, 0, "ann@shop.example", "<a@shop.example>");
    about(1, 10, Kind::deferred, "x_1@gmail.com");
    about(1, 20, Kind::relayed, "x_1@gmail.com");
    accepted(2, 15, "", "");
    about(2, 16, Kind::bounced, "100%@b.example");
    accepted(3, 30, "\"a b\"@c.example", "<a@shop.example>");
    about(3, 31, Kind::notified, "");
    about(4, 5, Kind::removed, "lost@b.example");
    for (const queue::HistoryEvent& event : events) history->add(event);
  }

 private:
  void accepted(std::uint64_t id, int time, const std::string& from, const std::string& message_id) {
    about(id, time, Kind::accepted, "");
    events.back().from = from;
    events.back().message_id = message_id;
  }
  void about(std::uint64_t id, int time, Kind kind, const std::string& recipient) {
    queue::HistoryEvent event;
    event.message = queue::Id{id};
    event.time = net::WallTime(std::chrono::seconds(time));
    event.kind = kind;
    event.recipient = recipient;
    events.push_back(event);
  }
};

/// Does a message have an event such as this?
template <class Is>
bool any(const std::vector<queue::HistoryEvent>& events, queue::Id id, Is is) {
  return std::any_of(events.begin(), events.end(),
                     [&](const queue::HistoryEvent& event) { return event.message == id && is(event); });
}

std::vector<queue::Id> found_by(const std::vector<queue::HistoryEvent>& events, const queue::HistoryQuery& query) {
  std::set<queue::Id> ids;
  for (const queue::HistoryEvent& event : events) ids.insert(event.message);
  std::vector<queue::Id> out;
  for (queue::Id id : ids) {
    auto named = [&](const queue::HistoryEvent& event) { return event.message_id == query.message_id; };
    auto sent = [&](const queue::HistoryEvent& event) {
      if (event.kind != Kind::accepted) return false;
      return query.from == "<>" ? event.from.empty() : fuzz::matches(query.from, event.from);
    };
    auto to = [&](const queue::HistoryEvent& event) { return fuzz::matches(query.to, event.recipient); };
    if (query.id && *query.id != id) continue;
    if (query.since && !any(events, id, [&](const auto& event) { return event.time >= *query.since; })) continue;
    if (!query.message_id.empty() && !any(events, id, named)) continue;
    if (!query.from.empty() && !any(events, id, sent)) continue;
    if (!query.to.empty() && !any(events, id, to)) continue;
    out.push_back(id);
  }
  if (out.size() > query.limit) out.erase(out.begin(), out.end() - static_cast<std::ptrdiff_t>(query.limit));
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static World world;
  std::string_view input = fuzz::view(data, size);
  queue::HistoryQuery query;
  std::optional<std::uint64_t> id = parse_decimal(fuzz::take_field(input));
  if (id) query.id = queue::Id{*id};
  query.message_id = fuzz::take_field(input);
  query.from = fuzz::take_field(input);
  query.to = fuzz::take_field(input);
  std::optional<std::uint64_t> since = parse_decimal(fuzz::take_field(input));
  if (since) query.since = net::WallTime(std::chrono::seconds(*since % 1000));
  query.limit = parse_decimal(fuzz::take_field(input)).value_or(1000) % 10'000;

  Result<std::vector<queue::HistoryEvent>> events = world.history->find(query);
  fuzz::check(events.has_value(), "the history can be asked anything");
  // SQLite takes octets that are no UTF-8 for one another.
  if (!is_utf8(query.from) || !is_utf8(query.to)) return 0;
  std::vector<queue::Id> ids;
  for (const queue::HistoryEvent& event : *events)
    if (ids.empty() || ids.back() != event.message) ids.push_back(event.message);
  fuzz::check(ids == found_by(world.events, query), "the messages are the reference's");
  std::size_t all = 0;
  for (const queue::HistoryEvent& event : world.events)
    all += std::count(ids.begin(), ids.end(), event.message) > 0 ? 1 : 0;
  fuzz::check(all == events->size(), "with all of their events");
  return 0;
}
