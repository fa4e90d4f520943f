#include "mta/config_epochs.h"

#include <algorithm>
#include <utility>

#include <xxhash.h>

#include "mta/control_json.h"
#include "mta/output.h"

namespace waypost::mta {
namespace {

bool says_the_same(const std::vector<conf::Setting>& a, const std::vector<conf::Setting>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const conf::Setting& x, const conf::Setting& y) {
    return x.key == y.key && x.value == y.value;
  });
}

std::size_t octets_of(const ConfigEpoch& epoch) {
  std::size_t octets = 0;
  for (const conf::Setting& each : epoch.settings)
    octets += each.key.size() + each.value.size() + each.place.size() + sizeof each;
  return octets;
}

std::string member(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

std::string ConfigEpochs::short_value(const std::string& value) {
  if (value.size() <= kLongestValue) return value;
  const std::uint64_t sum = XXH3_64bits(value.data(), value.size());
  return "(" + std::to_string(value.size()) + " octets, sum " + std::to_string(sum) + ")";
}

ConfigEpochs ConfigEpochs::parse(std::string_view text) {
  ConfigEpochs out;
  const Json json = parse_json(text);
  if (!json.is_array()) return out;
  for (const Json& each : json) {
    const bool whole = each.is_object() && each.contains("epoch") && each["epoch"].is_number_unsigned() &&
                       each.contains("settings") && each["settings"].is_array();
    if (!whole) continue;
    ConfigEpoch epoch;
    epoch.number = each["epoch"].get<std::uint64_t>();
    epoch.since = time_of_json(member(each, "since")).value_or(net::WallTime{});
    epoch.file = member(each, "file");
    for (const Json& setting : each["settings"]) {
      if (!setting.is_object()) continue;
      epoch.settings.push_back({member(setting, "key"), member(setting, "value"), member(setting, "place")});
    }
    if (out.epochs_.empty() || epoch.number > out.epochs_.back().number) out.epochs_.push_back(std::move(epoch));
  }
  return out;
}

std::string ConfigEpochs::text() const {
  Json json = Json::array();
  for (const ConfigEpoch& epoch : epochs_) json.push_back(epoch_json(epoch));
  return to_line(json) + "\n";
}

std::uint64_t ConfigEpochs::adopt(std::string file, std::vector<conf::Setting> settings, net::WallTime now) {
  for (conf::Setting& setting : settings) setting.value = short_value(setting.value);
  if (!epochs_.empty() && says_the_same(epochs_.back().settings, settings)) return epochs_.back().number;
  const std::uint64_t number = epochs_.empty() ? 1 : epochs_.back().number + 1;
  epochs_.push_back({number, now, std::move(file), std::move(settings)});
  std::size_t kept = 0;
  for (const ConfigEpoch& epoch : epochs_) kept += octets_of(epoch);
  while (epochs_.size() > 1 && (epochs_.size() > kMost || kept > kMostOctets)) {
    kept -= octets_of(epochs_.front());
    epochs_.erase(epochs_.begin());
  }
  return number;
}

const ConfigEpoch* ConfigEpochs::find(std::uint64_t number) const {
  if (epochs_.empty()) return nullptr;
  if (number == 0) return &epochs_.back();
  const auto found = std::find_if(epochs_.begin(), epochs_.end(),
                                  [number](const ConfigEpoch& epoch) { return epoch.number == number; });
  return found == epochs_.end() ? nullptr : &*found;
}

}  // namespace waypost::mta
