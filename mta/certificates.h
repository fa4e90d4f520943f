// mta/certificates.h: [tls] of the configuration -> what TLS connections are made from. Reads files; not on a loop.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "conf/config.h"
#include "conf/load.h"
#include "net/clock.h"
#include "net/tls.h"

namespace waypost::mta {

/// One reading of the certificates. Each role has a server of its own: a session ticket of one is nothing to the other
/// (RELIABILITY C5).
struct Certificates {
  std::shared_ptr<const net::TlsServer> mx;
  std::shared_ptr<const net::TlsServer> submission;
};

struct LoadedCertificates {
  std::shared_ptr<const Certificates> certificates;  ///< nullptr with errors, and where none is configured
  std::shared_ptr<const net::TlsClient> client;      ///< for mail that goes out; nullptr with errors
  std::vector<conf::Finding> errors;
  std::vector<conf::Finding> warnings;  ///< expired, soon to expire, not valid yet, for another name than ours
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
