#include "conf/features.h"

namespace waypost::conf {

void warn_of_missing_features(const Config& config, Reading& reading) {
  if (!config.admin.listen.empty()) {
    reading.warning("admin.listen", reading.places.of("admin.listen"),
                    "the admin endpoint over TCP is not in this version: nothing listens there");
  }
}

}  // namespace waypost::conf
