// mta/control_progress.cpp: ControlApi::progress and stop_progress: long work as it is under way.
#include <utility>

#include "base/escape.h"
#include "mta/control_api.h"
#include "mta/control_json.h"

namespace waypost::mta {
namespace {

ControlAnswer not_under_way(const std::string& name) {
  return answer_of(Error(Errc::not_found, "nothing is under way that is called " + escape(name, 100)));
}

}  // namespace

queue::Watched ControlApi::begin_work(const ControlRequest& request) {
  const std::string name = request.parameter("progress");
  if (name.empty() || name.size() > kMaxName) return nullptr;
  queue::Watched work = std::make_shared<queue::Progress>();
  const std::lock_guard lock(mutex_);
  std::erase_if(works_, [](const auto& each) { return each.second.expired(); });
  works_[name] = work;
  return work;
}

queue::Watched ControlApi::work_of(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = works_.find(name);
  return found == works_.end() ? nullptr : found->second.lock();
}

ControlAnswer ControlApi::progress(const ControlRequest& request) {
  const std::string name = request.parameter("of");
  const queue::Watched work = work_of(name);
  return work ? answer(progress_json(work->seen())) : not_under_way(name);
}

ControlAnswer ControlApi::stop_progress(const ControlRequest& request) {
  const Json order = parse_json(request.body);
  const auto of = order.is_object() ? order.find("of") : order.end();
  if (of == order.end() || !of->is_string())
    return answer_of(Error(Errc::invalid, "of is the name of what is stopped"));
  const queue::Watched work = work_of(of->get<std::string>());
  if (!work) return not_under_way(of->get<std::string>());
  work->stop();
  return answer(progress_json(work->seen()));
}

}  // namespace waypost::mta
