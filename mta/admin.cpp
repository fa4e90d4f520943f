#include "mta/admin.h"

#include <exception>
#include <string>

#include "base/event_log.h"

namespace waypost::mta {
namespace {

constexpr const char* kText = "text/plain; charset=utf-8";
constexpr const char* kPrometheus = "text/plain; version=0.0.4; charset=utf-8";

ControlAnswer unanswered(const Error& error) {
  return {503, error.what + "\n", kText};
}

ControlAnswer health(const AdminSources& sources) {
  const Result<DaemonFacts> facts = sources.facts();
  if (!facts) return unanswered(facts.error());
  std::string lines;
  for (const std::string& alert : alerts(*facts, disk_of(facts->data_dir))) lines += alert + "\n";
  return lines.empty() ? ControlAnswer{200, "ok\n", kText} : ControlAnswer{503, lines, kText};
}

ControlAnswer measured(const AdminSources& sources) {
  Result<Measures> measures = sources.measures();
  if (!measures) return unanswered(measures.error());
  measures->disk = disk_of(measures->facts.data_dir);
  measures->log_dropped = log::dropped();
  return {200, metrics_text(*measures, metrics::events()), kPrometheus};
}

}  // namespace

ControlAnswer answer_admin(const ControlRequest& request, const AdminSources& sources) {
  const bool is_health = request.path == "/health";
  if (!is_health && request.path != "/metrics") return {404, "there are /metrics and /health\n", kText};
  if (request.method != "GET" && request.method != "HEAD") return {405, "GET is meant\n", kText};
  try {
    return is_health ? health(sources) : measured(sources);
  } catch (const std::exception& thrown) {
    log::failure("admin: " + request.path + ": " + thrown.what());
    return {500, "an error in the daemon, which is in its log\n", kText};
  }
}

Result<> Admin::start(AdminSources sources) {
  return http_.start(socket_->descriptor(), [sources = std::move(sources)](const ControlRequest& request) {
    return answer_admin(request, sources);
  });
}

}  // namespace waypost::mta
