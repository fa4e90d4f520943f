// mta/console.h: what the verbs of the tool stand on: where they print, whom they ask, with which exit code they end.
#pragma once
#include <functional>
#include <optional>
#include <ostream>
#include <string>

#include "mta/control_api.h"
#include "mta/control_json.h"
#include "mta/sendmail_submit.h"

namespace waypost::mta {

/// Exit codes: 0, 1 nothing matched, or a check found something, 2 some failed, and sysexits: 64 usage, 66 nothing
/// there, 69 no daemon, 70 trouble in the daemon, 73 in use or there already, 74 trouble of the disk, 75 try again, 77
/// no permission, 78 configuration.
struct Console {
  std::ostream& out;
  std::ostream& err;
  /// The configuration that --config names, or the usual one.
  std::function<std::string()> config_file;
  /// The daemon, or the files. Errors: as RelayClient::ask(), and `unsupported` for a configuration that cannot be
  /// used.
  std::function<Result<ControlAnswer>(const ControlRequest&)> ask;
  std::function<net::WallTime()> now;
  /// The data folder that the configuration names. Errors: unsupported.
  std::function<Result<std::string>()> data_dir;
  int exit_code = 0;
  /// Hands a message to the running daemon, on sendmail's way.
  std::function<Submitted(const Submission&)> submit{};
  bool err_is_terminal = false;  ///< a line may be drawn over there

  /// What --json prints: one line, which begins with `schema`, the version of its keys.
  void print(const Json& json);
  /// Says why on `err`, and sets the exit code.
  void give_up(int code, const std::string& why);
  /// Asks, and reads the answer. nullopt: it was an error, said on `err`, and the exit code is set.
  std::optional<Json> fetch(const ControlRequest& request);
  /// The same for an answer that is octets.
  std::optional<std::string> fetch_octets(const ControlRequest& request);
  /// Reads what was asked for elsewhere, as fetch().
  std::optional<Json> read(Result<ControlAnswer> answer);
  /// For questions of which this one says nothing: what there is to say of them is in `heard`.
  Console aside(std::ostream& heard) const { return {heard, heard, config_file, ask, now, data_dir}; }
  /// Reads one that is octets.
  std::optional<std::string> octets_of(Result<ControlAnswer> answer);
};

/// The exit code where the tool fails at what it does itself, on files.
int own_exit(Errc code);

/// A peer's text, fit for a terminal, on one line.
std::string shown(const Json& json, const char* key);
/// Peers' texts, likewise: "PIPELINING, SIZE".
std::string joined(const Json& list);
/// A time of the JSON in this machine's zone; "" if there is none.
std::string shown_time(const Json& json, const char* key);

}  // namespace waypost::mta
