#include "delivery/maildir.h"

#include <atomic>
#include <cerrno>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

namespace waypost::delivery {

namespace {

constexpr std::size_t kWriteOctets = 64 * 1024;
constexpr std::string_view kReturnPath = "return-path";
/// Spaces before the colon are obsolete syntax (RFC 5322 §4.5); so many are looked through.
constexpr std::size_t kMaxHeld = kReturnPath.size() + 64;

bool is_plain(char c) {
  return is_alnum(c) || std::string_view("_+=@-.").find(c) != std::string_view::npos;
}

/// One component of a path: never empty, never `.` or `..`, without a slash.
std::string encode_part(std::string_view part) {
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  if (part.empty()) return "%";
  std::string out;
  for (std::size_t i = 0; i < part.size(); ++i) {
    unsigned char octet = static_cast<unsigned char>(part[i]);
    bool leading_dot = i == 0 && part[i] == '.';
    if (is_plain(part[i]) && !leading_dot) {
      out += part[i];
    } else {
      out += '%';
      out += kHex[octet >> 4];
      out += kHex[octet & 15];
    }
  }
  return out;
}

/// For `return fail(system_error("...", path))`, right after the call that failed.
Error system_error(std::string_view doing, const std::string& path) {
  int number = errno;
  Errc code = Errc::io;
  switch (number) {
    case ENOSPC:
    case EDQUOT:
      code = Errc::full;
      break;
    case EACCES:
    case EPERM:
      code = Errc::denied;
      break;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      code = Errc::busy;
      break;
    case EEXIST:
      code = Errc::exists;
      break;
    case ENOENT:
      code = Errc::not_found;
      break;
    default:
      break;
  }
  return Error(code, std::string(doing) + " " + path + ": " + std::generic_category().message(number));
}

/// A descriptor that is closed once.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

Fd open_folder(const std::string& path, int more = 0) {
  return Fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | more));
}

Result<> sync_folder(const std::string& path) {
  Fd folder = open_folder(path);
  if (!folder.open()) return fail(system_error("opening", path));
  if (::fsync(folder.get()) != 0) return fail(system_error("syncing", path));
  return {};
}

/// `/var/mail/b.example/r` -> `/var/mail/b.example`.
std::string above(const std::string& path) {
  std::size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<> make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0) {
    if (errno == EEXIST) return {};
    return fail(system_error("making", path));
  }
  // Whatever the umask took away.
  if (::chmod(path.c_str(), 0700) != 0) return fail(system_error("making", path));
  return sync_folder(above(path));
}

/// The Maildir, and those above it that are missing.
///
/// Who finds tmp/ takes it that all else is there and on disk. So tmp/ is made last, after new/ was synced, and one
/// thread at a time makes folders: another one's half-made path would look finished.
Result<> make_maildir(const std::string& maildir) {
  static std::mutex one_at_a_time;
  std::lock_guard guard(one_at_a_time);

  std::vector<std::string> missing = {maildir};
  while (true) {
    std::string parent = above(missing.back());
    struct stat found {};
    if (parent == missing.back() || ::stat(parent.c_str(), &found) == 0) break;
    missing.push_back(parent);
  }
  while (!missing.empty()) {
    Result<> made = make_folder(missing.back());
    if (!made) return made;
    missing.pop_back();
  }
  for (const char* name : {"/cur", "/new", "/tmp"}) {
    Result<> made = make_folder(maildir + name);
    if (!made) return made;
  }
  return {};
}

std::string without_final_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

std::string maildir_path(const std::string& path_template, const smtp::Mailbox& mailbox) {
  std::string domain = encode_part(smtp::domain_key(mailbox.domain));
  std::string local = encode_part(mailbox.local);
  std::string_view rest = path_template;
  std::string out;
  while (!rest.empty()) {
    if (rest.starts_with("{domain}")) {
      out += domain;
      rest.remove_prefix(8);
    } else if (rest.starts_with("{local}")) {
      out += local;
      rest.remove_prefix(7);
    } else {
      out += rest.front();
      rest.remove_prefix(1);
    }
  }
  return out;
}

std::string maildir_unique_name(net::WallTime now, const std::string& hostname) {
  static std::atomic<std::uint64_t> serial{0};
  auto since_1970 = now.time_since_epoch();
  auto whole = std::chrono::floor<std::chrono::seconds>(since_1970);
  std::string micros = std::to_string(std::chrono::microseconds(since_1970 - whole).count());
  micros.insert(0, 6 - micros.size(), '0');

  std::string name = std::to_string(whole.count()) + ".M" + micros + "P" + std::to_string(::getpid()) + "_" +
                     std::to_string(serial.fetch_add(1)) + ".";
  for (char c : hostname) {
    if (c == '/') {
      name += "\\057";
    } else if (c == ':') {
      name += "\\072";
    } else {
      name += c;
    }
  }
  return name;
}

struct MaildirFile::State {
  std::string maildir;
  std::string unique;
  Fd tmp, into, file;
  std::string buffer;   // with LF line ends, not yet written
  bool cr = false;      // the last octet was a CR: what follows says what becomes of it
  bool in_tmp = false;  // to be removed
  bool in_new = false;

  ~State() {
    if (in_tmp) ::unlinkat(tmp.get(), unique.c_str(), 0);
    if (in_new) ::unlinkat(into.get(), unique.c_str(), 0);
  }

  std::string in(const char* folder) const { return maildir + "/" + folder + "/" + unique; }
  Result<> open_folders();
  Result<> open_file();
  Result<> flush();
};

