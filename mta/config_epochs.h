// mta/config_epochs.h: the configurations that were in force, numbered: so that a trace can name the one that a message
// came in by, and two can be compared. Pure; their text is kept in the data folder.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "conf/load.h"
#include "net/clock.h"

namespace waypost::mta {

struct ConfigEpoch {
  std::uint64_t number = 0;  ///< from 1 on; none is given twice
  net::WallTime since;
  std::string file;
  std::vector<conf::Setting> settings;
};

class ConfigEpochs {
 public:
  static constexpr const char* kFile = "configurations.json";
  static constexpr std::size_t kMost = 100;
  static constexpr std::size_t kMostOctets = 4 << 20;  ///< of all of them together: the oldest go
  /// Of a value that is longer, such as a list of very many recipients, length and sum are kept.
  static constexpr std::size_t kLongestValue = 4096;

  /// What is no such text is none: numbers begin anew.
  static ConfigEpochs parse(std::string_view text);
  std::string text() const;

  static std::string short_value(const std::string& value);

  /// The number of what is in force from now on. A configuration that says the same as the one before is the same.
  std::uint64_t adopt(std::string file, std::vector<conf::Setting> settings, net::WallTime now);
  /// 0: the newest. nullptr: it is not known, or not any more.
  const ConfigEpoch* find(std::uint64_t number) const;
  const std::vector<ConfigEpoch>& all() const { return epochs_; }  ///< oldest first

 private:
  std::vector<ConfigEpoch> epochs_;
};

}  // namespace waypost::mta
