// mta/control_dest.cpp: ControlApi::destinations and change_destination: what is known of destinations and their sites,
// and what an administrator says of them.
#include <utility>

#include "base/escape.h"
#include "base/event_log.h"
#include "base/text.h"
#include "mta/control_api.h"
#include "mta/control_json.h"
#include "smtp/address.h"

namespace waypost::mta {
namespace {

using Kind = queue::DestinationChange::Kind;

struct ChangeName {
  std::string_view name;
  Kind kind;
};
constexpr ChangeName kChanges[] = {
    {"hold", Kind::hold}, {"resume", Kind::resume}, {"retry", Kind::retry}, {"limit", Kind::limit}};
constexpr std::chrono::hours kLongest{24 * 366};

/// Errors: invalid.
Result<queue::DestinationChange> parse_change(const std::string& body, net::WallTime now) {
  const Json json = parse_json(body);
  if (!json.is_object()) return fail(Errc::invalid, "the body is no JSON object");
  const auto text = [&json](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  queue::DestinationChange change;
  change.name = text("name");
  change.now = now;
  change.reason = escape(text("reason"), 512);
  const std::string wanted = text("change");
  bool known = false;
  for (const ChangeName& each : kChanges) {
    if (each.name != wanted) continue;
    change.kind = each.kind;
    known = true;
  }
  if (!known) return fail(Errc::invalid, "change is one of hold, resume, retry, limit");
  if (change.name.empty()) return fail(Errc::invalid, "name says which destination is meant");
  const auto site = json.find("site");
  change.with_site = site != json.end() && site->is_boolean() && site->get<bool>();
  if (change.kind != Kind::hold && change.kind != Kind::limit) return change;
  const auto spacing = json.find("spacing_ms");
  if (change.kind == Kind::limit) {
    const bool fits = spacing != json.end() && spacing->is_number_unsigned() && spacing->get<std::uint64_t>() > 0 &&
                      spacing->get<std::uint64_t>() <= 86'400'000;
    if (!fits) return fail(Errc::invalid, "spacing_ms is from 1 to 86400000");
    change.spacing = std::chrono::milliseconds(spacing->get<std::int64_t>());
  }
  const auto seconds = json.find("seconds");
  if (seconds == json.end() || !seconds->is_number_unsigned() || seconds->get<std::uint64_t>() == 0)
    return fail(Errc::invalid, "seconds says for how long");
  if (seconds->get<std::uint64_t>() > static_cast<std::uint64_t>(std::chrono::seconds(kLongest).count()))
    return fail(Errc::invalid, "it ends within a year");
  change.until = now + std::chrono::seconds(seconds->get<std::int64_t>());
  return change;
}

}  // namespace

ControlAnswer ControlApi::destinations(const ControlRequest& request) {
  const std::string name = request.parameter("name");
  const Result<std::vector<queue::DestinationRow>> rows = backend_.destinations(smtp::domain_key(name), true);
  if (!rows) return answer_of(rows.error());
  if (!name.empty() && rows->empty())
    return answer_of(Error{Errc::not_found, "nothing is known of a destination " + escape(name, 260)});
  Json json;
  json["destinations"] = Json::array();
  const net::WallTime now = backend_.now();
  for (const queue::DestinationRow& row : *rows) json["destinations"].push_back(destination_json(row, now));
  return answer(json);
}

/// "held" or "slowed", whichever a change of that destination or site meets; "" for neither.
Result<std::string> ControlApi::state_before(const queue::DestinationChange& change) {
  const Result<std::vector<queue::DestinationRow>> rows = backend_.destinations(change.name, false);
  if (!rows) return fail(rows.error());
  for (const queue::DestinationRow& row : *rows) {
    const bool is_site = row.state.kind == queue::DestinationState::Kind::site;
    if (is_site != change.with_site) continue;
    if (row.state.held_until > change.now) return "held";
    if (row.state.spacing > net::Duration(0)) return "slowed";
  }
  return "";
}

ControlAnswer ControlApi::change_destination(const ControlRequest& request) {
  Result<queue::DestinationChange> change = parse_change(request.body, backend_.now());
  if (!change) return answer_of(change.error());
  change->name = smtp::domain_key(change->name);
  const Result<std::string> was = state_before(*change);
  if (!was) return answer_of(was.error());
  const Result<> done = backend_.change_destination(*change);
  if (!done) return answer_of(done.error());
  const std::string verb = "dest " + std::string(kChanges[static_cast<std::size_t>(change->kind)].name);
  record(request, verb, (change->with_site ? "site of " : "") + change->name, change->reason, 0);
  Json json;
  json["name"] = change->name;
  json["was"] = *was;
  if (change->kind == Kind::hold || change->kind == Kind::limit) json["until"] = time_json(change->until);
  return answer(json);
}

}  // namespace waypost::mta
