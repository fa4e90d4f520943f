#include "conf/features.h"

namespace waypost::conf {
namespace {

void tls_roots(const Config& config, Reading& reading) {
  if (config.tls.ca.empty()) return;
  reading.warning("tls.ca", reading.places.of("tls.ca"),
                  "is not used in this version: no peer's certificate is verified yet");
}

void tls_outbound(const Config& config, Reading& reading) {
  bool demanded =
      config.delivery.tls == Config::DeliveryTls::encrypt || config.delivery.tls == Config::DeliveryTls::verify;
  if (!demanded) return;
  reading.warning(
      "delivery.tls", reading.places.of("delivery.tls"),
      "outbound TLS is not in this version: mail that leaves by SMTP is deferred, since it must not go in clear");
}

}  // namespace

void warn_of_missing_features(const Config& config, Reading& reading) {
  tls_roots(config, reading);
  tls_outbound(config, reading);
  if (!config.admin.listen.empty()) {
    reading.warning("admin.listen", reading.places.of("admin.listen"),
                    "the admin endpoint over TCP is not in this version: nothing listens there");
  }
}

}  // namespace waypost::conf
