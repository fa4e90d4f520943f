#include "conf/features.h"

#include <algorithm>

namespace waypost::conf {
namespace {

void tls_roots(const Config& config, Reading& reading) {
  const bool is_used = std::any_of(config.clients.begin(), config.clients.end(),
                                   [](const ClientClass& client) { return !client.certificates.empty(); });
  if (config.tls.ca.empty() || is_used) return;
  reading.warning("tls.ca", reading.places.of("tls.ca"),
                  "is used for [[client]] certificates alone in this version, and there are none");
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
