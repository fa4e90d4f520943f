// conf/findings.h: findings at the place of the key that they are about. For the validation alone.
#pragma once
#include <string>
#include <utility>

#include "conf/config.h"
#include "conf/reader.h"

namespace waypost::conf {

/// "listener[2]" of the second.
inline std::string numbered(const std::string& section, std::size_t index) {
  return section + "[" + std::to_string(index + 1) + "]";
}

class Findings {
 public:
  explicit Findings(Reading& reading) : reading_(reading) {}
  void error(const std::string& key, std::string message, std::string hint = "") {
    reading_.error(key, reading_.places.of(key), std::move(message), std::move(hint));
  }
  void warning(const std::string& key, std::string message, std::string hint = "") {
    reading_.warning(key, reading_.places.of(key), std::move(message), std::move(hint));
  }
  bool given(const std::string& key) const { return reading_.places.has(key); }
  bool failed(const std::string& key) const { return reading_.failed(key); }

 private:
  Reading& reading_;
};

/// An error where mail for this next hop would come in here again.
void check_own(const Config& config, const NextHop& hop, const std::string& key, Findings& findings);
/// [[client]]: validate_clients.cpp.
void check_clients(const Config& config, Findings& findings);
/// [[route]], but for its TLS: validate_routes.cpp.
void check_routes(const Config& config, Findings& findings);
/// TLS of routes and domains: validate_tls.cpp.
void check_tls_out(const Config& config, Findings& findings);

}  // namespace waypost::conf
