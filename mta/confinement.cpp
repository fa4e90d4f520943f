#include "mta/confinement.h"

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <memory>
#include <system_error>

#include <sys/prctl.h>
#include <unistd.h>

#include "base/event_log.h"
#include "mta/landlock.h"
#include "mta/maildrop.h"
#include "mta/privileges.h"
#include "mta/system_calls.h"
#include "queue/files.h"

namespace waypost::mta {
namespace {

namespace fs = std::filesystem;

#if defined(__has_feature)
#define WAYPOST_HAS(feature) __has_feature(feature)
#else
#define WAYPOST_HAS(feature) 0
#endif

/// Sanitizers trace the process at its end, map memory as they like, and read /proc.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || WAYPOST_HAS(address_sanitizer) || \
    WAYPOST_HAS(thread_sanitizer) || WAYPOST_HAS(memory_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr int kMostLinks = 40;  // as the kernel has it

struct Way {
  std::string end;                  ///< without symbolic links; what they name need not be there
  std::vector<std::string> beside;  ///< folders of the links on the way, and of what they name
};

Way follow(const std::string& path) {
  Way way;
  std::error_code failed;
  const fs::path whole = fs::absolute(path, failed);
  std::deque<fs::path> parts(whole.begin(), whole.end());
  fs::path found = "/";
  for (int links = 0; !parts.empty();) {
    const fs::path part = parts.front();
    parts.pop_front();
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      found = found.parent_path();
      continue;
    }
    found /= part;  // "/" begins anew
    const fs::path target = fs::read_symlink(found, failed);
    if (failed || ++links > kMostLinks) continue;
    found = found.parent_path();
    parts.insert(parts.begin(), target.begin(), target.end());
    const fs::path named = found / target;
    way.beside.push_back(found);
    way.beside.push_back((named.has_filename() ? named : named.parent_path()).parent_path());
  }
  way.end = found;
  return way;
}

std::string real(const std::string& path) {
  return follow(path).end;
}

/// What rules are made for: of a file its folder, and that of what it links to, which may be missing yet. A link on the
/// way may come to name another folder beside the one that it names, as those of certificates do.
std::vector<std::string> folders_to_read(const std::vector<std::string>& paths) {
  std::vector<std::string> folders;
  for (const std::string& path : paths) {
    const Way way = follow(path);
    const std::string& target = way.end;
    for (const std::string& beside : way.beside) {
      const fs::path folder = real(beside);
      // Nobody means all of /var by /var/run.
      if (folder.parent_path() != "/") folders.push_back(folder);
    }
    std::error_code failed;
    if (fs::is_directory(target, failed)) {
      folders.push_back(target);
      continue;
    }
    if (path.ends_with('/')) continue;  // of a folder that is not there none above it
    for (const fs::path& file :
         {fs::path(real(fs::path(path).parent_path())) / fs::path(path).filename(), fs::path(target)}) {
      const std::string folder = file.parent_path();
      // Nobody means all of / or /dev.
      folders.push_back(folder == "/" || folder == "/dev" ? file.string() : folder);
    }
  }
  const auto absent = [](const std::string& path) {
    std::error_code failed;
    return !fs::exists(path, failed);
  };
  folders.erase(std::remove_if(folders.begin(), folders.end(), absent), folders.end());
  return folders;
}

/// confined_paths(), and where the log is if its name is a link's.
ConfinedPaths wanted_paths(const conf::Config& config) {
  ConfinedPaths paths = confined_paths(config);
  const std::string& log = config.log.target;
  std::error_code failed;
  if (!log::is_file(log) || !fs::is_symlink(log, failed)) return paths;
  const std::string folder = fs::path(real(log)).parent_path();
  if (!is_within(folder, {"/dev", "/proc"})) paths.write.push_back(folder);  // a stream needs no folder
  return paths;
}

/// All of them are made, and their names synced, while the folders above them can still be opened.
Result<ConfinedPaths> prepare(const conf::Config& config, std::vector<std::string>& missing) {
  const ConfinedPaths wanted = wanted_paths(config);
  ConfinedPaths open;
  std::vector<std::string> read = system_paths();
  read.insert(read.end(), wanted.read.begin(), wanted.read.end());
  for (const char* name : {"SSL_CERT_FILE", "SSL_CERT_DIR"}) {  // OpenSSL's
    const char* path = std::getenv(name);
    if (path != nullptr) read.emplace_back(path);
  }
  open.read = folders_to_read(read);
  for (const std::string& path : wanted.write) {
    const std::string folder = real(path);
    const Result<std::unique_ptr<queue::Files>> made = queue::open_folder(folder, true);
    if (!made && path == config.data_dir) return fail(made.error());
    if (folder == "/") {
      missing.emplace_back("nothing can be written to / itself: name a folder below it");
    } else if (made) {
      open.write.push_back(folder);
    } else {
      missing.push_back(made.error().what +
                        ": nothing can be written there before it is made and the daemon restarted");
    }
  }
  std::vector<std::string> others = drop_folders(config);
  for (const std::string& path : usual_folders()) others.push_back(path);
  for (const std::string& path : others) {
    std::error_code failed;
    if (fs::exists(path, failed)) open.write.push_back(real(path));
  }
  return open;
}

Result<int> restrict_files(const ConfinedPaths& open) {
  const Result<int> version = landlock_version();
  if (!version) return version;
  const Result<> restricted = restrict_to_folders(*version, open.read, open.write);
  if (!restricted) return fail(restricted.error());
  return *version;
}

/// Each step by itself: what fails leaves the others.
void give_up(Confinement& confinement, const ConfinedPaths& open) {
  const auto missing = [&](const Error& error) { confinement.missing.push_back(error.what); };
  const Result<> dropped = drop_capabilities();
  if (!dropped) missing(dropped.error());
  confinement.no_capabilities = dropped.has_value();
  (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  const Result<int> landlock = restrict_files(open);
  if (!landlock) missing(landlock.error());
  confinement.landlock = landlock.value_or(0);
  if (landlock) confinement.open = open;
  const Result<> calls = restrict_system_calls();
  if (!calls) missing(calls.error());
  confinement.system_calls = calls.has_value();
}

}  // namespace

Result<Confinement> confine(const conf::Config& config) {
  Confinement confinement;
  const bool wanted = config.confine && !kSanitized;
  const Result<> bounded = wanted ? drop_bounding_set() : Result<>();
  if (!bounded) confinement.missing.push_back(bounded.error().what);
  const Result<> became = become(config.user);
  if (!became) return fail(became.error());
  confinement.user = user_name();
  if (wanted) {
    const Result<ConfinedPaths> open = prepare(config, confinement.missing);
    if (!open) return fail(open.error());
    give_up(confinement, *open);
  } else {
    confinement.missing.emplace_back(config.confine ? "off in a build with sanitizers" : "confine = \"off\"");
  }
  for (const std::string& what : confinement.missing) log::warning("confinement: " + what);
  return confinement;
}

std::string text_of(const Confinement& confinement) {
  std::string text = "user " + confinement.user;
  if (confinement.no_capabilities) text += ", no capabilities";
  if (confinement.system_calls) text += ", seccomp";
  if (confinement.landlock > 0) text += ", landlock (version " + std::to_string(confinement.landlock) + ")";
  return text;
}

std::vector<std::string> beyond(const Confinement& confinement, const conf::Config& config) {
  std::vector<std::string> out;
  if (confinement.landlock == 0) return out;
  const ConfinedPaths wanted = wanted_paths(config);
  for (const std::string& path : wanted.read) {
    const bool is_open = is_within(real(path), confinement.open.read) || may_write(confinement, path);
    std::error_code failed;
    if (!is_open && fs::exists(path, failed)) out.push_back(path);  // of what is not there others tell
  }
  for (const std::string& path : wanted.write) {
    if (!may_write(confinement, path)) out.push_back(path);
  }
  return out;
}

bool may_write(const Confinement& confinement, const std::string& path) {
  return confinement.landlock == 0 || is_within(real(path), confinement.open.write);
}

}  // namespace waypost::mta
