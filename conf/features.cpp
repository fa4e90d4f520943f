#include "conf/features.h"

namespace waypost::conf {
namespace {

std::string numbered(const std::string& section, std::size_t index) {
  return section + "[" + std::to_string(index + 1) + "]";
}

void tls_inbound(const Config& config, Reading& reading) {
  auto warn = [&reading](const std::string& key, const std::string& message) {
    reading.warning(key, reading.places.of(key), message);
  };
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    std::string key = numbered("listener", i) + ".tls";
    if (config.listeners[i].tls == ListenerTls::implicit) {
      warn(key, "TLS is not in this version: this listener is not opened, since it must not be served in clear");
    } else if (config.listeners[i].tls == ListenerTls::starttls) {
      warn(key, "TLS is not in this version: this listener does not offer STARTTLS");
    }
  }
  bool has_tls = !config.tls.certificate.empty() || !config.tls.ca.empty() || !config.tls.certificates.empty();
  if (has_tls) warn("tls", "TLS is not in this version: certificates and keys are not read");
}

void tls_outbound(const Config& config, Reading& reading) {
  bool demanded =
      config.delivery.tls == Config::DeliveryTls::encrypt || config.delivery.tls == Config::DeliveryTls::verify;
  if (!demanded) return;
  reading.warning("delivery.tls", reading.places.of("delivery.tls"),
                  "TLS is not in this version: mail that leaves by SMTP is deferred, since it must not go in clear");
}

}  // namespace

void warn_of_missing_features(const Config& config, Reading& reading) {
  tls_inbound(config, reading);
  tls_outbound(config, reading);
  if (!config.auth.users.empty()) {
    reading.warning("auth.users", reading.places.of("auth.users"),
                    "AUTH is not in this version: it is not offered, and only relay.networks may send");
  }
  if (!config.admin.listen.empty()) {
    reading.warning("admin.listen", reading.places.of("admin.listen"),
                    "the admin endpoint over TCP is not in this version: nothing listens there");
  }
}

}  // namespace waypost::conf
