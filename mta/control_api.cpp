#include "mta/control_api.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <span>
#include <utility>

#include "base/dialogue.h"
#include "base/escape.h"
#include "base/event_log.h"
#include "base/text.h"
#include "conf/values.h"
#include "mta/alerts.h"
#include "mta/control_json.h"
#include "queue/disk_space.h"
#include "queue/forwarding.h"
#include "smtp/address.h"

namespace waypost::mta {
namespace {

constexpr const char* kLevelWanted = "level is debug, info, warning or error";
constexpr std::chrono::duration<std::uint64_t> kLongestLevel = std::chrono::hours(24 * 366);
constexpr std::size_t kAsk = 25;  // messages that the store is asked for at a time: each may have many recipients

ControlAnswer refuse(int status, const std::string& why) {
  Json json;
  json["error"] = why;
  return answer(json, status);
}

/// Of trace headers and body, as they would be relayed. "" at the end.
Result<std::string> read_content(const queue::Content& content, queue::Files& files, std::uint64_t offset,
                                 std::size_t limit) {
  std::string out;
  if (offset < content.trace.size()) {
    out = content.trace.substr(offset, limit);
    offset = 0;
  } else {
    offset -= content.trace.size();
  }
  if (out.size() >= limit || offset >= content.body_size) return out;
  if (!content.in_file) {
    if (offset < content.octets.size()) out += content.octets.substr(offset, limit - out.size());
    return out;
  }
  Result<std::unique_ptr<queue::File>> file = files.open(queue::body_path(content.id.text()));
  if (!file) return fail(file.error());
  std::size_t filled = out.size();
  out.resize(limit);
  while (filled < limit) {
    const Result<std::size_t> got = (*file)->read_at(offset, std::span(out).subspan(filled));
    if (!got) return fail(got.error());
    if (*got == 0) break;
    filled += *got;
    offset += *got;
  }
  out.resize(filled);
  return out;
}

/// When and why each held recipient was held the last time.
void add_held(Json& message, const std::vector<queue::HistoryEvent>& events) {
  for (Json& recipient : message["recipients"]) {
    if (recipient["state"] != "held") continue;
    for (const queue::HistoryEvent& event : events) {
      if (event.kind != queue::HistoryEvent::Kind::held || recipient["address"] != event.recipient) continue;
      recipient["held_since"] = time_json(event.time);
      recipient["held_because"] = event.text;
    }
  }
}

}  // namespace

std::string ControlRequest::parameter(const std::string& name) const {
  const auto found = query.find(name);
  return found == query.end() ? std::string() : found->second;
}

Result<std::uint64_t> number(const ControlRequest& request, const char* name, std::uint64_t otherwise) {
  const std::string text = request.parameter(name);
  if (text.empty()) return otherwise;
  const std::optional<std::uint64_t> value = parse_decimal(text);
  if (!value) return fail(Errc::invalid, std::string(name) + " is no number: " + escape(text, 40));
  return *value;
}

ControlAnswer answer_of(const Error& error) {
  switch (error.code) {
    case Errc::invalid:
      return refuse(400, error.what);
    case Errc::denied:
      return refuse(403, error.what);
    case Errc::not_found:
      return refuse(404, error.what);
    case Errc::too_big:
      return refuse(413, error.what);
    case Errc::timed_out:
    case Errc::busy:
    case Errc::cancelled:
      return refuse(503, error.what);
    case Errc::exists:
      return refuse(409, error.what);
    case Errc::unsupported:
      return refuse(501, error.what);
    case Errc::full:
      return refuse(507, error.what);
    default:
      return refuse(500, error.what);
  }
}

ControlAnswer ControlApi::handle(const ControlRequest& request) noexcept {
  try {
    return route(request);
  } catch (const std::exception& thrown) {
    log::failure("control: " + request.method + " " + request.path + ": " + thrown.what());
    return refuse(500, "an error in the daemon, which is in its log");
  }
}

ControlAnswer ControlApi::route(const ControlRequest& request) {
  const bool get = request.method == "GET" || request.method == "HEAD";
  const bool post = request.method == "POST";
  const std::string_view path = request.path;
  if (path == "/v1/status") return get ? status() : refuse(405, "GET is meant");
  if (path == "/v1/health") return get ? health() : refuse(405, "GET is meant");
  if (path == "/v1/log") return get ? log_lines(request) : refuse(405, "GET is meant");
  if (path == "/v1/log/level") return post ? set_log_level(request) : refuse(405, "POST is meant");
  if (path == "/v1/log/reopen") return post ? reopen_log(request) : refuse(405, "POST is meant");
  if (path == "/v1/queue") return get ? list(request) : refuse(405, "GET is meant");
  if (path == "/v1/queue/count") return get ? count(request) : refuse(405, "GET is meant");
  if (path == "/v1/attempt/settle") return post ? settle_attempt(request) : refuse(405, "POST is meant");
  if (path == "/v1/dest") return get ? destinations(request) : refuse(405, "GET is meant");
  if (path == "/v1/dest/change") return post ? change_destination(request) : refuse(405, "POST is meant");
  if (path == "/v1/explain") return get ? explain(request) : refuse(405, "GET is meant");
  if (path == "/v1/probe") return get ? probe(request) : refuse(405, "GET is meant");
  if (path == "/v1/watch") return get ? watch(request) : refuse(405, "GET is meant");
  if (path == "/v1/rates") return get ? rates() : refuse(405, "GET is meant");
  if (path == "/v1/trace") return get ? trace(request) : refuse(405, "GET is meant");
  if (path == "/v1/queue/change") return post ? change(request) : refuse(405, "POST is meant");
  if (path == "/v1/undo") return post ? undo(request) : refuse(405, "POST is meant");
  if (path == "/v1/progress") return get ? progress(request) : refuse(405, "GET is meant");
  if (path == "/v1/progress/stop") return post ? stop_progress(request) : refuse(405, "POST is meant");
  if (path == "/v1/audit") return get ? audit(request) : refuse(405, "GET is meant");
  if (path == "/v1/store/stats") return get ? store_stats() : refuse(405, "GET is meant");
  if (path == "/v1/store/vacuum") return post ? vacuum_store(request) : refuse(405, "POST is meant");
  if (path == "/v1/store/check") return post ? check_store(request) : refuse(405, "POST is meant");
  if (path == "/v1/store/backup") return post ? back_up(request) : refuse(405, "POST is meant");
  if (path == "/v1/config") return get ? config(request) : refuse(405, "GET is meant");
  if (path == "/v1/config/epochs") return get ? epochs() : refuse(405, "GET is meant");
  if (path == "/v1/certificates") return get ? certificates() : refuse(405, "GET is meant");
  if (path == "/v1/reload") return post ? reload(request) : refuse(405, "POST is meant");

  constexpr std::string_view kMessage = "/v1/queue/";
  if (!path.starts_with(kMessage)) return refuse(404, "nothing at " + escape(path, 100));
  const auto [id_text, part] = split_once(path.substr(kMessage.size()), '/');
  const std::optional<queue::Id> id = queue::Id::parse(id_text);
  if (!id) return refuse(400, "not a queue id: " + escape(id_text, 40));
  if (!get) return refuse(405, "GET is meant");
  if (part.empty()) return show(*id);
  if (part == "content") return content(*id, request);
  return refuse(404, "nothing at " + escape(path, 100));
}

namespace {

/// The destination of the first recipient that waits, or is held; null: none.
Json waits_for(const queue::MessageRow& message) {
  for (const queue::RecipientRow& recipient : message.recipients)
    if (recipient.state == queue::State::deferred || recipient.state == queue::State::held)
      return recipient.destination;
  return nullptr;
}

}  // namespace

ControlAnswer ControlApi::status() {
  const Result<DaemonFacts> facts = backend_.facts();
  if (!facts) return answer_of(facts.error());
  const Result<queue::Counts> counts = backend_.count(queue::Filter());
  if (!counts) return answer_of(counts.error());
  const Result<queue::Listing> oldest = backend_.list(queue::Filter(), std::nullopt, 1);
  if (!oldest) return answer_of(oldest.error());
  const Result<std::vector<queue::DestinationRow>> destinations = backend_.destinations("", false);
  if (!destinations) return answer_of(destinations.error());
  Json json = facts_json(*facts);
  json["queue"] = counts_json(*counts);
  json["queue"]["oldest_for"] = oldest->messages.empty() ? Json(nullptr) : waits_for(oldest->messages.front());
  json["held"] = Json::array();
  for (const queue::DestinationRow& row : *destinations) {
    if (row.state.held_until <= backend_.now()) continue;
    json["held"].push_back(destination_json(row, backend_.now()));
    json["held"].back().erase("recipients");  // they were not counted
  }
  const Disk disk = disk_of(facts->data_dir);
  if (disk.size > 0) {
    json["disk"]["free"] = disk.free;
    json["disk"]["size"] = disk.size;
    json["disk"]["reserve"] = queue::kept_free(disk.size);
  }
  json["alerts"] = alerts(*facts, disk);
  return answer(json);
}

ControlAnswer ControlApi::health() {
  const Result<DaemonFacts> facts = backend_.facts();
  if (!facts) return answer_of(facts.error());
  Json json;
  json["alerts"] = alerts(*facts, disk_of(facts->data_dir));
  return answer(json);
}

ControlAnswer ControlApi::log_lines(const ControlRequest& request) {
  const Result<std::uint64_t> from = number(request, "from", 0);
  if (!from) return answer_of(from.error());
  const Result<std::uint64_t> asked = number(request, "limit", kMaxLogged);
  if (!asked) return answer_of(asked.error());
  const std::size_t limit = std::min<std::uint64_t>(*asked, kMaxLogged);
  const std::string id = request.parameter("id"), least = request.parameter("level");
  const std::optional<log::Level> level = log::parse_level(least);
  if (!level && !least.empty()) return refuse(400, kLevelWanted);
  const auto wanted = [&](const log::Line& line) {
    return (id.empty() || line.id == id) && (!level || line.level >= *level);
  };
  return answer(log_json(log::level(), *from == 0 ? log::last(limit, wanted) : log::read(*from, limit, wanted)));
}

ControlAnswer ControlApi::set_log_level(const ControlRequest& request) {
  const Json order = parse_json(request.body);
  if (!order.is_object()) return refuse(400, "the body is no JSON object");
  const auto level = order.find("level");
  const std::optional<log::Level> wanted =
      level != order.end() && level->is_string() ? log::parse_level(level->get<std::string>()) : std::nullopt;
  if (!wanted) return refuse(400, kLevelWanted);
  const auto seconds = order.find("seconds");
  std::optional<log::Clock::time_point> until;
  if (seconds != order.end()) {
    const bool fits = seconds->is_number_unsigned() && seconds->get<std::uint64_t>() - 1 < kLongestLevel.count();
    if (!fits) return refuse(400, "seconds says for how long, a year at most");
    until = log::Clock::now() + std::chrono::seconds(seconds->get<std::int64_t>());
  }
  log::set_level(*wanted, until);
  record(request, "log level", std::string(log::to_text(*wanted)),
         until ? "for " + std::to_string(seconds->get<std::uint64_t>()) + " s" : "", 0);
  return answer(log_level_json(log::level()));
}

ControlAnswer ControlApi::reopen_log(const ControlRequest&) {
  const Result<> opened = log::reopen();
  return opened ? answer(Json::object()) : answer_of(opened.error());
}

ControlAnswer ControlApi::list(const ControlRequest& request) {
  const Result<queue::Filter> filter = queue::parse_filter(request.parameter("filter"));
  if (!filter) return answer_of(filter.error());
  const Result<std::uint64_t> asked = number(request, "limit", kMaxPage);
  if (!asked) return answer_of(asked.error());
  std::optional<queue::Id> after;
  if (const std::string text = request.parameter("after"); !text.empty()) {
    after = queue::Id::parse(text);
    if (!after) return refuse(400, "after: not a queue id: " + escape(text, 40));
  }
  const std::size_t limit = std::min<std::uint64_t>(*asked, kMaxPage);
  const std::string sort = request.parameter("sort");
  const std::optional<MessageOrder> order = parse_message_order(sort.empty() ? "age" : sort);
  if (!order) return refuse(400, "sort is one of " + std::string(kMessageOrders));
  if (*order != MessageOrder::age) {
    if (after) return refuse(400, "after belongs to what is sorted by age");
    return sorted(*filter, *order, limit);
  }
  const net::WallTime now = backend_.now();
  Json json;
  json["messages"] = Json::array();
  std::size_t recipients = 0;
  std::optional<queue::Id> resume = after;
  bool more = true;
  while (more && json["messages"].size() < limit && recipients < kMaxRecipients) {
    Result<queue::Listing> page = backend_.list(*filter, resume, std::min(kAsk, limit - json["messages"].size()));
    if (!page) return answer_of(page.error());
    for (const queue::MessageRow& message : page->messages) {
      recipients += message.recipients.size();
      json["messages"].push_back(message_json(message, now));
    }
    resume = page->resume;
    more = resume.has_value();
  }
  json["resume"] = more && resume ? Json(resume->text()) : Json(nullptr);
  return answer(json);
}

/// Goes through all that the filter means: there is no index for it.
ControlAnswer ControlApi::sorted(const queue::Filter& filter, MessageOrder order, std::size_t limit) {
  constexpr std::chrono::seconds kMost{30};  // whoever asked may have gone
  const auto until = std::chrono::steady_clock::now() + kMost;
  std::vector<queue::MessageRow> first;
  std::optional<queue::Id> resume;
  do {
    if (std::chrono::steady_clock::now() > until)
      return refuse(503, "sorting so many messages takes more than 30 s: name fewer by a filter");
    Result<queue::Listing> page = backend_.list(filter, resume, kMaxPage);
    if (!page) return answer_of(page.error());
    std::move(page->messages.begin(), page->messages.end(), std::back_inserter(first));
    keep_first(first, order, limit);
    resume = page->resume;
  } while (resume);
  const net::WallTime now = backend_.now();
  Json json;
  json["messages"] = Json::array();
  for (const queue::MessageRow& message : first) json["messages"].push_back(message_json(message, now));
  json["resume"] = nullptr;
  return answer(json);
}

ControlAnswer ControlApi::count(const ControlRequest& request) {
  const Result<queue::Filter> filter = queue::parse_filter(request.parameter("filter"));
  if (!filter) return answer_of(filter.error());
  if (!request.parameter("by").empty()) return group(*filter, request);
  const Result<queue::Counts> counts = backend_.count(*filter);
  if (!counts) return answer_of(counts.error());
  return answer(counts_json(*counts));
}

ControlAnswer ControlApi::group(const queue::Filter& filter, const ControlRequest& request) {
  const std::optional<queue::GroupBy> by = queue::parse_group_by(request.parameter("by"));
  if (!by) return refuse(400, "by is one of " + std::string(queue::kGroupByList));
  const Result<std::uint64_t> limit = number(request, "limit", 20);
  if (!limit) return answer_of(limit.error());
  if (*limit == 0) return refuse(400, "limit is from 1");
  const Result<queue::Groups> groups = backend_.group(filter, *by, std::min<std::uint64_t>(*limit, kMaxGroups));
  if (!groups) return answer_of(groups.error());
  return answer(groups_json(*groups));
}

ControlAnswer ControlApi::show(queue::Id id) {
  const Result<queue::Listing> found = backend_.list(queue::filter_of({id}), std::nullopt, 1);
  if (!found) return answer_of(found.error());
  if (found->messages.empty()) return refuse(404, id.text() + " is not in the queue");
  const queue::MessageRow& message = found->messages.front();
  Json json = message_json(message, backend_.now());
  const bool held = std::any_of(message.recipients.begin(), message.recipients.end(),
                                [](const queue::RecipientRow& each) { return each.state == queue::State::held; });
  if (held) {
    // Who asks why a message waits is told why it was held. Without a history the rest of the answer still serves.
    queue::HistoryQuery query;
    query.id = id;
    const Result<std::vector<queue::HistoryEvent>> events = backend_.find(query);
    if (events) add_held(json, *events);
  }
  return answer(json);
}

ControlAnswer ControlApi::content(queue::Id id, const ControlRequest& request) {
  const Result<std::uint64_t> offset = number(request, "offset", 0);
  if (!offset) return answer_of(offset.error());
  const Result<std::shared_ptr<const queue::Content>> found = backend_.content(id);
  if (!found) return answer_of(found.error());
  Result<std::string> octets = read_content(**found, backend_.files(), *offset, kMaxContent);
  if (!octets) return answer_of(octets.error());
  return ControlAnswer{200, *std::move(octets), "application/octet-stream"};
}

Result<std::vector<queue::MessageRow>> ControlApi::rows(const queue::Filter& filter, std::size_t limit) {
  std::vector<queue::MessageRow> all;
  std::optional<queue::Id> resume;
  while (all.size() < limit) {
    Result<queue::Listing> page = backend_.list(filter, resume, std::min(kAsk, limit - all.size()));
    if (!page) return fail(page.error());
    for (queue::MessageRow& message : page->messages) all.push_back(std::move(message));
    resume = page->resume;
    if (!resume) break;
  }
  return all;
}

ControlAnswer ControlApi::settle_attempt(const ControlRequest& request) {
  const Json order = parse_json(request.body);
  if (!order.is_object()) return refuse(400, "the body is no JSON object");
  const auto text = [&order](const char* key) {
    const auto found = order.find(key);
    return found != order.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  const std::string shown = text("id");
  const std::optional<queue::Id> id = queue::Id::parse(shown);
  if (!id) return refuse(400, "not a queue id: " + escape(shown, 60));
  const auto delivered = order.find("delivered");
  if (delivered == order.end() || !delivered->is_boolean()) return refuse(400, "delivered is true or false");
  const std::string reason = text("reason");
  const Result<std::size_t> settled = backend_.settle_doubt(*id, text("to"), delivered->get<bool>(), reason);
  if (!settled) return answer_of(settled.error());
  if (*settled > 0)
    record(request, delivered->get<bool>() ? "attempt settle --delivered" : "attempt settle --failed", id->text(),
           reason, 1);
  Json json;
  json["id"] = id->text();
  json["recipients"] = *settled;
  return answer(json);
}

ControlAnswer ControlApi::explain(const ControlRequest& request) {
  ExplainQuery query;
  query.to = request.parameter("to");
  query.from = request.parameter("from");
  query.login = request.parameter("login");
  if (const std::string client = request.parameter("client"); !client.empty()) query.client = client;
  const std::string role = request.parameter("role");
  if (role == "mx") query.role = conf::Role::mx;
  if (role == "submission") query.role = conf::Role::submission;
  if (!role.empty() && !query.role) return refuse(400, "role is mx or submission");
  const Result<Explanation> explanation = backend_.explain(query);
  if (!explanation) return answer_of(explanation.error());
  Json json = explanation_json(*explanation, backend_.now());
  const Result<DaemonFacts> facts = backend_.facts();
  if (!facts) return answer_of(facts.error());
  json["config"] = config_json(*facts);
  return answer(json);
}

ControlAnswer ControlApi::probe(const ControlRequest& request) {
  std::string destination = smtp::domain_key(request.parameter("destination"));
  if (destination.empty()) return refuse(400, "destination says whose hosts are meant");
  if (const std::string hop = request.parameter("next_hop"); !hop.empty()) {
    const Result<conf::NextHop> parsed = conf::parse_next_hop(hop);
    if (!parsed) return refuse(400, "next_hop: " + parsed.error().what);
    destination = queue::rerouted(destination, parsed->text());
  }
  const Result<delivery::Probe> probe = backend_.probe(destination);
  return probe ? answer(probe_json(destination, *probe)) : answer_of(probe.error());
}

ControlAnswer ControlApi::watch(const ControlRequest& request) {
  const Result<std::uint64_t> from = number(request, "from", 0);
  if (!from) return answer_of(from.error());
  const std::string direction = request.parameter("direction");
  if (!direction.empty() && direction != "in" && direction != "out") return refuse(400, "direction is in or out");
  std::optional<conf::Network> network;
  if (const std::string peer = request.parameter("peer"); !peer.empty()) {
    const Result<conf::Network> parsed = conf::parse_network(peer);
    if (!parsed) return refuse(400, "peer: " + parsed.error().what);
    network = *parsed;
  }
  const auto wanted = [&](const dialogue::Line& line) {
    if (!direction.empty() && line.inbound != (direction == "in")) return false;
    return !network || network->contains(line.address);
  };
  return answer(watch_json(dialogue::read(*from, kMaxWatched, wanted)));
}

ControlAnswer ControlApi::rates() {
  const Result<std::vector<Rates::Row>> rows = backend_.rates();
  if (!rows) return answer_of(rows.error());
  Json json;
  json["rates"] = Json::array();
  for (const Rates::Row& row : *rows) json["rates"].push_back(rate_json(row));
  return answer(json);
}

ControlAnswer ControlApi::config(const ControlRequest& request) {
  const Result<std::uint64_t> wanted = number(request, "epoch", 0);
  if (!wanted) return answer_of(wanted.error());
  const Result<ConfigEpochs> epochs = backend_.epochs();
  if (!epochs) return answer_of(epochs.error());
  const ConfigEpoch* found = epochs->find(*wanted);
  if (found == nullptr) return refuse(404, "configuration " + std::to_string(*wanted) + " is not known");
  return answer(epoch_json(*found));
}

ControlAnswer ControlApi::epochs() {
  const Result<ConfigEpochs> epochs = backend_.epochs();
  if (!epochs) return answer_of(epochs.error());
  Json json;
  json["epochs"] = Json::array();
  for (const ConfigEpoch& epoch : epochs->all()) {
    Json line = epoch_json(epoch);
    line.erase("settings");
    json["epochs"].push_back(std::move(line));
  }
  return answer(json);
}

ControlAnswer ControlApi::certificates() {
  const Result<std::vector<ReadCertificate>> all = backend_.certificates();
  if (!all) return answer_of(all.error());
  Json json;
  json["certificates"] = Json::array();
  for (const ReadCertificate& each : *all) json["certificates"].push_back(read_certificate_json(each));
  return answer(json);
}

ControlAnswer ControlApi::reload(const ControlRequest& request) {
  const Result<ReloadReport> report = backend_.reload();
  if (!report) return answer_of(report.error());
  record(request, "reload", report->file, report->errors.empty() ? "" : "refused: it has errors", 0);
  return answer(reload_json(*report), report->errors.empty() ? 200 : 422);
}

ControlAnswer ControlApi::store_stats() {
  const Result<queue::StoreStats> stats = backend_.store_stats();
  if (!stats) return answer_of(stats.error());
  return answer(stats_json(*stats));
}

ControlAnswer ControlApi::vacuum_store(const ControlRequest& request) {
  const Result<queue::VacuumReport> report = backend_.vacuum_store();
  if (!report) return answer_of(report.error());
  record(request, "store vacuum", std::to_string(report->pages) + " pages", "", 0);
  return answer(vacuum_json(*report));
}

ControlAnswer ControlApi::check_store(const ControlRequest& request) {
  const Result<queue::CheckReport> report = backend_.check_store(begin_work(request));
  if (!report) return answer_of(report.error());
  return answer(check_json(*report));
}

ControlAnswer ControlApi::back_up(const ControlRequest& request) {
  const Json order = parse_json(request.body);
  const auto folder = order.is_object() ? order.find("folder") : order.end();
  if (folder == order.end() || !folder->is_string()) return refuse(400, "folder is the path of a new folder");
  const Result<queue::BackupReport> report = backend_.back_up(folder->get<std::string>(), begin_work(request));
  if (!report) return answer_of(report.error());
  record(request, "backup", report->folder, "", report->messages);
  return answer(backup_json(*report));
}

}  // namespace waypost::mta
