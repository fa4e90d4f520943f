// tests/fuzz/control.cpp: any request to the control API. Each has an answer in JSON, and what changes the queue has
// said in one way which messages are meant.
// Covers: mta/control_api.cpp mta/control_json.cpp mta/control_trace.cpp
//
// Fields, split at US (0x1F): method, path, then name and value of parameters; an empty name ends these, and the rest
// is the body.
#include <set>
#include <string>

#include "mta/control_api.h"
#include "mta/control_json.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/quiet_log.h"
#include "tests/mta/fake_backend.h"

using namespace waypost;

namespace {

void check_change(const mta::ControlRequest& request, const tests::FakeBackend& backend) {
  if (backend.changed.empty()) return;
  fuzz::check(backend.changed.size() == 1 && request.method == "POST", "one order is one change");
  const mta::Json order = mta::Json::parse(request.body, nullptr, false);
  fuzz::check(order.is_object() && order.contains("change"), "which was ordered");
  fuzz::check(!order.contains("dry_run") || order["dry_run"] != true, "in earnest");
  bool all = order.contains("all") && order["all"] == true;
  fuzz::check(all != (order.contains("ids") || order.contains("filter")) || !all, "in one way");
  // Beside the terms that leave out those to whom the change would do nothing.
  bool says_which = false;
  for (const queue::Term& term : backend.changed[0].terms)
    says_which = says_which || term.field != queue::Term::Field::state || !term.negated;
  if (order.contains("filter") && order["filter"].is_string())
    says_which = says_which || order["filter"].get<std::string>().find_first_not_of(" \t\r\n") != std::string::npos;
  fuzz::check(all || says_which, "everything is meant where `all` says so");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::quiet_log();
  std::string_view input = fuzz::view(data, size);
  std::uint8_t bits = fuzz::take_octet(input);
  mta::ControlRequest request;
  request.method = fuzz::take_field(input);
  request.path = fuzz::take_field(input);
  for (std::string name(fuzz::take_field(input)); !name.empty(); name = fuzz::take_field(input))
    request.query[name] = fuzz::take_field(input);
  request.body = input;

  tests::FakeBackend backend;
  if ((bits & 1) != 0) backend.messages[1].recipients[0].state = queue::State::held;
  if ((bits & 2) != 0) backend.add(queue::Id{3000}, "\xff\x01@x", {"\"\r\n\"@b.example"});
  queue::HistoryEvent event;
  event.message = queue::Id{1000};
  event.recipient = "b@b.example";
  event.text = (bits & 4) != 0 ? "\xc3(\r\n" : "452 full";
  backend.history.push_back(event);
  mta::ControlApi api(backend);
  mta::ControlAnswer answer = api.handle(request);

  static const std::set<int> kStatuses = {200, 400, 404, 405};
  fuzz::check(kStatuses.contains(answer.status), "an answer is of those that a relay in order gives");
  if (answer.type == "application/json") {
    const mta::Json json = mta::Json::parse(answer.body, nullptr, false);
    fuzz::check(json.is_object(), "an answer is a JSON object");
    fuzz::check((answer.status == 200) != json.contains("error"), "and says what is wrong, if anything is");
    fuzz::check(answer.body.find('\n') == std::string::npos, "in one line");
  } else {
    fuzz::check(answer.status == 200 && request.path.ends_with("/content"), "octets are the content's");
    fuzz::check(answer.body.size() <= mta::ControlApi::kMaxContent, "not too many at a time");
  }
  fuzz::check(backend.largest_page <= mta::ControlApi::kMaxPage, "no page is too large");
  check_change(request, backend);
  return 0;
}
