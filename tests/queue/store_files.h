// tests/queue/store_files.h: the files of a queue: copied, damaged, and what is in them.
#pragma once
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include "queue/files.h"
#include "queue/rows.h"
#include "queue/sqlite_queue.h"

namespace waypost::tests {

inline std::string octets_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void write_octets(const std::string& path, const std::string& octets) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << octets;
}

/// What is in a queue: its messages with their bodies, and its recipients with their addresses.
struct Stock {
  std::map<std::uint64_t, std::string> bodies;
  std::map<std::pair<std::uint64_t, int>, std::string> recipients;
  std::map<std::pair<std::uint64_t, int>, int> states;
};

/// Of a data folder that no daemon uses.
inline Stock stock_of(const std::string& folder) {
  Stock stock;
  Result<queue::Database> db = queue::open_to_read(folder + "/queue.db");
  REQUIRE(db);
  {
    queue::Run row(*db, std::string("SELECT id, in_file, body FROM message"));
    Result<bool> found = row.step();
    for (; found && *found; found = row.step()) {
      queue::Id id = queue::id_of(row.integer(0));
      stock.bodies[id.value] =
          row.integer(1) != 0 ? octets_of(folder + "/" + queue::body_path(id.text())) : std::string(row.octets(2));
    }
    REQUIRE(found);
  }
  queue::Run row(*db, std::string("SELECT message, idx, address, state FROM recipient"));
  Result<bool> found = row.step();
  for (; found && *found; found = row.step()) {
    std::pair key{queue::id_of(row.integer(0)).value, static_cast<int>(row.integer(1))};
    stock.recipients[key] = row.text(2);
    stock.states[key] = static_cast<int>(row.integer(3));
  }
  REQUIRE(found);
  return stock;
}

}  // namespace waypost::tests
