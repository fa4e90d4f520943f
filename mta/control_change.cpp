// mta/control_change.cpp: ControlApi::change: an order to change what waits, as a person or a script gives it.
#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <utility>

#include "base/escape.h"
#include "base/event_log.h"
#include "conf/values.h"
#include "mta/control_api.h"
#include "mta/control_json.h"
#include "smtp/address.h"

namespace waypost::mta {
namespace {

using HandOrder = delivery::HandOrder;

struct ChangeName {
  std::string_view name;
  queue::Event event;  ///< that whoever is meant can move by
  std::optional<queue::Change> change;
  std::optional<HandOrder::Kind> by_hand = std::nullopt;
};
constexpr std::array<ChangeName, 7> kChanges{{
    {"hold", queue::Event::hold, queue::Change::hold},
    {"release", queue::Event::release, queue::Change::release},
    {"retry", queue::Event::retry, queue::Change::retry},
    {"delete", queue::Event::remove, queue::Change::remove},
    {"bounce", queue::Event::attempt_failed, std::nullopt, HandOrder::Kind::bounce},
    {"reroute", queue::Event::remove, std::nullopt, HandOrder::Kind::reroute},
    {"redirect", queue::Event::remove, std::nullopt, HandOrder::Kind::redirect},
}};

/// As ForwardRequest::next_hop. Errors: invalid.
Result<std::string> parse_reroute(const std::string& text) {
  if (text == "usual") return std::string();
  const std::string_view scheme = std::string_view(text).substr(0, text.find(':'));
  if (scheme == text || (scheme != "smtp" && scheme != "smtps" && scheme != "lmtp"))
    return fail(Errc::invalid,
                "\"" + escape(text, 100) + "\": mail is rerouted to a host, smtp:, smtps: or lmtp:, or to \"usual\"");
  const Result<conf::NextHop> hop = conf::parse_next_hop(text);
  if (!hop) return fail(Errc::invalid, "the next hop " + hop.error().what);
  return hop->text();
}

Result<smtp::Path> parse_redirect(const std::string& text) {
  Result<smtp::Mailbox> mailbox = smtp::parse_mailbox(text);
  if (!mailbox) return fail(Errc::invalid, "no address to redirect to: " + escape(text, 100));
  smtp::Path path;
  path.mailbox = *std::move(mailbox);
  return path;
}

/// The filter, without recipients to whom the change would do nothing: so that a preview counts what will happen.
queue::Filter narrowed(queue::Filter filter, queue::Event event) {
  for (int number = 0; number <= static_cast<int>(queue::State::removed); ++number) {
    const auto state = static_cast<queue::State>(number);
    if (queue::next_state(state, event)) continue;
    queue::Term term;
    term.field = queue::Term::Field::state;
    term.negated = true;
    term.text = std::string(queue::to_text(state));
    filter.terms.push_back(term);
  }
  return filter;
}

/// The body of POST /v1/queue/change.
struct ChangeOrder {
  ChangeName change{};
  std::vector<queue::Id> ids;
  queue::Filter filter;
  std::string words;  ///< what was meant, for log and audit
  std::string reason;
  std::string next_hop;  ///< reroute
  smtp::Path to;         ///< redirect
  bool for_good = false, dry_run = false;
};

Result<ChangeOrder> parse_order(const std::string& body) {
  const Json json = parse_json(body);
  if (!json.is_object()) return fail(Errc::invalid, "the body is no JSON object");
  const auto text = [&json](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const auto flag = [&json](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_boolean() && found->get<bool>();
  };
  ChangeOrder order;
  const std::string wanted = text("change");
  const auto* known = std::find_if(kChanges.begin(), kChanges.end(),
                                   [&wanted](const ChangeName& change) { return change.name == wanted; });
  if (known == kChanges.end())
    return fail(Errc::invalid, "change is one of hold, release, retry, delete, bounce, reroute, redirect");
  order.change = *known;
  order.reason = text("reason");
  order.for_good = flag("for_good");
  if (order.for_good && order.change.change != queue::Change::remove)
    return fail(Errc::invalid, "for_good belongs to delete");
  order.dry_run = flag("dry_run");
  const std::string to = text("to");
  const bool reroutes = order.change.by_hand == HandOrder::Kind::reroute;
  const bool takes_to = reroutes || order.change.by_hand == HandOrder::Kind::redirect;
  if (takes_to == to.empty()) return fail(Errc::invalid, "to belongs to reroute and redirect, and says where to");
  if (reroutes) {
    Result<std::string> hop = parse_reroute(to);
    if (!hop) return fail(hop.error());
    order.next_hop = *std::move(hop);
  } else if (takes_to) {
    Result<smtp::Path> path = parse_redirect(to);
    if (!path) return fail(path.error());
    order.to = *std::move(path);
  }

  const std::string where = to.empty() ? "" : ", to " + to;
  const auto ids = json.find("ids");
  const std::string filter = text("filter");
  const int ways = (ids != json.end() ? 1 : 0) + (filter.empty() ? 0 : 1) + (flag("all") ? 1 : 0);
  if (ways != 1) return fail(Errc::invalid, "one of ids, filter and all says which messages are meant");
  if (ids != json.end()) {
    if (!ids->is_array() || ids->empty()) return fail(Errc::invalid, "ids is a list of queue ids");
    for (const Json& each : *ids) {
      // Only a string is shown again: writing JSON recurses, and lists may be nested as deep as the body is long.
      if (!each.is_string()) return fail(Errc::invalid, "ids is a list of queue ids");
      const auto& shown = each.get_ref<const std::string&>();
      const std::optional<queue::Id> id = queue::Id::parse(shown);
      if (!id) return fail(Errc::invalid, "not a queue id: " + escape(shown, 60));
      const bool again = std::find(order.ids.begin(), order.ids.end(), *id) != order.ids.end();
      if (again) continue;
      order.ids.push_back(*id);
      order.words += (order.words.empty() ? "" : " ") + id->text();
    }
    order.words += where;
    order.filter = queue::filter_of(order.ids);
    return order;
  }
  Result<queue::Filter> parsed = queue::parse_filter(filter);
  if (!parsed) return fail(parsed.error());
  order.filter = *std::move(parsed);
  if (order.filter.terms.empty() && !flag("all")) return fail(Errc::invalid, "the filter has no term: all says it all");
  order.words = (flag("all") ? "all" : filter) + where;
  return order;
}

}  // namespace

ControlAnswer ControlApi::change(const ControlRequest& request) {
  const Result<ChangeOrder> order = parse_order(request.body);
  if (!order) return answer_of(order.error());
  Json json;
  json["words"] = queue::in_words(order->filter);
  json["dry_run"] = order->dry_run;

  // Whoever names ids is told which of them are not there.
  if (!order->ids.empty()) {
    const Result<std::vector<queue::MessageRow>> there = rows(order->filter, order->ids.size());
    if (!there) return answer_of(there.error());
    std::set<queue::Id> found;
    for (const queue::MessageRow& message : *there) found.insert(message.info.id);
    json["missing"] = Json::array();
    for (const queue::Id id : order->ids) {
      if (!found.contains(id)) json["missing"].push_back(id.text());
    }
  }

  // What was removed before, and is kept, may be meant by its state.
  const queue::Filter meant = order->for_good ? order->filter : narrowed(order->filter, order->change.event);
  if (order->dry_run) {
    const Result<queue::Counts> counts = backend_.count(meant);
    if (!counts) return answer_of(counts.error());
    const Result<queue::Listing> sample = backend_.list(meant, std::nullopt, kSample);
    if (!sample) return answer_of(sample.error());
    json["messages"] = counts->messages;
    json["recipients"] = counts->recipients;
    json["octets"] = counts->octets;
    json["oldest"] = counts->oldest ? time_json(*counts->oldest) : Json(nullptr);
    json["sample"] = Json::array();
    for (const queue::MessageRow& message : sample->messages) json["sample"].push_back(message.info.id.text());
    return answer(json);
  }
  const queue::Watched progress = begin_work(request);
  if (progress) {
    // A second look at the queue, for those alone who wait for its end.
    const Result<queue::Counts> counts = backend_.count(meant);
    if (counts) progress->begin(queue::Progress::Unit::messages, counts->messages);
    if (progress->is_stopped()) {
      json["messages"] = 0;
      json["recipients"] = 0;
      json["stopped"] = true;
      return answer(json);
    }
  }
  if (order->change.by_hand) {
    const Result<delivery::ByHand> done =
        backend_.by_hand({*order->change.by_hand, meant, order->reason, order->next_hop, order->to, progress});
    if (!done) return answer_of(done.error());
    if (done->messages > 0)
      record(request, std::string(order->change.name), order->words, order->reason, done->messages, done->recipients);
    if (done->cut_short)
      return answer_of(Error(done->cut_short->code, done->cut_short->what + "; until then " +
                                                        std::to_string(done->messages) + " messages were done"));
    json["messages"] = done->messages;
    json["recipients"] = done->recipients;
    json["busy"] = done->busy;
    json["failed"] = done->failed;
    if (done->stopped) json["stopped"] = true;
    return answer(json);
  }
  queue::ChangeRequest wanted;
  wanted.change = *order->change.change;
  wanted.filter = meant;
  wanted.meant = order->words;
  wanted.who = who_asks(request.uid);
  wanted.reason = order->reason;
  wanted.for_good = order->for_good;
  wanted.progress = progress;
  const Result<queue::Changed> changed = backend_.change(std::move(wanted));
  if (!changed) return answer_of(changed.error());
  log::changed(order->change.name, order->words, changed->messages, order->reason, request.uid);
  json.update(changed_json(*changed));
  return answer(json);
}

}  // namespace waypost::mta
