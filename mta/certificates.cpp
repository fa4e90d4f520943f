#include "mta/certificates.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/escape.h"
#include "mta/client_class.h"
#include "smtp/date.h"

namespace waypost::mta {
namespace {

constexpr net::Duration kSoon = std::chrono::hours(24 * 14);

struct Files {
  std::string key;  ///< in waypost.toml: "tls", "tls.certificates[1]"
  std::string certificate_file, key_file;
};

std::vector<Files> files_of(const conf::Config::Tls& tls) {
  std::vector<Files> files;
  if (!tls.certificate.empty()) files.push_back({"tls", tls.certificate, tls.key});
  for (std::size_t i = 0; i < tls.certificates.size(); ++i) {
    std::string key = "tls.certificates[" + std::to_string(i + 1) + "]";
    files.push_back({key, tls.certificates[i].certificate, tls.certificates[i].key});
  }
  return files;
}

std::string day(net::WallTime time) {
  return smtp::iso8601(time).substr(0, 10);
}

std::string unreadable_advice(const conf::Config& config, Reader reader) {
  if (reader == Reader::checking) return "run this as the user that the daemon reads it as";
  std::string user = config.user.empty() ? "the daemon's user" : config.user;
  std::string advice = "make the file and the folders above it readable for " + user;
  if (reader == Reader::starting) return advice;
  return advice +
         ", such as by chgrp and chmod 640, or restart waypostd, which reads it before it gives up root's rights";
}

class Loading {
 public:
  Loading(const conf::Config& config, net::WallTime now, Reader reader) : config_(config), now_(now), reader_(reader) {}

  LoadedCertificates run() {
    std::vector<std::shared_ptr<const net::TlsIdentity>> identities;
    const std::vector<Files> files = files_of(config_.tls);
    bool unread = false;
    for (const Files& each : files) {
      Result<std::shared_ptr<const net::TlsIdentity>> identity =
          net::TlsIdentity::load(each.certificate_file, each.key_file);
      if (identity) {
        look_at(each, **identity);
        identities.push_back(*std::move(identity));
      } else {
        const bool wrong = refuse(each, identity.error());
        unread = unread || !wrong;
      }
    }
    make_client();
    if (identities.empty() || unread || !loaded_.errors.empty()) return std::move(loaded_);
    look_for_hostname(files.front(), identities);
    auto certificates = std::make_shared<Certificates>();
    certificates->mx = server(files.front(), identities, "mx");
    certificates->submission = server(files.front(), identities, "submission");
    if (loaded_.errors.empty()) loaded_.certificates = std::move(certificates);
    return std::move(loaded_);
  }

 private:
  conf::Finding finding(const std::string& key, std::string message, std::string hint = "") const {
    conf::Finding out;
    out.file = config_.file;
    out.key = key;
    out.message = std::move(message);
    out.hint = std::move(hint);
    return out;
  }

  /// False if it is only a warning.
  bool refuse(const Files& files, const Error& error) {
    bool denied = error.code == Errc::denied;
    conf::Finding found = finding(files.key, error.what, denied ? unreadable_advice(config_, reader_) : "");
    bool wrong = !denied || reader_ != Reader::checking;
    (wrong ? loaded_.errors : loaded_.warnings).push_back(std::move(found));
    return wrong;
  }

  void look_at(const Files& files, const net::TlsIdentity& identity) {
    std::string file = "\"" + escape(files.certificate_file) + "\"";
    std::string renew = "renew it, then \"waypost reload\"";
    if (identity.not_after() <= now_) {
      warn(files, file + " has expired on " + day(identity.not_after()), renew);
    } else if (identity.not_after() <= now_ + kSoon) {
      warn(files, file + " expires on " + day(identity.not_after()), renew);
    } else if (identity.not_before() > now_) {
      warn(files, file + " is not valid before " + day(identity.not_before()), "look at this machine's clock");
    }
  }

  void look_for_hostname(const Files& first, const std::vector<std::shared_ptr<const net::TlsIdentity>>& identities) {
    bool covered = std::any_of(identities.begin(), identities.end(),
                               [this](const auto& identity) { return identity->covers(config_.hostname); });
    if (!covered) warn(first, "no certificate is for the hostname, \"" + escape(config_.hostname) + "\"", "");
  }

  /// It shows no certificate: hosts that want one would want it of a client that they know.
  void make_client() {
    Result<std::shared_ptr<const net::TlsClient>> made = net::TlsClient::make({config_.tls.ca, false});
    if (made) {
      loaded_.client = *std::move(made);
      return;
    }
    const bool wrong = made.error().code != Errc::denied || reader_ != Reader::checking;
    (wrong ? loaded_.errors : loaded_.warnings).push_back(finding("tls.ca", made.error().what));
  }

  std::shared_ptr<const net::TlsServer> server(const Files& first,
                                               std::vector<std::shared_ptr<const net::TlsIdentity>> identities,
                                               const std::string& service) {
    net::TlsServerOptions options;
    options.service = service;
    options.ask_for_certificate = asks_for_certificates(config_);
    options.ca = config_.tls.ca;
    Result<std::shared_ptr<const net::TlsServer>> made = net::TlsServer::make(std::move(identities), options);
    if (made) return *made;
    // The same for both roles: once is enough.
    if (loaded_.errors.empty()) loaded_.errors.push_back(finding(first.key, made.error().what));
    return nullptr;
  }

  void warn(const Files& files, std::string message, std::string hint) {
    loaded_.warnings.push_back(finding(files.key, std::move(message), std::move(hint)));
  }

  const conf::Config& config_;
  const net::WallTime now_;
  const Reader reader_;
  LoadedCertificates loaded_;
};

}  // namespace

void check_certificates(conf::Loaded& loaded, net::WallTime now) {
  if (!loaded.errors.empty()) return;
  LoadedCertificates certificates = load_certificates(loaded.config, now, Reader::checking);
  loaded.errors = std::move(certificates.errors);
  for (conf::Finding& warning : certificates.warnings) loaded.warnings.push_back(std::move(warning));
}

LoadedCertificates load_certificates(const conf::Config& config, net::WallTime now, Reader reader) {
  return Loading(config, now, reader).run();
}

}  // namespace waypost::mta
