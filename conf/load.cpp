#include "conf/load.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <glob.h>
#include <netdb.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "conf/aliases.h"
#include "conf/sections.h"
#include "conf/table.h"
#include "conf/validate.h"
#include "conf/values.h"

namespace waypost::conf {
namespace {

constexpr std::size_t kMaxFile = 64UL << 20;

/// "/etc/waypost/" of "/etc/waypost/waypost.toml"; "" of a bare name.
std::string folder_of(const std::string& path) {
  std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

/// The folder's own name may hold what glob(7) takes for a wildcard.
std::string escaped_for_glob(const std::string& path) {
  std::string out;
  for (char c : path) {
    if (c == '*' || c == '?' || c == '[' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

/// The files that one entry of `include` names, in lexical order.
std::vector<std::string> files_of(const Item& entry, const std::string& from, Reading& reading) {
  bool absolute = entry.text.starts_with('/');
  std::string pattern = absolute ? entry.text : escaped_for_glob(folder_of(from)) + entry.text;
  glob_t found{};
  int failed = glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found);
  std::vector<std::string> files;
  if (failed == 0) files.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  std::sort(files.begin(), files.end());
  bool wildcards = entry.text.find_first_of("*?[") != std::string::npos;
  if (failed != 0 && failed != GLOB_NOMATCH) {
    reading.error(entry.key, entry.place, quoted(entry.text) + " cannot be looked for");
  } else if (files.empty() && !wildcards) {
    reading.error(entry.key, entry.place, quoted(entry.text) + " does not exist",
                  "only a name with wildcards may match no file");
  }
  return files;
}

/// Adds to `root` what its `include` names.
void follow_includes(Value& root, const std::string& path, Reading& reading, std::vector<std::string>& files) {
  for (const Item& entry : Section(root, reading).strings("include", true)) {
    if (entry.wrong) continue;
    const bool absolute = entry.text.starts_with('/');
    files.push_back((absolute ? "" : folder_of(path)) +
                    folder_of(entry.text.substr(0, entry.text.find_first_of("*?["))));
    for (const std::string& file : files_of(entry, path, reading)) {
      bool seen = std::find(files.begin(), files.end(), file) != files.end();
      if (seen) continue;
      files.push_back(file);
      Result<std::string> text = read_file(file);
      if (!text) {
        reading.error("", Place{file}, "cannot be read: " + text.error().what);
        continue;
      }
      std::optional<Value> more = parse_document(*text, file, reading.errors);
      if (!more) continue;
      auto nested = std::find_if(more->members.begin(), more->members.end(),
                                 [](const Value::Member& member) { return member.key == "include"; });
      if (nested != more->members.end()) {
        reading.error("include", nested->place, "stands in a file that is included itself",
                      "name that file in " + path);
        more->members.erase(nested);
      }
      merge(root, std::move(*more), reading.errors);
    }
  }
}

constexpr std::chrono::seconds kPatience{2};      // with who holds a database locked
constexpr std::chrono::seconds kLongestRead{30};  // of one table

/// What a statement brings of the database that `value` names.
Result<std::vector<TableRow>> read_table(const std::string& value, const char* query, const std::string& domain) {
  Result<Database> database = Database::open(database_path(value).value_or(""), kPatience, kLongestRead);
  if (!database) return fail(database.error());
  return database->rows(query, domain);
}

/// The rows of a domain's table, if they can be had.
std::optional<std::vector<TableRow>> read_domain_table(const DomainFile& file, const char* query, const Domain& domain,
                                                       Reading& reading) {
  const Result<std::string> good = parse_file_or_database(file.path.text);
  if (!good) {
    reading.error(file.path.key, file.path.place, good.error().what);
    return std::nullopt;
  }
  Result<std::vector<TableRow>> rows = read_table(file.path.text, query, domain.name);
  if (rows) return *std::move(rows);
  reading.error(file.path.key, file.path.place, quoted(file.path.text) + " cannot be read: " + rows.error().what,
                advice(rows.error().code, query));
  return std::nullopt;
}

/// The text of a domain's file, if it can be had.
std::optional<std::string> read_domain_file(const DomainFile& file, Reading& reading, const std::string& otherwise) {
  const std::string& path = file.path.text;
  Result<std::string> absolute = parse_path(path);
  if (!absolute) {
    reading.error(file.path.key, file.path.place, absolute.error().what, otherwise);
    return std::nullopt;
  }
  Result<std::string> text = read_file(path);
  if (text) return *std::move(text);
  reading.error(file.path.key, file.path.place, quoted(path) + " cannot be read: " + text.error().what);
  return std::nullopt;
}

/// Aliases, and those who have moved.
void read_names(const DomainFile& file, Domain& domain, Reading& reading, std::vector<std::string>& files) {
  AliasReader reader;
  reader.read = [&files](const std::string& path) {
    files.push_back(path);
    return read_file(path);
  };
  reader.wrong = [&](const std::string& path, int line, const std::string& message, const std::string& hint) {
    reading.error(file.path.key, Place{path, line, 1}, message, hint);
  };
  const bool aliases = file.kind == DomainFile::Kind::aliases;
  const auto read = [&](const auto& what) {
    if (aliases)
      read_aliases(what, file.path.text, domain.name, reader, domain.aliases);
    else
      read_relocated(what, file.path.text, domain.name, reader, domain.relocated);
  };
  if (database_path(file.path.text)) {
    const auto rows = read_domain_table(file, aliases ? kAliasesQuery : kRelocatedQuery, domain, reading);
    std::vector<AliasRow> pairs;
    for (const TableRow& row : rows.value_or(std::vector<TableRow>())) pairs.emplace_back(row[0], row[1]);
    return read(pairs);
  }
  const std::optional<std::string> text = read_domain_file(file, reading, "");
  if (text) read(std::string_view(*text));
}

/// A local part a row.
void read_recipients_table(const DomainFile& file, Domain& domain, Reading& reading) {
  const std::optional<std::vector<TableRow>> rows = read_domain_table(file, kRecipientsQuery, domain, reading);
  if (!rows) return;
  domain.recipients.emplace();
  for (const TableRow& row : *rows) {
    Result<std::string> local = parse_local_part(row.front());
    if (local)
      domain.recipients->push_back(to_lower(*local));
    else
      reading.error(file.path.key, Place{file.path.text}, local.error().what);
  }
}

/// One local part a line; "#" begins a comment at the start of a line or after a space.
void read_recipients(const DomainFile& file, Domain& domain, Reading& reading) {
  const std::string& path = file.path.text;
  if (database_path(path)) return read_recipients_table(file, domain, reading);
  const std::optional<std::string> text = read_domain_file(file, reading, "or a list: [\"info\", \"sales\"]");
  if (!text) return;
  domain.recipients.emplace();
  int line = 0;
  for (std::string_view row : split(*text, '\n')) {
    ++line;
    if (row.ends_with('\r')) row.remove_suffix(1);
    for (std::size_t at = row.find('#'); at != std::string_view::npos; at = row.find('#', at + 1)) {
      if (at != 0 && !is_space(row[at - 1])) continue;
      row = row.substr(0, at);
      break;
    }
    row = trim(row);
    if (row.empty()) continue;
    Result<std::string> local = parse_local_part(std::string(row));
    if (local) {
      domain.recipients->push_back(to_lower(*local));
    } else {
      reading.error(file.path.key, Place{path, line, 1}, local.error().what);
    }
  }
}

/// What they say is looked at where it is understood (delivery/reply_rules.h).
void read_rule_files(std::vector<RuleFile>& files, Reading& reading) {
  for (std::size_t i = 0; i < files.size(); ++i) {
    RuleFile& file = files[i];
    if (file.path.empty() || file.path == RuleFile::kShipped) continue;  // one that is wrong was reported
    Result<std::string> text = read_file(file.path);
    if (text) {
      file.text = *std::move(text);
      continue;
    }
    const std::string key = "delivery.reply_rules[" + std::to_string(i + 1) + "]";
    reading.error(key, reading.places.of(key), quoted(file.path) + " cannot be read: " + text.error().what);
  }
}

/// The first line of each file, and when it was written.
void read_passwords(std::vector<Route>& routes, Reading& reading) {
  for (std::size_t i = 0; i < routes.size(); ++i) {
    if (!routes[i].login || routes[i].login->password_file.empty()) continue;
    HostLogin& login = *routes[i].login;
    const std::string key = "route[" + std::to_string(i + 1) + "].password_file";
    const Place place = reading.places.of(key);
    Result<std::string> text = read_file(login.password_file);
    struct stat found {};
    if (!text || stat(login.password_file.c_str(), &found) != 0) {
      const std::string why = text ? std::string(std::strerror(errno)) : text.error().what;
      reading.error(key, place, quoted(login.password_file) + " cannot be read: " + why);
      continue;
    }
    login.password = text->substr(0, text->find_first_of("\r\n"));
    login.password_changed = found.st_ctim.tv_sec * std::int64_t{1'000'000'000} + found.st_ctim.tv_nsec;
    const bool fits = !login.password.empty() && login.password.size() <= 4096 &&
                      std::none_of(login.password.begin(), login.password.end(), is_control);
    if (!fits) {
      reading.error(key, place,
                    quoted(login.password_file) +
                        " has no password in its first line: 1 to 4096 octets without control characters");
    } else if ((found.st_mode & (S_IROTH | S_IWOTH)) != 0) {
      reading.warning(key, place, quoted(login.password_file) + " is open to everybody on this machine",
                      "chmod 0640, with the group of the daemon's user");
    }
  }
}

/// `origin` may name a file, as Debian's /etc/mailname: its first line is the domain.
void read_origin(Config& config, Reading& reading, std::vector<std::string>& files) {
  if (!config.origin.starts_with('/')) return;
  const std::string path = std::exchange(config.origin, "");
  files.push_back(path);
  const Result<std::string> text = read_file(path);
  const Result<std::string> domain = text ? parse_domain(text->substr(0, text->find_first_of("\r\n"))) : text;
  if (domain) {
    config.origin = *domain;
    return;
  }
  const std::string what = text ? ": its first line, " : " cannot be read: ";
  reading.error("origin", reading.places.of("origin"), quoted(path) + what + domain.error().what);
}

/// The daemon reads the users at each login; what it could not read now is told before somebody needs it.
void check_users_table(const Config& config, Reading& reading) {
  if (!database_path(config.auth.users)) return;
  const Result<std::vector<TableRow>> rows = read_table(config.auth.users, kUsersQuery, "");
  if (rows) return;
  reading.warning("auth.users", reading.places.of("auth.users"),
                  quoted(config.auth.users) + " cannot be read, nobody could log in: " + rows.error().what,
                  advice(rows.error().code, kUsersQuery));
}

/// The machine's name as DNS or /etc/hosts complete it; as gethostname(2) has it where they do not.
std::string machine_name() {
  char name[256] = "";
  if (gethostname(name, sizeof name - 1) != 0) return "";
  addrinfo hints{};
  hints.ai_flags = AI_CANONNAME;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(name, nullptr, &hints, &found) != 0) return name;
  std::string full = found->ai_canonname ? found->ai_canonname : name;
  freeaddrinfo(found);
  if (full.ends_with('.')) full.pop_back();
  return full.find('.') == std::string::npos ? std::string(name) : full;
}

/// What stands in no file: names that follow from the machine or from other keys.
void fill_in(Config& config, Reading& reading) {
  if (config.hostname.empty() && !reading.failed("hostname")) {
    std::string machine = machine_name();
    Result<std::string> name = parse_domain(machine);
    if (name) {
      config.hostname = *name;
    } else {
      reading.error("hostname", Place{config.file},
                    "is not given, and the machine's own name, " + quoted(machine) + ", cannot be used",
                    "write hostname = \"relay.example.net\" with the name that DNS has for this machine");
    }
  }
  const auto home = std::find_if(config.domains.begin(), config.domains.end(), [](const Domain& domain) {
    return domain.deliver || domain.aliases.contains("postmaster") || domain.aliases.contains("@");
  });
  const bool has_domain = home != config.domains.end() && !home->name.empty();
  if (config.postmaster.empty() && has_domain) config.postmaster = "postmaster@" + home->name;
  bool has_certificate = !config.tls.certificate.empty() || !config.tls.certificates.empty();
  ListenerTls usual = has_certificate ? ListenerTls::starttls : ListenerTls::none;
  for (Listener& listener : config.listeners) listener.tls = listener.tls.value_or(usual);
  for (Domain& domain : config.domains) {
    if (!domain.recipients) continue;
    std::vector<std::string>& recipients = *domain.recipients;
    std::sort(recipients.begin(), recipients.end());
    recipients.erase(std::unique(recipients.begin(), recipients.end()), recipients.end());
  }
}

void sort_by_place(std::vector<Finding>& findings, const std::vector<std::string>& files) {
  auto rank = [&files](const Finding& finding) {
    return std::find(files.begin(), files.end(), finding.file) - files.begin();
  };
  std::stable_sort(findings.begin(), findings.end(), [&rank](const Finding& a, const Finding& b) {
    auto a_file = rank(a);
    auto b_file = rank(b);
    if (a_file != b_file) return a_file < b_file;
    return a.line != b.line ? a.line < b.line : a.column < b.column;
  });
}

/// `root` is nullopt where the file is no TOML: nothing more can be said of it then.
Loaded finish(std::optional<Value> root, const std::string& name, Reading reading, std::vector<std::string> files) {
  Loaded loaded;
  loaded.config.file = name;
  if (root) {
    reading.places.put("", Place{name});
    for (const DomainFile& file : read_sections(*root, loaded.config, reading)) {
      files.push_back(file.path.text);
      Domain& domain = loaded.config.domains[file.domain];
      file.kind == DomainFile::Kind::recipients ? read_recipients(file, domain, reading)
                                                : read_names(file, domain, reading, files);
    }
    read_rule_files(loaded.config.delivery.reply_rules, reading);
    read_origin(loaded.config, reading, files);
    read_passwords(loaded.config.routes, reading);
    check_users_table(loaded.config, reading);
    fill_in(loaded.config, reading);
    validate(loaded.config, reading);
    loaded.config.files.assign(files.begin() + 1, files.end());
  }
  loaded.errors = std::move(reading.errors);
  loaded.warnings = std::move(reading.warnings);
  loaded.settings = std::move(reading.settings);
  sort_by_place(loaded.errors, files);
  sort_by_place(loaded.warnings, files);
  return loaded;
}

}  // namespace

Result<std::string> read_file(const std::string& path) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return fail(errno == ENOENT ? Errc::not_found : Errc::io, std::strerror(errno));
  std::string text;
  std::string buffer(65536, '\0');
  while (true) {
    ssize_t got = read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      std::string why = std::strerror(errno);
      close(fd);
      return fail(Errc::io, why);
    }
    if (got == 0) break;
    text.append(buffer, 0, static_cast<std::size_t>(got));
    if (text.size() > kMaxFile) {
      close(fd);
      return fail(Errc::too_big, "it is larger than 64 MiB");
    }
  }
  close(fd);
  return text;
}

std::string Finding::text() const {
  std::string out = Place{file, line, column}.text();
  if (!key.empty()) out += ": " + key;
  out += ": " + message;
  if (!hint.empty()) out += " (" + hint + ")";
  return out;
}

Loaded load(const std::string& path) {
  Reading reading;
  Result<std::string> text = read_file(path);
  if (!text) {
    reading.error("", Place{path}, "cannot be read: " + text.error().what);
    return finish(std::nullopt, path, std::move(reading), {path});
  }
  std::optional<Value> root = parse_document(*text, path, reading.errors);
  std::vector<std::string> files{path};
  if (root) follow_includes(*root, path, reading, files);
  return finish(std::move(root), path, std::move(reading), std::move(files));
}

Loaded load_text(const std::string& text, const std::string& name) {
  Reading reading;
  std::optional<Value> root = parse_document(text, name, reading.errors);
  const Value::Member* include = root ? root->find("include") : nullptr;
  if (include) reading.error("include", include->place, "works only in a file: there is nothing here to include from");
  return finish(std::move(root), name, std::move(reading), {name});
}

std::vector<Setting> all_defaults() {
  Reading reading;
  reading.list_keys = true;
  Config config;
  read_sections(Value{}, config, reading);
  return std::move(reading.settings);
}

std::vector<std::string> all_keys() {
  // Reading nothing asks for every key, so that this list cannot differ from what is read.
  Reading reading;
  reading.list_keys = true;
  Config config;
  read_sections(Value{}, config, reading);
  return {reading.keys.begin(), reading.keys.end()};
}

}  // namespace waypost::conf