Result<> MaildirFile::State::open_folders() {
  // A mailbox's own folders are never links to elsewhere (RELIABILITY C10); the path to it may have some.
  into = open_folder(maildir + "/new", O_NOFOLLOW);
  if (!into.open()) return fail(system_error("opening", maildir + "/new"));
  tmp = open_folder(maildir + "/tmp", O_NOFOLLOW);
  if (!tmp.open()) return fail(system_error("opening", maildir + "/tmp"));
  return {};
}

Result<> MaildirFile::State::open_file() {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  file = Fd(::openat(tmp.get(), unique.c_str(), kFlags, 0600));
  if (!file.open()) return fail(system_error("creating", in("tmp")));
  in_tmp = true;
  if (::fchmod(file.get(), 0600) != 0) return fail(system_error("creating", in("tmp")));
  return {};
}

Result<> MaildirFile::State::flush() {
  std::string_view rest = buffer;
  while (!rest.empty()) {
    ssize_t written = ::write(file.get(), rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(system_error("writing", in("tmp")));
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  buffer.clear();
  return {};
}

MaildirFile::MaildirFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
MaildirFile::MaildirFile(MaildirFile&&) noexcept = default;
MaildirFile& MaildirFile::operator=(MaildirFile&&) noexcept = default;
MaildirFile::~MaildirFile() = default;

Result<MaildirFile> MaildirFile::create(const std::string& maildir, const std::string& unique) {
  auto state = std::make_unique<State>();
  state->maildir = without_final_slashes(maildir);
  state->unique = unique;

  Result<> opened = state->open_folders();
  if (!opened && opened.error().code == Errc::not_found) {
    Result<> made = make_maildir(state->maildir);
    if (!made) return fail(made.error());
    opened = state->open_folders();
  }
  if (!opened) return fail(opened.error());

  Result<> created = state->open_file();
  if (!created) return fail(created.error());
  return MaildirFile(std::move(state));
}

Result<> MaildirFile::write(std::string_view octets) {
  while (!octets.empty()) {
    if (state_->cr) {
      // A CR that is not before LF stays: it is part of the text.
      if (octets.front() != '\n') state_->buffer += '\r';
      state_->cr = false;
    }
    std::size_t cr = octets.find('\r');
    state_->buffer += octets.substr(0, cr);
    octets.remove_prefix(cr == std::string_view::npos ? octets.size() : cr + 1);
    state_->cr = cr != std::string_view::npos;
    if (state_->buffer.size() >= kWriteOctets) {
      Result<> flushed = state_->flush();
      if (!flushed) return flushed;
    }
  }
  return {};
}

Result<std::string> MaildirFile::commit() {
  State& state = *state_;
  if (std::exchange(state.cr, false)) state.buffer += '\r';
  Result<> flushed = state.flush();
  if (!flushed) return fail(flushed.error());

  // The octets are on disk before the name is, and the name before anybody is told.
  if (::fsync(state.file.get()) != 0) return fail(system_error("syncing", state.in("tmp")));
  if (::renameat(state.tmp.get(), state.unique.c_str(), state.into.get(), state.unique.c_str()) != 0)
    return fail(system_error("moving to new/", state.in("tmp")));
  state.in_tmp = false;
  state.in_new = true;
  if (::fsync(state.into.get()) != 0) return fail(system_error("syncing", state.maildir + "/new"));
  state.in_new = false;
  return state.in("new");
}

void ReturnPathFilter::feed(std::string_view octets, std::string& out) {
  while (!octets.empty()) octets.remove_prefix(take(octets, out));
}

void ReturnPathFilter::finish(std::string& out) {
  out += held_;
  held_.clear();
}

/// Takes one octet, or as many as nothing has to be decided for.
std::size_t ReturnPathFilter::take(std::string_view octets, std::string& out) {
  switch (state_) {
    case State::body:
      out += octets;
      return octets.size();
    case State::kept:
    case State::dropped: {
      std::size_t line_feed = octets.find('\n');
      std::size_t size = line_feed == std::string_view::npos ? octets.size() : line_feed + 1;
      if (state_ == State::kept) out += octets.substr(0, size);
      if (line_feed != std::string_view::npos) state_ = State::line_start;
      return size;
    }
    case State::line_start:
      if (is_space(octets.front()) && in_field_) {
        state_ = dropping_ ? State::dropped : State::kept;
        return 0;
      }
      state_ = State::name;
      dropping_ = false;
      holding_ = true;
      in_field_ = false;
      return 0;
    case State::name:
    case State::after_name:
      on_name(octets.front(), out);
      return 1;
  }
  return octets.size();
}

/// An octet of a line that is not yet known to be a field.
void ReturnPathFilter::on_name(char c, std::string& out) {
  held_ += c;
  bool at_name = state_ == State::name;
  bool name_char = static_cast<unsigned char>(c) > ' ' && static_cast<unsigned char>(c) < 0x7F && c != ':';
  if (c == ':' && (held_.size() > 1 || !holding_)) {
    std::string_view name = trim_back(std::string_view(held_).substr(0, held_.size() - 1));
    dropping_ = holding_ && equals_no_case(name, kReturnPath);
    state_ = dropping_ ? State::dropped : State::kept;
    in_field_ = true;
  } else if (at_name && name_char) {
    if (holding_ && !starts_with_no_case(kReturnPath, held_)) holding_ = false;
  } else if (is_space(c) && (held_.size() > 1 || !holding_)) {
    state_ = State::after_name;
    if (held_.size() > kMaxHeld) holding_ = false;
  } else {
    // No field: the blank line, or what somebody took for a header section.
    state_ = State::body;
    holding_ = false;
  }
  if (dropping_) {
    held_.clear();
  } else if (!holding_ || state_ == State::kept) {
    out += held_;
    held_.clear();
  }
}

}  // namespace waypost::delivery
