#include "mta/control.h"

#include <utility>

#include "base/event_log.h"

namespace waypost::mta {

Result<std::unique_ptr<Control>> Control::open(const std::string& path) {
  Result<std::unique_ptr<net::LocalSocket>> socket = net::LocalSocket::open("control socket", path, 0660);
  if (!socket) return fail(socket.error());
  return std::unique_ptr<Control>(new Control(*std::move(socket)));
}

Result<> Control::start(ControlApi& api) {
  return http_.start(socket_->fd(), [&api](const ControlRequest& request) { return api.handle(request); });
}

void Control::unlink() {
  const Result<> gone = socket_->unlink();
  if (!gone) log::warning(gone.error().what);
}

Control::~Control() {
  unlink();
}

}  // namespace waypost::mta
