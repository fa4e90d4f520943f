// mta/cmd_store.h: `waypost store ...`: whether the queue is sound, copies of it, and what to do when it is not.
#pragma once
#include <string>

#include <CLI/CLI.hpp>

#include "mta/console.h"

namespace waypost::mta {

struct StoreCheckOptions {
  std::string folder;  ///< "": the queue of the configuration
  bool json = false;
};
struct StoreBackupOptions {
  std::string folder;
  bool json = false;
};
struct StoreRestoreOptions {
  std::string folder;
  bool force = false, json = false;
};
struct StoreSalvageOptions {
  std::string folder;
  bool in_place = false, json = false;
};
struct StoreMigrateOptions {
  std::string folder;  ///< for a copy of the queue as it was
  bool no_backup = false, dry_run = false, json = false;
};

int store_check(const StoreCheckOptions& options, Console& console);
int store_backup(const StoreBackupOptions& options, Console& console);
int store_restore(const StoreRestoreOptions& options, Console& console);
int store_salvage(const StoreSalvageOptions& options, Console& console);
int store_stats(bool json, Console& console);
int store_vacuum(bool json, Console& console);
int store_migrate(const StoreMigrateOptions& options, Console& console);

/// Of what the tool does itself, while no daemon runs: says why, and returns the exit code.
int give_up_store(Console& console, const Error& error);
/// The daemon has a working folder of its own.
std::string absolute_path(const std::string& path);

/// The three verbs about room and versions: mta/cmd_store_upkeep.cpp.
void add_store_upkeep(CLI::App& store, Console& console);
void add_store(CLI::App& app, Console& console);

}  // namespace waypost::mta
