#include "mta/cmd_store.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>

#include <sysexits.h>

#include "base/escape.h"
#include "mta/long_work.h"
#include "mta/output.h"

namespace waypost::mta {
namespace {

constexpr std::size_t kShown = 30;  // findings on one screen; --json has more

/// What the daemon, or the tool in its place, was asked. A status of 1 is a check's own: findings.
std::optional<Json> ask(Console& console, const ControlRequest& request) {
  std::optional<Json> report = fetch_long(request, console);
  if (!report && console.exit_code == 1) console.exit_code = EX_NOINPUT;
  return report;
}

std::string mail(const Json& json) {
  return counted(number_of(json, "messages"), "message", "messages") + ", " +
         counted(number_of(json, "recipients"), "recipient", "recipients");
}

void write_check(const Json& report, Console& console) {
  std::ostream& out = console.out;
  Table facts;
  facts.add({"queue", mail(report) + ", " + counted(number_of(report, "destinations"), "destination", "destinations")});
  facts.add({"bodies", octets_text(number_of(report, "octets")) + " read and sound, " +
                           counted(number_of(report, "spool_files"), "spool file", "spool files") + " named"});
  if (const std::uint64_t left = number_of(report, "left_over"); left > 0)
    facts.add({"left over", counted(left, "spool file", "spool files") +
                                " of no message: no damage, the next start of the daemon removes them"});
  const std::uint64_t found = number_of(report, "found");
  facts.add({"result", found == 0 ? "clean" : counted(found, "finding", "findings")});
  out << facts.text();
  if (found == 0) return;
  Table table;
  std::size_t shown_so_far = 0;
  for (const Json& finding : report["findings"])
    if (shown_so_far++ < kShown) table.add({shown(finding, "kind"), shown(finding, "text")});
  out << table.text("  ");
  if (found > kShown) out << "  ... and " << grouped(found - kShown) << " more\n";
  out << "A message whose row or body is damaged is held, or kept from being sent, while the others go on. What is\n"
         "intact becomes a new queue, while the daemon is down, with: waypost store salvage --in-place\n";
}

int finish_check(const Json& report, bool json, Console& console) {
  if (json)
    console.print(report);
  else
    write_check(report, console);
  return number_of(report, "found") == 0 ? 0 : 1;
}

void write_salvage(const Json& report, Console& console) {
  std::ostream& out = console.out;
  Table facts;
  facts.add({"salvaged", mail(report)});
  if (const std::uint64_t held = number_of(report, "in_doubt"); held > 0)
    facts.add({"held", counted(held, "recipient", "recipients") +
                           " of these: they may have left before (waypost queue list state:held)"});
  facts.add(
      {"damage", counted(number_of(report, "unreadable_pages"), "page that is not there", "pages that are not there") +
                     ", " + counted(number_of(report, "broken_rows"), "broken page or row", "broken pages or rows")});
  facts.add({"lost", counted(report["lost"].size(), "message", "messages") + ", whole or in part"});
  facts.add({"new queue", shown(report, "folder")});
  if (const std::string kept = shown(report, "kept"); !kept.empty()) facts.add({"old queue", kept});
  out << facts.text();
  for (const Json& lost : report["lost"]) {
    out << text_of(lost, "id") << "  " << shown(lost, "why");
    if (const std::string from = text_of(lost, "from"); !from.empty()) out << "  from <" << from << ">";
    for (const Json& to : lost["recipients"]) out << "  to <" << to.get<std::string>() << ">";
    out << "\n";
  }
}

int refuse_restore(const queue::RestoreRefusal& refusal, const Error& error, bool json, Console& console) {
  if (refusal.damaged) {
    (void)finish_check(check_json(*refusal.damaged), json, console);
    console.give_up(
        1, "the backup is damaged, and nothing was restored: with --force what it has takes the queue's place");
  } else if (refusal.messages_in_queue) {
    const std::uint64_t messages = *refusal.messages_in_queue;
    console.give_up(EX_CANTCREAT, (messages == 0 ? std::string("there is a queue already, which cannot be read")
                                                 : "the queue holds " + counted(messages, "message", "messages")) +
                                      ": with --force the backup takes its place, and it is kept beside it");
  } else {
    return give_up_store(console, error);
  }
  return console.exit_code;
}

}  // namespace

int give_up_store(Console& console, const Error& error) {
  std::string what = error.what;
  if (error.code == Errc::busy) what += ": stop the daemon first";
  console.give_up(own_exit(error.code), what);
  return console.exit_code;
}

std::string absolute_path(const std::string& path) {
  std::error_code failed;
  const std::filesystem::path made = std::filesystem::absolute(path, failed);
  return failed ? path : made.lexically_normal().string();
}

int store_check(const StoreCheckOptions& options, Console& console) {
  if (!options.folder.empty()) {
    const auto report = do_long<Result<queue::CheckReport>>(
        [&options](const queue::Watched& progress) { return queue::check_folder(options.folder, progress); }, console);
    if (!report) return give_up_store(console, report.error());
    return finish_check(check_json(*report), options.json, console);
  }
  ControlRequest request;
  request.method = "POST";
  request.path = "/v1/store/check";
  const std::optional<Json> report = ask(console, request);
  if (!report) return console.exit_code;
  return finish_check(*report, options.json, console);
}

int store_backup(const StoreBackupOptions& options, Console& console) {
  Json order;
  order["folder"] = absolute_path(options.folder);
  ControlRequest request;
  request.method = "POST";
  request.path = "/v1/store/backup";
  request.body = to_line(order);
  const std::optional<Json> report = ask(console, request);
  if (!report) return console.exit_code;
  const std::uint64_t missing = number_of(*report, "missing");
  if (options.json) {
    console.print(*report);
  } else {
    Table facts;
    facts.add({"backup", shown(*report, "folder")});
    facts.add({"holds", mail(*report)});
    facts.add({"spool files", grouped(number_of(*report, "spool_files")) + ", " +
                                  grouped(number_of(*report, "copied")) + " of them copied, the others linked"});
    console.out << facts.text();
  }
  if (missing == 0) return 0;
  console.err << "waypost: " << counted(missing, "body is", "bodies are") << " missing: see waypost store check\n";
  return 2;
}

int store_restore(const StoreRestoreOptions& options, Console& console) {
  const Result<std::string> data_dir = console.data_dir();
  if (!data_dir) return give_up_store(console, data_dir.error());
  queue::RestoreRefusal refusal;
  const auto report = do_long<Result<queue::RestoreReport>>(
      [&](const queue::Watched& progress) {
        return queue::restore(options.folder, *data_dir, options.force, refusal, progress);
      },
      console);
  if (!report) return refuse_restore(refusal, report.error(), options.json, console);
  const Json json = restore_json(*report);
  if (options.json) {
    console.print(json);
    return 0;
  }
  std::ostream& out = console.out;
  out << "restored " << mail(json) << "\n";
  if (report->compared) {
    if (report->again > 0)
      out << counted(report->again, "message of these has", "messages of these have")
          << " left the queue since the backup: what was delivered will be delivered again\n";
    if (report->dropped > 0)
      out << counted(report->dropped, "message that came since is", "messages that came since are")
          << " not in the backup: " << escape(report->kept) << " alone has them\n";
  } else {
    out << "all that was delivered since the backup will be delivered again: up to "
        << counted(report->messages, "message", "messages") << "\n";
  }
  if (!report->kept.empty()) out << "the queue before is kept as " << escape(report->kept) << "\n";
  return 0;
}

int store_salvage(const StoreSalvageOptions& options, Console& console) {
  if (options.in_place != options.folder.empty()) {
    console.give_up(EX_USAGE, "a new folder, or --in-place, says where the new queue is to be");
    return console.exit_code;
  }
  const Result<std::string> data_dir = console.data_dir();
  if (!data_dir) return give_up_store(console, data_dir.error());
  const std::string folder = options.in_place ? "" : absolute_path(options.folder);
  const Result<queue::SalvageReport> report = queue::salvage(*data_dir, folder);
  if (!report) return give_up_store(console, report.error());
  const Json json = salvage_json(*report);
  if (options.json)
    console.print(json);
  else
    write_salvage(json, console);
  return report->lost.empty() ? 0 : 2;
}

void add_store(CLI::App& app, Console& console) {
  CLI::App* store = app.add_subcommand("store", "The queue's files: check, copies, and what to do about damage");
  store->require_subcommand(1);
  store->footer("Example: waypost store check");

  auto check_options = std::make_shared<StoreCheckOptions>();
  CLI::App* check = store->add_subcommand("check", "Whether all of it is sound; nothing is changed");
  check->add_option("folder", check_options->folder, "A backup, in place of the queue")->type_name("FOLDER");
  check->add_flag("--json", check_options->json, "One JSON object, keys stable");
  check->footer("Example: waypost store check");
  check->callback([check_options, &console] { console.exit_code = store_check(*check_options, console); });

  auto backup_options = std::make_shared<StoreBackupOptions>();
  CLI::App* backup = store->add_subcommand("backup", "Copy the queue into a new folder, while mail goes on");
  backup->add_option("folder", backup_options->folder, "Which is made, and must not be there")
      ->type_name("FOLDER")
      ->required();
  backup->add_flag("--json", backup_options->json, "One JSON object, keys stable");
  backup->footer("Example: waypost store backup /srv/backup/$(date +%F)");
  backup->callback([backup_options, &console] { console.exit_code = store_backup(*backup_options, console); });

  auto restore_options = std::make_shared<StoreRestoreOptions>();
  CLI::App* restore = store->add_subcommand("restore", "Make a backup the queue again, while no daemon runs");
  restore->add_option("folder", restore_options->folder, "The backup")->type_name("FOLDER")->required();
  restore->add_flag("--force", restore_options->force,
                    "Also where the queue holds mail, which is kept beside it, or the backup is damaged");
  restore->add_flag("--json", restore_options->json, "One JSON object, keys stable");
  restore->footer("Example: waypost store restore /srv/backup/2026-11-22");
  restore->callback([restore_options, &console] { console.exit_code = store_restore(*restore_options, console); });

  auto salvage_options = std::make_shared<StoreSalvageOptions>();
  CLI::App* salvage = store->add_subcommand("salvage", "Read what is intact of a damaged queue into a new one");
  salvage->add_option("folder", salvage_options->folder, "For the new queue; must not be there")->type_name("FOLDER");
  salvage->add_flag("--in-place", salvage_options->in_place, "The new queue takes the old one's place, which is kept");
  salvage->add_flag("--json", salvage_options->json, "One JSON object, keys stable");
  salvage->footer("Example: waypost store salvage /srv/salvaged");
  salvage->callback([salvage_options, &console] { console.exit_code = store_salvage(*salvage_options, console); });

  add_store_upkeep(*store, console);
}

}  // namespace waypost::mta
