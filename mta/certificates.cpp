#include "mta/certificates.h"

#include <algorithm>
#include <string>
#include <utility>

#include <sys/stat.h>

#include "base/escape.h"
#include "mta/client_class.h"
#include "smtp/date.h"

namespace waypost::mta {
namespace {

constexpr net::Duration kSoon = std::chrono::hours(24 * 14);

std::string quoted(const std::string& text) {
  return "\"" + escape(text) + "\"";
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
    std::vector<ReadCertificate> all;
    const std::vector<CertificateFiles> files = certificate_files(config_.tls);
    bool unread = false;
    for (const CertificateFiles& each : files) {
      Result<std::shared_ptr<const net::TlsIdentity>> identity =
          net::TlsIdentity::load(each.certificate_file, each.key_file);
      if (identity) {
        look_at(each, (*identity)->certificate());
        all.push_back({each, (*identity)->certificate()});
        identities.push_back(*std::move(identity));
      } else {
        const bool wrong = refuse(each, identity.error());
        unread = unread || !wrong;
      }
      if (reader_ != Reader::checking) continue;
      look_at_chain(each, identity.has_value());
      look_at_key(each);
    }
    make_client();
    if (identities.empty() || unread || !loaded_.errors.empty()) return std::move(loaded_);
    look_for_hostname(files.front(), all);
    auto certificates = std::make_shared<Certificates>();
    certificates->mx = server(files.front(), identities, "mx");
    certificates->submission = server(files.front(), identities, "submission");
    certificates->all = std::move(all);
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
  bool refuse(const CertificateFiles& files, const Error& error) {
    bool denied = error.code == Errc::denied;
    conf::Finding found = finding(files.key, error.what, denied ? unreadable_advice(config_, reader_) : "");
    bool wrong = !denied || reader_ != Reader::checking;
    (wrong ? loaded_.errors : loaded_.warnings).push_back(std::move(found));
    return wrong;
  }

  void look_at(const CertificateFiles& files, const net::TlsCertificate& certificate) {
    std::string file = quoted(files.certificate_file);
    std::string renew = "renew it, then \"waypost reload\"";
    if (certificate.not_after <= now_) {
      warn(files, file + " has expired on " + day(certificate.not_after), renew);
    } else if (certificate.not_after <= now_ + kSoon) {
      warn(files, file + " expires on " + day(certificate.not_after), renew);
    } else if (certificate.not_before > now_) {
      warn(files, file + " is not valid before " + day(certificate.not_before), "look at this machine's clock");
    }
  }

  /// Without those in between, others cannot verify it, though this machine may.
  void look_at_chain(const CertificateFiles& files, bool looked_at) {
    const Result<net::TlsChain> chain = net::TlsChain::read(files.certificate_file, config_.tls.ca);
    if (!chain) return;  // that was said
    if (!looked_at) look_at(files, chain->certificate);
    if (chain->trouble.empty()) return;
    warn(files, "the chain of " + quoted(files.certificate_file) + " is not whole: " + chain->trouble,
         "put each issuer's certificate behind that of whom it vouches for, as a fullchain.pem has them");
  }

  void look_at_key(const CertificateFiles& files) {
    struct stat facts {};
    if (::stat(files.key_file.c_str(), &facts) != 0 || (facts.st_mode & S_IRWXO) == 0) return;
    warn(files, "everybody on this machine may read the key in " + quoted(files.key_file),
         "chmod o= " + escape(files.key_file));
  }

  void look_for_hostname(const CertificateFiles& first, const std::vector<ReadCertificate>& all) {
    bool covered = std::any_of(all.begin(), all.end(), [this](const ReadCertificate& each) {
      return each.certificate.covers(config_.hostname);
    });
    if (!covered)
      warn(first, "no certificate is for the hostname, " + quoted(config_.hostname),
           "have one issued for it, or make hostname a name that a certificate has");
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

  std::shared_ptr<const net::TlsServer> server(const CertificateFiles& first,
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

  void warn(const CertificateFiles& files, std::string message, std::string hint) {
    loaded_.warnings.push_back(finding(files.key, std::move(message), std::move(hint)));
  }

  const conf::Config& config_;
  const net::WallTime now_;
  const Reader reader_;
  LoadedCertificates loaded_;
};

}  // namespace

std::vector<CertificateFiles> certificate_files(const conf::Config::Tls& tls) {
  std::vector<CertificateFiles> files;
  if (!tls.certificate.empty()) files.push_back({"tls", tls.certificate, tls.key});
  for (std::size_t i = 0; i < tls.certificates.size(); ++i) {
    std::string key = "tls.certificates[" + std::to_string(i + 1) + "]";
    files.push_back({key, tls.certificates[i].certificate, tls.certificates[i].key});
  }
  return files;
}

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
