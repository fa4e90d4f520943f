#include "delivery/maildir.h"

#include <atomic>
#include <mutex>
#include <utility>

#include <unistd.h>

#include "base/escape.h"
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

/// The Maildir, and those above it that are missing.
///
/// Who finds tmp/ takes it that all else is there and on disk. So tmp/ is made last, after new/ was synced, and one
/// thread at a time makes folders: another one's half-made path would look finished.
Result<> make_maildir(const queue::OpenFolder& open_folder, const std::string& maildir) {
  static std::mutex one_at_a_time;
  std::lock_guard guard(one_at_a_time);

  Result<std::unique_ptr<queue::Files>> folder = open_folder(maildir, true);
  if (!folder) return fail(folder.error());
  for (const char* name : {"cur", "new"}) {
    Result<> made = (*folder)->make_folder(name);
    if (!made) return made;
  }
  // Also what was there: who made it may have been killed before the sync.
  Result<> synced = (*folder)->sync_folder(".");
  if (!synced) return synced;
  return (*folder)->make_folder("tmp");
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
  queue::OpenFolder open_folder;
  std::string maildir;
  std::string in_tmp, in_new;            // the file's two names
  std::unique_ptr<queue::Files> folder;  // the Maildir
  std::unique_ptr<queue::File> file;
  std::string buffer;     // with LF line ends, not yet written
  bool cr = false;        // the last octet was a CR: what follows says what becomes of it
  std::string stands_at;  // to be removed

  ~State() {
    file.reset();
    if (stands_at.empty()) return;
    Result<> removed = folder->remove(stands_at);
    (void)removed;  // it has a name that nobody asks for
  }

  tl::unexpected<Error> failed(const Error& error) const {
    return fail(error.code, "Maildir " + escape(maildir) + ": " + error.what);
  }
  Result<> open_file();
  Result<> flush();
  Result<> move_to_new();
};

Result<> MaildirFile::State::open_file() {
  Result<std::unique_ptr<queue::Files>> opened = open_folder(maildir, false);
  if (!opened) return fail(opened.error());
  folder = std::move(*opened);
  Result<std::unique_ptr<queue::File>> created = folder->create(in_tmp);
  if (!created) return fail(created.error());
  file = std::move(*created);
  stands_at = in_tmp;
  return {};
}

Result<> MaildirFile::State::flush() {
  Result<> written = file->append(buffer);
  buffer.clear();
  return written;
}

/// The octets are on disk before the name is, and the name before anybody is told.
Result<> MaildirFile::State::move_to_new() {
  Result<> done = file->sync();
  if (!done) return done;
  done = folder->rename(in_tmp, in_new);
  if (!done && done.error().code == Errc::not_found) {
    // A Maildir that somebody else began.
    Result<> made = make_maildir(open_folder, maildir);
    if (!made) return made;
    done = folder->rename(in_tmp, in_new);
  }
  if (!done) return done;
  stands_at = in_new;
  done = folder->sync_folder("new");
  if (done) stands_at.clear();
  return done;
}

MaildirFile::MaildirFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
MaildirFile::MaildirFile(MaildirFile&&) noexcept = default;
MaildirFile& MaildirFile::operator=(MaildirFile&&) noexcept = default;
MaildirFile::~MaildirFile() = default;

Result<MaildirFile> MaildirFile::create(const queue::OpenFolder& open_folder, const std::string& maildir,
                                        const std::string& unique) {
  auto state = std::make_unique<State>();
  state->open_folder = open_folder;
  state->maildir = without_final_slashes(maildir);
  state->in_tmp = "tmp/" + unique;
  state->in_new = "new/" + unique;

  Result<> opened = state->open_file();
  if (!opened && opened.error().code == Errc::not_found) {
    opened = make_maildir(open_folder, state->maildir);
    if (opened) opened = state->open_file();
  }
  if (!opened) return state->failed(opened.error());
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
      if (!flushed) return state_->failed(flushed.error());
    }
  }
  return {};
}

Result<std::string> MaildirFile::commit() {
  State& state = *state_;
  if (std::exchange(state.cr, false)) state.buffer += '\r';
  Result<> done = state.flush();
  if (done) done = state.move_to_new();
  if (!done) return state.failed(done.error());
  return state.maildir + "/" + state.in_new;
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
