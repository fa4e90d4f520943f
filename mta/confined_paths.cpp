#include "mta/confined_paths.h"

#include <algorithm>

#include "base/event_log.h"
#include "conf/load.h"
#include "conf/table.h"

namespace waypost::mta {
namespace {

/// With its slash.
std::string folder_of(const std::string& path) {
  return path.substr(0, path.rfind('/') + 1);
}

void sort_once(std::vector<std::string>& paths) {
  std::sort(paths.begin(), paths.end());
  paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
}

}  // namespace

std::string fixed_part(const std::string& maildir) {
  const std::size_t placeholder = maildir.find('{');
  return placeholder == std::string::npos ? maildir : folder_of(maildir.substr(0, placeholder));
}

ConfinedPaths confined_paths(const conf::Config& config) {
  ConfinedPaths paths;
  const auto reads = [&](const std::string& path) {
    if (path.empty()) return;
    const std::optional<std::string> database = conf::database_path(path);
    paths.read.push_back(database.value_or(path));
    // SQLite reads a database with a WAL only where it may make files beside it.
    if (database) paths.write.push_back(folder_of(*database));
  };
  reads(config.file);
  for (const std::string& file : config.files) reads(file);
  reads(config.auth.users);
  for (const std::string& file : {config.tls.certificate, config.tls.key, config.tls.ca}) reads(file);
  for (const conf::Config::Tls::Certificate& each : config.tls.certificates) {
    reads(each.certificate);
    reads(each.key);
  }
  for (const conf::RuleFile& rules : config.delivery.reply_rules) {
    if (rules.path != conf::RuleFile::kShipped) reads(rules.path);
  }
  for (const conf::Route& route : config.routes) {
    if (route.login) reads(route.login->password_file);
  }

  paths.write.push_back(config.data_dir);
  paths.write.push_back(folder_of(config.control_socket));
  if (!config.submit_socket.empty()) paths.write.push_back(folder_of(config.submit_socket));
  if (log::is_file(config.log.target)) paths.write.push_back(folder_of(config.log.target));
  for (const conf::Domain& domain : config.domains) {
    if (domain.deliver && domain.deliver->kind == conf::NextHop::Kind::maildir)
      paths.write.push_back(fixed_part(domain.deliver->value));
  }
  paths.write.insert(paths.write.end(), config.writable.begin(), config.writable.end());
  sort_once(paths.read);
  sort_once(paths.write);
  return paths;
}

std::vector<std::string> usual_folders() {
  return {"/var/log/waypost", "/var/mail"};
}

std::vector<std::string> system_paths() {
  return {// Names, roots of certificates, time zones, and modules for names. Single files may be links to elsewhere.
          "/etc/", "/etc/hosts", "/etc/localtime", "/etc/nsswitch.conf", "/etc/passwd", "/etc/resolv.conf",
          "/run/systemd/userdb/", "/usr/", "/lib/", "/lib64/",
          // Where /etc/resolv.conf may come to be a link to.
          "/run/NetworkManager/", "/run/connman/", "/run/resolvconf/", "/run/systemd/resolve/",
          // Of the machine.
          "/proc/sys/", "/sys/devices/system/cpu/", "/dev/random", "/dev/urandom"};
}

bool is_within(const std::string& path, const std::vector<std::string>& folders) {
  return std::any_of(folders.begin(), folders.end(), [&](const std::string& folder) {
    return path == folder || folder == "/" || path.starts_with(folder + "/");
  });
}

}  // namespace waypost::mta
