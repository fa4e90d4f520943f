// mta/cmd_store_upkeep.cpp: `waypost store stats|vacuum|migrate`: how large the queue's files are, and of which
// version.
#include <memory>
#include <optional>

#include <sysexits.h>

#include "base/escape.h"
#include "mta/cmd_store.h"
#include "mta/long_work.h"
#include "mta/output.h"

namespace waypost::mta {
namespace {

void write_stats(const Json& stats, Console& console) {
  const auto octets = [&stats](const char* key) { return octets_text(number_of(stats, key)); };
  Table facts;
  facts.add({"queue.db", octets("database_octets") + ", WAL " + octets("wal_octets") + ", version " +
                             grouped(number_of(stats, "version"))});
  const std::uint64_t free = number_of(stats, "free_pages");
  facts.add({"pages", grouped(number_of(stats, "pages")) + ", " + grouped(free) + " of them free (" +
                          octets_text(free * queue::VacuumReport::kPage) + ")"});
  facts.add({"spool files", grouped(number_of(stats, "spool_files")) + ", " + octets("spool_octets")});
  facts.add({"history.db", octets("history_octets")});
  facts.add({"destinations", grouped(number_of(stats, "destinations"))});
  const auto counted_rows = stats.find("counted");
  if (counted_rows == stats.end() || *counted_rows != true) {
    facts.add({"messages", "they are still being counted: ask again"});
  } else {
    facts.add({"messages", grouped(number_of(stats, "messages")) + ", " + octets("octets")});
    facts.add({"recipients", grouped(number_of(stats, "deferred")) + " deferred, " + grouped(number_of(stats, "held")) +
                                 " held, " + grouped(number_of(stats, "kept")) + " removed and kept for undo"});
    const std::string deferred = shown_time(stats, "oldest_deferred"), held = shown_time(stats, "oldest_held");
    if (!deferred.empty()) facts.add({"oldest", deferred});
    if (!held.empty()) facts.add({"oldest held", held});
  }
  console.out << facts.text();
}

std::string step(const char* name, int from, int to) {
  const std::string version = std::to_string(from);
  return std::string(name) +
         (from == to ? " is of version " + version : " from version " + version + " to " + std::to_string(to));
}

std::string steps(const queue::Versions& versions) {
  std::string text = step("queue.db", versions.queue, versions.newest_queue);
  if (versions.history > 0) text += ", " + step("history.db", versions.history, versions.newest_history);
  return text;
}

int finish_migrate(const queue::Versions& versions, const std::string& backup, bool done, bool json, Console& console) {
  if (json) {
    Json out;
    out["queue"] = versions.queue;
    out["newest_queue"] = versions.newest_queue;
    out["history"] = versions.history;
    out["newest_history"] = versions.newest_history;
    out["migrated"] = done;
    out["backup"] = backup;
    console.print(out);
    return 0;
  }
  console.out << (versions.is_newest() ? "nothing to do: "
                  : done               ? "migrated "
                                       : "would migrate ")
              << steps(versions) << "\n";
  if (!backup.empty()) console.out << "the queue before is in " << escape(backup) << "\n";
  return 0;
}

}  // namespace

int store_stats(bool json, Console& console) {
  ControlRequest request;
  request.path = "/v1/store/stats";
  const std::optional<Json> stats = console.fetch(request);
  if (!stats) return console.exit_code == 1 ? EX_NOINPUT : console.exit_code;
  if (json)
    console.print(*stats);
  else
    write_stats(*stats, console);
  return 0;
}

int store_vacuum(bool json, Console& console) {
  ControlRequest request;
  request.method = "POST";
  request.path = "/v1/store/vacuum";
  const std::optional<Json> report = console.fetch(request);
  if (!report) return console.exit_code == 1 ? EX_NOINPUT : console.exit_code;
  const std::uint64_t pages = number_of(*report, "pages");
  if (json)
    console.print(*report);
  else if (pages == 0)
    console.out << "no page of queue.db is free\n";
  else
    console.out << "gave back " << counted(pages, "page", "pages") << ", " << octets_text(number_of(*report, "octets"))
                << "\n";
  return 0;
}

int store_migrate(const StoreMigrateOptions& options, Console& console) {
  const Result<std::string> data_dir = console.data_dir();
  if (!data_dir) return give_up_store(console, data_dir.error());
  const Result<queue::Versions> versions = queue::versions_of_folder(*data_dir);
  if (!versions) return give_up_store(console, versions.error());
  if (options.dry_run || versions->is_newest()) return finish_migrate(*versions, "", false, options.json, console);
  if (options.no_backup != options.folder.empty()) {
    console.give_up(EX_USAGE, "a new folder for a copy of the queue as it is, or --no-backup");
    return console.exit_code;
  }
  std::string backup;
  if (!options.no_backup) {
    const std::string folder = absolute_path(options.folder);
    queue::Watched watched;
    const auto made = do_long<Result<queue::BackupReport>>(
        [&](const queue::Watched& progress) {
          watched = progress;
          return queue::back_up_folder(*data_dir, folder, progress);
        },
        console);
    if (!made) return give_up_store(console, made.error());
    backup = made->folder;
    if (watched && watched->is_stopped())
      return give_up_store(console, Error(Errc::cancelled, "it was stopped: the copy is in " + escape(backup) +
                                                               ", and the queue is as it was"));
  }
  const Result<> migrated = queue::migrate_folder(*data_dir);
  if (!migrated) return give_up_store(console, migrated.error());
  return finish_migrate(*versions, backup, true, options.json, console);
}

void add_store_upkeep(CLI::App& store, Console& console) {
  auto stats_json = std::make_shared<bool>(false);
  CLI::App* stats = store.add_subcommand("stats", "How large the queue's files are, and what is in them");
  stats->add_flag("--json", *stats_json, "One JSON object, keys stable");
  stats->footer("Example: waypost store stats");
  stats->callback([stats_json, &console] { console.exit_code = store_stats(*stats_json, console); });

  auto vacuum_json = std::make_shared<bool>(false);
  CLI::App* vacuum = store.add_subcommand("vacuum", "Give free pages of queue.db back, while mail goes on");
  vacuum->add_flag("--json", *vacuum_json, "One JSON object, keys stable");
  vacuum->footer("Example: waypost store vacuum");
  vacuum->callback([vacuum_json, &console] { console.exit_code = store_vacuum(*vacuum_json, console); });

  auto migrate_options = std::make_shared<StoreMigrateOptions>();
  CLI::App* migrate = store.add_subcommand("migrate", "Bring an older queue to this version, while no daemon runs");
  migrate->add_option("folder", migrate_options->folder, "For a copy of the queue as it is; must not be there")
      ->type_name("FOLDER");
  migrate->add_flag("--no-backup", migrate_options->no_backup, "Without such a copy");
  migrate->add_flag("--dry-run", migrate_options->dry_run, "Say from which version to which, and do nothing");
  migrate->add_flag("--json", migrate_options->json, "One JSON object, keys stable");
  migrate->footer("Example: waypost store migrate /srv/backup/before-upgrade");
  migrate->callback([migrate_options, &console] { console.exit_code = store_migrate(*migrate_options, console); });
}

}  // namespace waypost::mta
