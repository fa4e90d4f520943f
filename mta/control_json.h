// mta/control_json.h: the JSON of the control socket and of `--json`. Keys are stable: add, never rename. Pure.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/dialogue.h"
#include "base/event_log.h"
#include "mta/control_api.h"
#include "queue/restore.h"
#include "queue/salvage.h"

namespace waypost::mta {

/// Insertion order is kept, so that lines read from what matters most.
using Json = nlohmann::ordered_json;

/// One line. Octets that are no UTF-8 become U+FFFD.
std::string to_line(const Json& json);

/// A discarded value of what is no JSON, or is nested deeper than any that Waypost reads or writes: what copies,
/// compares or writes a value calls itself at each level.
Json parse_json(std::string_view text);

/// Text of a JSON member; "" if it is not there or no text. Not escaped.
std::string text_of(const Json& json, const char* key);
std::uint64_t number_of(const Json& json, const char* key);
/// A list of a JSON member; an empty one if it is not there: who wrote it may be of another version.
const Json& list_of(const Json& json, const char* key);

ControlAnswer answer(const Json& json, int status = 200);

/// "2026-11-22T09:14:02.250Z".
Json time_json(net::WallTime time);

/// The state as an administrator knows it: `active` for one that is deferred and due.
std::string shown_state(const queue::RecipientRow& recipient, net::WallTime now);

Json message_json(const queue::MessageRow& message, net::WallTime now);
Json counts_json(const queue::Counts& counts);
Json groups_json(const queue::Groups& groups);
Json setting_json(const conf::Setting& setting);
Json epoch_json(const ConfigEpoch& epoch);
/// Of a change that was made: `change` is its number, where it changed anything.
Json changed_json(const queue::Changed& changed);
Json progress_json(const queue::Progress::Seen& seen);
Json change_json(const queue::ChangeRecord& change);
Json event_json(const queue::HistoryEvent& event);
/// A recipient that still waits, as the last line of its trace: "event":"waiting".
Json waiting_json(const queue::MessageRow& message, const queue::RecipientRow& recipient, net::WallTime now);
Json destination_json(const queue::DestinationRow& row, net::WallTime now);
/// A site's hosts out of its name, for people: "10 mx1.b.example:25,20 mx2.b.example:25", "[192.0.2.7]:25 (office)".
std::string site_hosts(const std::string& name);
Json certificate_json(const net::TlsCertificate& certificate);
/// With the key that names it, and its files.
Json read_certificate_json(const ReadCertificate& read);
Json explanation_json(const Explanation& explanation, net::WallTime now);
Json probe_json(const std::string& destination, const delivery::Probe& probe);
Json watch_json(const dialogue::Page& page);
Json log_json(const log::LevelInForce& level, const log::Page& page);
Json log_level_json(const log::LevelInForce& level);
Json rate_json(const Rates::Row& row);
/// The configuration in force.
Json config_json(const DaemonFacts& facts);
Json facts_json(const DaemonFacts& facts);
Json finding_json(const conf::Finding& finding, const char* severity);
Json reload_json(const ReloadReport& report);

// Each with "schema": 1, which changes if a key ever has to.
Json stats_json(const queue::StoreStats& stats);
Json vacuum_json(const queue::VacuumReport& report);
Json check_json(const queue::CheckReport& report);
Json backup_json(const queue::BackupReport& report);
Json restore_json(const queue::RestoreReport& report);
Json salvage_json(const queue::SalvageReport& report);

}  // namespace waypost::mta
