// mta/control_trace.cpp: ControlApi::trace: the history of messages, and what of them still waits in the queue.
#include <algorithm>
#include <ctime>
#include <map>
#include <utility>

#include "base/escape.h"
#include "base/text.h"
#include "mta/control_api.h"
#include "mta/control_json.h"

namespace waypost::mta {
namespace {

/// "2026-11-22T09:14:02Z", as the tool sends it.
std::optional<net::WallTime> parse_utc(const std::string& text) {
  std::tm parts{};
  const char* end = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  if (end != text.c_str() + text.size()) return std::nullopt;
  // Not by system_clock's own count, whose nanoseconds end in 2262.
  return net::WallTime(std::chrono::seconds(timegm(&parts)));
}

/// Errors: invalid, also when nothing is asked for.
Result<queue::HistoryQuery> parse_query(const ControlRequest& request) {
  queue::HistoryQuery query;
  if (const std::string text = request.parameter("id"); !text.empty()) {
    query.id = queue::Id::parse(text);
    if (!query.id) return fail(Errc::invalid, "not a queue id: " + escape(text, 40));
  }
  query.message_id = request.parameter("message_id");
  query.from = request.parameter("from");
  query.to = request.parameter("to");
  if (const std::string since = request.parameter("since"); !since.empty()) {
    query.since = parse_utc(since);
    if (!query.since) return fail(Errc::invalid, "since is no time such as 2026-11-22T09:00:00Z");
  }
  if (!query.id && query.message_id.empty() && query.from.empty() && query.to.empty() && !query.since)
    return fail(Errc::invalid, "one of id, message_id, from, to and since says what to look for");
  query.limit = ControlApi::kMaxTrace;
  if (const std::string limit = request.parameter("limit"); !limit.empty()) {
    const std::optional<std::uint64_t> value = parse_decimal(limit);
    if (!value) return fail(Errc::invalid, "limit is no number: " + escape(limit, 40));
    query.limit = std::min<std::uint64_t>(*value, ControlApi::kMaxTrace);
  }
  return query;
}

void add_term(queue::Filter& filter, queue::Term::Field field, const std::string& text) {
  queue::Term term;
  term.field = field;
  term.text = text;
  filter.terms.push_back(term);
}

/// One message: what its events tell, and its row if it is in the queue.
struct Traced {
  std::vector<queue::HistoryEvent> events;
  std::optional<queue::MessageRow> row;
};

Json traced_json(queue::Id id, const Traced& traced, net::WallTime now) {
  Json json;
  json["id"] = id.text();
  json["message"] = traced.row ? message_json(*traced.row, now) : Json(nullptr);
  json["events"] = Json::array();
  for (const queue::HistoryEvent& event : traced.events) json["events"].push_back(event_json(event));
  if (!traced.row) return json;
  for (const queue::RecipientRow& recipient : traced.row->recipients) {
    if (queue::is_end(recipient.state)) continue;
    json["events"].push_back(waiting_json(*traced.row, recipient, now));
  }
  return json;
}

}  // namespace

ControlAnswer ControlApi::trace(const ControlRequest& request) {
  const Result<queue::HistoryQuery> query = parse_query(request);
  if (!query) return answer_of(query.error());
  Result<std::vector<queue::HistoryEvent>> found = backend_.find(*query);
  if (!found) return answer_of(found.error());
  std::map<queue::Id, Traced> messages;
  for (queue::HistoryEvent& event : *found) messages[event.message].events.push_back(std::move(event));

  // The queue is asked too: a recipient that waits for its first attempt stands in no event yet. What the filter has no
  // term for (a Message-ID, a time) is looked up by the ids that the history gave.
  queue::Filter filter;
  if (query->id) add_term(filter, queue::Term::Field::id, query->id->text());
  if (!query->from.empty()) add_term(filter, queue::Term::Field::from, query->from);
  if (!query->to.empty()) add_term(filter, queue::Term::Field::to, query->to);
  if (filter.terms.empty()) {
    for (const auto& [id, traced] : messages) add_term(filter, queue::Term::Field::id, id.text());
  }
  Result<std::vector<queue::MessageRow>> there = std::vector<queue::MessageRow>();
  if (!filter.terms.empty()) there = rows(filter, query->limit);
  if (!there) return answer_of(there.error());
  for (queue::MessageRow& row : *there) {
    const queue::Id id = row.info.id;
    const bool known = messages.contains(id);
    const bool wanted = (query->message_id.empty() || row.message_id == query->message_id) &&
                        (!query->since || row.info.arrival >= *query->since);
    if (!known && (!wanted || messages.size() >= query->limit)) continue;
    Traced& traced = messages[id];
    traced.row = std::move(row);
    if (known) continue;
    queue::HistoryQuery its;
    its.id = id;
    Result<std::vector<queue::HistoryEvent>> events = backend_.find(its);
    if (!events) return answer_of(events.error());
    traced.events = *std::move(events);
  }

  const net::WallTime now = backend_.now();
  Json json;
  json["messages"] = Json::array();
  for (const auto& [id, traced] : messages) json["messages"].push_back(traced_json(id, traced, now));
  return answer(json);
}

}  // namespace waypost::mta
