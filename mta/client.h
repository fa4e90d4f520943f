// mta/client.h: the tool's way to a relay: its control socket, or its files while it is down.
#pragma once
#include <memory>
#include <mutex>
#include <ostream>
#include <string>

#include "mta/control_api.h"

namespace waypost::mta {

/// Asks the daemon at a control socket. Errors: refused (nobody is there), denied, closed, timed_out.
Result<ControlAnswer> ask_daemon(const std::string& socket, const ControlRequest& request);

/// True for what the files on disk answer too.
bool is_readable_on_disk(const ControlRequest& request);

/// What to do about a damaged queue.db, as commands; `config` "" where its name is not known.
std::string damage_advice(const std::string& config);

/// The way to one relay, as its configuration names it.
class RelayClient {
 public:
  /// `notes` hears once that the files are read, where they are.
  RelayClient(std::string socket, std::string data_dir, std::ostream& notes)
      : socket_(std::move(socket)), data_dir_(std::move(data_dir)), notes_(notes) {}

  /// Two threads may ask, where one has begun long work and the other asks how far it is. Errors: those of
  /// ask_daemon().
  Result<ControlAnswer> ask(const ControlRequest& request);
  const std::string& data_dir() const { return data_dir_; }

 private:
  Result<ControlAnswer> ask_store(const ControlRequest& request, const Error& why);
  std::shared_ptr<ControlApi> store();
  std::string socket_, data_dir_;
  std::ostream& notes_;
  std::unique_ptr<ControlBackend> disk_;
  std::mutex mutex_;
  std::unique_ptr<ControlBackend> store_backend_;
  std::shared_ptr<ControlApi> store_;  ///< under mutex_: that was asked, and may be at work
};

}  // namespace waypost::mta
