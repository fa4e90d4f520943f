// mta/control_audit.cpp: ControlApi::undo and audit: what administrators did, and taking it back.
#include <algorithm>
#include <limits>
#include <utility>

#include "base/event_log.h"
#include "mta/control_api.h"
#include "mta/control_json.h"
#include "mta/login_name.h"

namespace waypost::mta {

std::string who_asks(std::uint32_t uid) {
  if (uid == std::numeric_limits<std::uint32_t>::max()) return "unknown";
  const std::string name = login_name(uid);
  return name.empty() ? "uid=" + std::to_string(uid) : name;
}

void ControlApi::record(const ControlRequest& request, const std::string& what, const std::string& meant,
                        const std::string& reason, std::uint64_t messages, std::uint64_t recipients) {
  queue::ChangeRecord change;
  change.time = backend_.now();
  change.what = what;
  change.who = who_asks(request.uid);
  change.meant = meant;
  change.reason = reason;
  change.messages = messages;
  change.recipients = recipients;
  const Result<> recorded = backend_.record(std::move(change));
  if (!recorded && recorded.error().code == Errc::unsupported) return;  // the tool by itself, which has no log either
  log::changed(what, meant, messages, reason, request.uid);
  // It was done all the same, and the log has it.
  if (!recorded) log::failure("the audit: " + recorded.error().what);
}

ControlAnswer ControlApi::undo(const ControlRequest& request) {
  const Json order = parse_json(request.body);
  const auto number = order.is_object() ? order.find("change") : order.end();
  if (number == order.end() || !number->is_number_unsigned())
    return answer_of(Error(Errc::invalid, "change is the number of a change"));
  const std::uint64_t change = number->get<std::uint64_t>();
  const queue::Watched progress = begin_work(request);
  if (progress) {
    const Result<std::vector<queue::ChangeRecord>> found =
        backend_.changes(change == UINT64_MAX ? change : change + 1, 1);
    if (found && !found->empty() && found->front().number == change)
      progress->begin(queue::Progress::Unit::messages, found->front().messages);
  }
  const Result<queue::Changed> undone = backend_.undo(change, who_asks(request.uid), progress);
  if (!undone) return answer_of(undone.error());
  log::changed("undo", "change " + std::to_string(change), undone->messages, "", request.uid);
  return answer(changed_json(*undone));
}

ControlAnswer ControlApi::audit(const ControlRequest& request) {
  const Result<std::uint64_t> before = number(request, "before", std::numeric_limits<std::int64_t>::max());
  if (!before) return answer_of(before.error());
  const Result<std::uint64_t> limit = number(request, "limit", kMaxPage);
  if (!limit) return answer_of(limit.error());
  const Result<std::vector<queue::ChangeRecord>> changes =
      backend_.changes(*before, std::min<std::uint64_t>(*limit, kMaxPage));
  if (!changes) return answer_of(changes.error());
  Json json;
  json["changes"] = Json::array();
  for (const queue::ChangeRecord& change : *changes) json["changes"].push_back(change_json(change));
  return answer(json);
}

}  // namespace waypost::mta
