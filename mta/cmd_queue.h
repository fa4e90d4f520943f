// mta/cmd_queue.h: `waypost queue ...`: what waits, and changes to it.
#pragma once
#include <ostream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

struct QueueListOptions {
  std::vector<std::string> filter;
  std::uint64_t limit = 0;  ///< 0: all
  std::string after;
  std::string sort;  ///< parse_message_order(); "": by age
  bool json = false;
};
struct QueueCountOptions {
  std::vector<std::string> filter;
  std::string by;           ///< queue::parse_group_by(); "": all in one
  std::uint64_t limit = 0;  ///< lines, of groups; 0: the daemon's default
  bool json = false;
};
struct QueueShowOptions {
  std::string id;
  bool headers = false, body = false, envelope = false, raw = false, json = false;
};
struct QueueChangeOptions {
  std::string verb;  ///< hold, release, retry, delete, bounce, reroute, redirect
  std::vector<std::string> messages;
  bool all = false, dry_run = false, yes = false;
  bool for_good = false;  ///< delete: not to be undone
  std::string reason;
  std::string to;  ///< reroute: a next hop or "usual"; redirect: an address
};

struct QueueExportOptions {
  std::vector<std::string> filter;
  bool all = false;
  std::string to;  ///< a folder, or a new file whose name ends with ".mbox"
};

/// What an export to a folder wrote goes into the queue again, on sendmail's way: the submit socket. So it is as any
/// mail that comes in: checked, counted by its Received fields against loops, traced, and acknowledged by a reply that
/// waits for the disk. A second way in would have all of that twice, and the control socket takes no large bodies.
///
/// The name says how far a message is. `ID.json` is to be imported; `ID.json.importing` was handed over and no reply
/// came (or the tool was killed): nobody but its administrator knows whether it is in the queue, and it is not sent
/// again; `ID.json.imported` is done, and its content `ID.eml.imported`. What only some recipients were taken for is an
/// `ID.json` of the others.
struct QueueImportOptions {
  std::string from;      ///< a folder
  bool release = false;  ///< recipients that were held, too, which then wait as all others
  bool dry_run = false;
};

int queue_list(const QueueListOptions& options, Console& console);
int queue_count(const QueueCountOptions& options, Console& console);
int queue_groups(const QueueCountOptions& options, Console& console);
int queue_shape(const QueueCountOptions& options, Console& console);
int queue_show(const QueueShowOptions& options, Console& console);
int queue_export(const QueueExportOptions& options, Console& console);
int queue_import(const QueueImportOptions& options, Console& console);
int queue_change(const QueueChangeOptions& options, Console& console);

/// A message as a line of `queue list`, and what stands above it; for `waypost top`, too.
std::vector<std::string> list_heading();
std::vector<std::string> list_row(const Json& message);
/// Envelope and recipients, as `queue show` has them.
void write_envelope(const Json& message, net::WallTime now, std::ostream& out);

/// The arguments of a verb as one filter. A shell takes quotes away, hence a value of several words gets them again.
std::string filter_text(const std::vector<std::string>& arguments);

/// A term that begins with `-` looks like an option on a command line: CLI11 is shown `!from:...` in its place.
std::vector<std::string> protect_negated_terms(const std::vector<std::string>& arguments);

void add_queue(CLI::App& app, Console& console);

}  // namespace waypost::mta
