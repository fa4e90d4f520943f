#include "mta/control_json.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "smtp/date.h"
#include "smtp/parameters.h"

namespace waypost::mta {
namespace {

const char* body_text(smtp::BodyType body) {
  switch (body) {
    case smtp::BodyType::seven_bit:
      return "7bit";
    case smtp::BodyType::eight_bit_mime:
      return "8bitmime";
    case smtp::BodyType::binary_mime:
      return "binarymime";
  }
  return "7bit";
}

const char* kind_text(queue::HistoryEvent::Kind kind) {
  using Kind = queue::HistoryEvent::Kind;
  switch (kind) {
    case Kind::accepted:
      return "accepted";
    case Kind::deferred:
      return "deferred";
    case Kind::delivered:
      return "delivered";
    case Kind::relayed:
      return "relayed";
    case Kind::bounced:
      return "bounced";
    case Kind::expired:
      return "expired";
    case Kind::removed:
      return "removed";
    case Kind::held:
      return "held";
    case Kind::released:
      return "released";
    case Kind::notified:
      return "notified";
    case Kind::restored:
      return "restored";
  }
  return "unknown";
}

/// "", or the value of NOTIFY: "SUCCESS,DELAY".
std::string notify_text(smtp::Notify notify) {
  smtp::RcptParameters parameters;
  parameters.notify.bits = notify.asked();
  const std::string text = smtp::text(parameters);
  return text.substr(std::min(text.size(), std::string_view(" NOTIFY=").size()));
}

Json recipient_json(const queue::RecipientRow& recipient, net::WallTime now) {
  Json json;
  json["address"] = recipient.forward_path.text();
  json["state"] = shown_state(recipient, now);
  json["tries"] = recipient.attempts;
  json["next_attempt"] = recipient.state == queue::State::deferred ? time_json(recipient.next_attempt) : Json(nullptr);
  json["status"] = recipient.status;
  json["reply"] = recipient.reply;
  json["host"] = recipient.host;
  json["destination"] = recipient.destination;
  json["notify"] = notify_text(recipient.notify);
  json["orcpt"] = recipient.orcpt;
  return json;
}

/// Told without parsing: a parser's callback has the library look at all of a list behind each of its values.
bool is_too_deep(std::string_view text) {
  constexpr int kDeepest = 64;
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      in_string = c != '"';
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDeepest) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

double rounded(double rate) {
  return std::round(rate * 1000) / 1000;
}

/// JSON has no infinity.
Json at_most(const std::optional<double>& seconds) {
  if (!seconds) return nullptr;
  return std::isfinite(*seconds) ? Json(*seconds) : Json("+Inf");
}

}  // namespace

std::string to_line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json parse_json(std::string_view text) {
  // To the library a NUL is the end: it would not see what stands behind one.
  if (is_too_deep(text) || text.find('\0') != std::string_view::npos) return Json(Json::value_t::discarded);
  return Json::parse(text, nullptr, false);
}

std::string text_of(const Json& json, const char* key) {
  if (!json.is_object()) return "";
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

const Json& list_of(const Json& json, const char* key) {
  static const Json none = Json::array();
  const auto found = json.is_object() ? json.find(key) : json.end();
  return found != json.end() && found->is_array() ? *found : none;
}

std::uint64_t number_of(const Json& json, const char* key) {
  if (!json.is_object()) return 0;
  const auto found = json.find(key);
  return found != json.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

ControlAnswer answer(const Json& json, int status) {
  return ControlAnswer{status, to_line(json), "application/json"};
}

Json time_json(net::WallTime time) {
  return smtp::iso8601(std::chrono::time_point_cast<std::chrono::milliseconds>(time));
}

std::string shown_state(const queue::RecipientRow& recipient, net::WallTime now) {
  if (recipient.state == queue::State::deferred && recipient.next_attempt <= now) return "active";
  return std::string(queue::to_text(recipient.state));
}

Json message_json(const queue::MessageRow& message, net::WallTime now) {
  Json json;
  json["id"] = message.info.id.text();
  json["from"] = message.info.reverse_path.text();
  json["size"] = message.info.size;
  json["arrival"] = time_json(message.info.arrival);
  json["expires"] = time_json(message.info.expires);
  json["message_id"] = message.message_id;
  json["client"] = message.origin.client;
  json["helo"] = message.origin.helo;
  json["protocol"] = message.origin.protocol;
  json["listener"] = message.origin.listener;
  json["user"] = message.origin.user;
  json["body"] = body_text(message.info.body);
  json["smtputf8"] = message.info.smtputf8;
  json["require_tls"] = message.info.require_tls;
  json["ret"] = message.info.ret == smtp::Ret::full ? "full" : message.info.ret == smtp::Ret::headers ? "hdrs" : "";
  json["envid"] = message.info.envid;
  json["recipients"] = Json::array();
  for (const queue::RecipientRow& recipient : message.recipients) {
    json["recipients"].push_back(recipient_json(recipient, now));
  }
  return json;
}

Json counts_json(const queue::Counts& counts) {
  Json json;
  json["messages"] = counts.messages;
  json["recipients"] = counts.recipients;
  json["active"] = counts.active;
  json["deferred"] = counts.deferred;
  json["held"] = counts.held;
  json["octets"] = counts.octets;
  json["oldest"] = counts.oldest ? time_json(*counts.oldest) : Json(nullptr);
  return json;
}

Json groups_json(const queue::Groups& groups) {
  const auto one = [](const queue::Group& group) {
    Json json;
    json["key"] = group.key;
    json["messages"] = group.messages;
    json["recipients"] = group.recipients;
    json["octets"] = group.octets;
    json["oldest"] = group.recipients > 0 ? time_json(group.oldest) : Json(nullptr);
    json["ages"] = group.ages;
    return json;
  };
  Json json;
  json["groups"] = Json::array();
  for (const queue::Group& group : groups.groups) json["groups"].push_back(one(group));
  json["others"] = one(groups.others);
  json["left_out"] = groups.left_out;
  return json;
}

Json setting_json(const conf::Setting& setting) {
  Json json;
  json["key"] = setting.key;
  json["value"] = setting.value;
  json["place"] = setting.place;
  return json;
}

Json epoch_json(const ConfigEpoch& epoch) {
  Json json;
  json["epoch"] = epoch.number;
  json["since"] = time_json(epoch.since);
  json["file"] = epoch.file;
  json["settings"] = Json::array();
  for (const conf::Setting& setting : epoch.settings) json["settings"].push_back(setting_json(setting));
  return json;
}

Json changed_json(const queue::Changed& changed) {
  Json json;
  json["messages"] = changed.messages;
  json["recipients"] = changed.recipients;
  if (changed.number > 0) json["change"] = changed.number;
  if (changed.stopped) json["stopped"] = true;
  return json;
}

Json progress_json(const queue::Progress::Seen& seen) {
  Json json;
  json["unit"] = seen.unit == queue::Progress::Unit::pages ? "pages" : "messages";
  json["done"] = seen.done;
  json["total"] = seen.total > 0 ? Json(seen.total) : Json(nullptr);
  return json;
}

Json change_json(const queue::ChangeRecord& change) {
  Json json;
  json["change"] = change.number;
  json["time"] = time_json(change.time);
  json["who"] = change.who;
  json["what"] = change.what;
  json["meant"] = change.meant;
  json["reason"] = change.reason;
  json["messages"] = change.messages;
  json["recipients"] = change.recipients;
  json["undone_by"] = change.undone_by > 0 ? Json(change.undone_by) : Json(nullptr);
  return json;
}

Json event_json(const queue::HistoryEvent& event) {
  Json json;
  json["id"] = event.message.text();
  json["time"] = time_json(event.time);
  json["event"] = kind_text(event.kind);
  if (event.kind == queue::HistoryEvent::Kind::accepted) {
    json["from"] = event.from;
    json["size"] = event.size;
    json["message_id"] = event.message_id;
  }
  if (!event.recipient.empty()) json["recipient"] = event.recipient;
  json["host"] = event.host;
  json["status"] = event.status;
  json["text"] = event.text;
  if (!event.tls.empty()) json["tls"] = event.tls;
  if (event.next_attempt) json["next_attempt"] = time_json(*event.next_attempt);
  if (event.other) json["other"] = event.other->text();
  return json;
}

Json waiting_json(const queue::MessageRow& message, const queue::RecipientRow& recipient, net::WallTime now) {
  Json json;
  json["id"] = message.info.id.text();
  json["time"] = time_json(now);
  json["event"] = "waiting";
  json["recipient"] = recipient.forward_path.text();
  json["state"] = shown_state(recipient, now);
  json["host"] = recipient.host;
  json["status"] = recipient.status;
  json["text"] = recipient.reply;
  if (recipient.state == queue::State::deferred) json["next_attempt"] = time_json(recipient.next_attempt);
  json["expires"] = time_json(message.info.expires);
  return json;
}

std::string site_hosts(const std::string& name) {
  // "office: 10 mx1.b.example:25;given;...": whose it is where somebody comes as somebody else; behind the hosts what
  // parts sites of one host: what is wanted of it.
  const std::size_t whose = name.find(": ");
  const std::size_t begin = whose == std::string::npos ? 0 : whose + 2;
  std::string hosts = name.substr(begin, name.find(';', begin) - begin);
  // A next hop has no preference.
  if (name.find(";given", begin) != std::string::npos && hosts.starts_with("0 ")) hosts.erase(0, 2);
  return whose == std::string::npos ? hosts : hosts + " (" + name.substr(0, whose) + ")";
}

Json destination_json(const queue::DestinationRow& row, net::WallTime now) {
  const queue::DestinationState& state = row.state;
  const bool is_site = state.kind == queue::DestinationState::Kind::site;
  const bool held = state.held_until > now;
  constexpr net::Duration none{0};
  Json json;
  json["name"] = state.name;
  json["kind"] = is_site ? "site" : "destination";
  json["state"] = held ? "held" : state.failures > 0 ? "failing" : state.spacing > none ? "slowed" : "well";
  json["until"] = state.waits(now) ? time_json(state.waits_until()) : Json(nullptr);
  json["recipients"] = row.waiting;
  json["more"] = row.more;
  if (is_site)
    json["hosts"] = site_hosts(state.name);
  else
    json["site"] = state.site;
  json["failures"] = state.failures;
  if (state.failures > 0) {
    json["since"] = time_json(state.failing_since);
    json["status"] = state.status;
    json["reason"] = state.reason;
    json["host"] = state.host;
  }
  if (held) json["held_because"] = state.held_reason;
  if (state.spacing > none) {
    json["spacing_ms"] = state.spacing.count();
    json["slow_until"] = time_json(state.slow_until);
    json["slow_because"] = state.slow_reason;
  }
  return json;
}

Json certificate_json(const net::TlsCertificate& certificate) {
  Json json;
  json["subject"] = certificate.subject;
  json["issuer"] = certificate.issuer;
  json["names"] = certificate.names;
  json["not_before"] = time_json(certificate.not_before);
  json["not_after"] = time_json(certificate.not_after);
  json["sha256"] = certificate.sha256;
  json["spki_sha256"] = certificate.spki_sha256;
  return json;
}

Json read_certificate_json(const ReadCertificate& read) {
  Json json;
  json["key"] = read.files.key;
  json["file"] = read.files.certificate_file;
  json["key_file"] = read.files.key_file;
  json.update(certificate_json(read.certificate));
  return json;
}

Json rate_json(const Rates::Row& row) {
  Json json;
  json["class"] = row.key.client_class;
  json["client"] = row.key.client;
  json["of"] = row.kind == Rates::Kind::messages ? "messages" : "recipients";
  json["used"] = row.used;
  json["most"] = row.rate.most;
  json["period"] = row.rate.period.count();
  return json;
}

Json config_json(const DaemonFacts& facts) {
  Json json;
  json["file"] = facts.config_file;
  json["loaded"] = time_json(facts.config_loaded);
  json["epoch"] = facts.config_epoch;
  json["reload_failed"] = facts.reload_failed;
  return json;
}

Json facts_json(const DaemonFacts& facts) {
  Json json;
  json["hostname"] = facts.hostname;
  json["version"] = WAYPOST_VERSION;
  json["started"] = time_json(facts.started);
  json["config"] = config_json(facts);
  const Lately& lately = facts.lately;
  Json& in = json["in"];
  in["connections"] = facts.in_connections;
  in["rate"] = rounded(lately.accepted_rate);
  in["accepted"] = lately.accepted;
  in["rejected"] = lately.rejected;
  in["auth_failures"] = lately.login_failures;
  in["auth_failures_hour"] = lately.login_failures_hour;
  Json& out = json["out"];
  out["connections"] = facts.out.connections;
  out["rate"] = rounded(lately.sent_rate);
  out["sites"] = facts.out.sites;
  out["delivered"] = facts.out.delivered;
  out["relayed"] = facts.out.relayed;
  out["deferred"] = facts.out.deferred;
  out["bounced"] = facts.out.bounced;
  out["expired"] = facts.out.expired;
  Json& store = json["store"];
  store["commits"] = facts.store.commits;
  store["operations"] = facts.store.operations;
  store["wal_pages"] = facts.store.wal_pages;
  store["commit_p50_seconds"] = at_most(lately.commit_p50);
  store["commit_p99_seconds"] = at_most(lately.commit_p99);
  json["history"]["dropped"] = facts.history_dropped;
  json["maildrop"]["corrupt"] = facts.corrupt_drops;
  Json& confined = json["confined"];
  confined["user"] = facts.confinement.user;
  confined["no_capabilities"] = facts.confinement.no_capabilities;
  confined["seccomp"] = facts.confinement.system_calls;
  confined["landlock"] = facts.confinement.landlock;
  confined["text"] = text_of(facts.confinement);
  confined["missing"] = facts.confinement.missing;
  return json;
}

Json finding_json(const conf::Finding& finding, const char* severity) {
  Json json;
  json["severity"] = severity;
  json["file"] = finding.file;
  json["line"] = finding.line;
  json["column"] = finding.column;
  json["key"] = finding.key;
  json["message"] = finding.message;
  json["hint"] = finding.hint;
  json["text"] = finding.text();
  return json;
}

Json reload_json(const ReloadReport& report) {
  Json json;
  json["file"] = report.file;
  json["findings"] = Json::array();
  for (const conf::Finding& finding : report.errors) json["findings"].push_back(finding_json(finding, "error"));
  for (const conf::Finding& finding : report.warnings) json["findings"].push_back(finding_json(finding, "warning"));
  json["restart"] = report.restart;
  return json;
}

Json stats_json(const queue::StoreStats& stats) {
  Json json;
  json["version"] = stats.version;
  json["database_octets"] = stats.database_octets;
  json["wal_octets"] = stats.wal_octets;
  json["history_octets"] = stats.history_octets;
  json["pages"] = stats.pages;
  json["free_pages"] = stats.free_pages;
  json["spool_files"] = stats.spool_files;
  json["spool_octets"] = stats.spool_octets;
  json["destinations"] = stats.destinations;
  json["counted"] = stats.totals.has_value();
  if (!stats.totals) return json;
  const auto time = [](const std::optional<net::WallTime>& at) { return at ? time_json(*at) : Json(nullptr); };
  json["messages"] = stats.totals->messages;
  json["octets"] = stats.totals->octets;
  json["deferred"] = stats.totals->deferred;
  json["held"] = stats.totals->held;
  json["kept"] = stats.totals->removed;
  json["oldest_deferred"] = time(stats.totals->oldest_deferred);
  json["oldest_held"] = time(stats.totals->oldest_held);
  return json;
}

Json vacuum_json(const queue::VacuumReport& report) {
  Json json;
  json["pages"] = report.pages;
  json["octets"] = report.pages * queue::VacuumReport::kPage;
  json["left"] = report.left;
  return json;
}

Json check_json(const queue::CheckReport& report) {
  Json json;
  json["clean"] = report.found == 0;
  json["messages"] = report.messages;
  json["recipients"] = report.recipients;
  json["destinations"] = report.destinations;
  json["octets"] = report.octets;
  json["spool_files"] = report.spool_files;
  json["left_over"] = report.left_over;
  json["found"] = report.found;
  json["findings"] = Json::array();
  for (const queue::Finding& finding : report.findings) {
    Json one;
    one["kind"] = std::string(queue::to_text(finding.kind));
    one["id"] = finding.message.value == 0 ? Json(nullptr) : Json(finding.message.text());
    one["text"] = finding.text;
    json["findings"].push_back(std::move(one));
  }
  return json;
}

Json backup_json(const queue::BackupReport& report) {
  Json json;
  json["folder"] = report.folder;
  json["messages"] = report.messages;
  json["recipients"] = report.recipients;
  json["spool_files"] = report.spool_files;
  json["copied"] = report.copied;
  json["missing"] = report.missing;
  json["pages"] = report.pages;
  json["slices"] = report.slices;
  json["longest_slice_us"] = static_cast<std::uint64_t>(report.longest_slice.count());
  return json;
}

Json restore_json(const queue::RestoreReport& report) {
  Json json;
  json["messages"] = report.messages;
  json["recipients"] = report.recipients;
  json["again"] = report.compared ? Json(report.again) : Json(nullptr);
  json["dropped"] = report.compared ? Json(report.dropped) : Json(nullptr);
  json["kept"] = report.kept.empty() ? Json(nullptr) : Json(report.kept);
  return json;
}

Json salvage_json(const queue::SalvageReport& report) {
  Json json;
  json["folder"] = report.folder;
  json["kept"] = report.kept.empty() ? Json(nullptr) : Json(report.kept);
  json["messages"] = report.messages;
  json["recipients"] = report.recipients;
  json["in_doubt"] = report.in_doubt;
  json["unreadable_pages"] = report.unreadable_pages;
  json["broken_rows"] = report.broken_rows;
  json["lost"] = Json::array();
  for (const queue::SalvageReport::Lost& lost : report.lost) {
    Json one;
    one["id"] = lost.message.text();
    one["why"] = lost.why;
    one["from"] = lost.reverse_path;
    one["recipients"] = lost.recipients;
    json["lost"].push_back(std::move(one));
  }
  return json;
}

}  // namespace waypost::mta
