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

int store_check(const StoreCheckOptions& options, Console& console);
int store_backup(const StoreBackupOptions& options, Console& console);
int store_restore(const StoreRestoreOptions& options, Console& console);
int store_salvage(const StoreSalvageOptions& options, Console& console);

void add_store(CLI::App& app, Console& console);

}  // namespace waypost::mta
