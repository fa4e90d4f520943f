// mta/certificates.h: [tls] of the configuration -> what TLS connections are made from. Reads files; not on a loop.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "conf/config.h"
#include "conf/load.h"
#include "net/clock.h"
#include "net/tls.h"

namespace waypost::mta {

struct CertificateFiles {
  std::string key;  ///< in waypost.toml: "tls", "tls.certificates[1]"
  std::string certificate_file, key_file;
};
/// Those that are named, in order: a client that names no host gets the first.
std::vector<CertificateFiles> certificate_files(const conf::Config::Tls& tls);

struct ReadCertificate {
  CertificateFiles files;
  net::TlsCertificate certificate;
};

/// One reading of the certificates. Each role has a server of its own: a session ticket of one is nothing to the other
/// (RELIABILITY C5).
struct Certificates {
  std::shared_ptr<const net::TlsServer> mx;
  std::shared_ptr<const net::TlsServer> submission;
  std::vector<ReadCertificate> all;  ///< both have them
};

struct LoadedCertificates {
  std::shared_ptr<const Certificates> certificates;  ///< nullptr with errors, and where none is configured
  std::shared_ptr<const net::TlsClient> client;      ///< for mail that goes out; nullptr with errors
  std::vector<conf::Finding> errors;
  /// Expired, soon to expire, not valid yet, for another name than ours. For `checking` also: a chain that is not
  /// whole, a key that everybody may read.
  std::vector<conf::Finding> warnings;
};

/// Who reads, and so what is to be done about a file that it may not read.
enum class Reader : std::uint8_t {
  starting,   ///< the daemon, before it becomes its user
  reloading,  ///< the daemon, after it
  checking,   ///< an administrator's tool: what only the daemon may read is a warning
};

/// All files, with everything that is wrong with them.
LoadedCertificates load_certificates(const conf::Config& config, net::WallTime now, Reader reader);

/// Adds what is wrong with them to a configuration that was read without errors. For `config check`.
void check_certificates(conf::Loaded& loaded, net::WallTime now);

/// Those in force. Any thread.
class CertificateHolder {
 public:
  std::shared_ptr<const net::TlsServer> get(conf::Role role) const {
    std::lock_guard lock(guard_);
    if (!current_) return nullptr;
    return role == conf::Role::mx ? current_->mx : current_->submission;
  }
  std::vector<ReadCertificate> all() const {
    std::lock_guard lock(guard_);
    return current_ ? current_->all : std::vector<ReadCertificate>();
  }
  void set(std::shared_ptr<const Certificates> certificates) {
    std::lock_guard lock(guard_);
    current_.swap(certificates);
  }
  std::shared_ptr<const net::TlsClient> client() const {
    std::lock_guard lock(guard_);
    return client_;
  }
  void set_client(std::shared_ptr<const net::TlsClient> client) {
    std::lock_guard lock(guard_);
    client_.swap(client);
  }

 private:
  mutable std::mutex guard_;  // a shared_ptr cannot be copied while it is replaced
  std::shared_ptr<const Certificates> current_;
  std::shared_ptr<const net::TlsClient> client_;
};

}  // namespace waypost::mta
