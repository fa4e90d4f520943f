// mta/cmd_queue_export.cpp: `waypost queue export`: copies of messages in files.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/escape.h"
#include "mta/cmd_queue.h"
#include "mta/output.h"

namespace waypost::mta {
namespace {

/// A file that was not there, readable by its owner alone: it is somebody's mail.
class NewFile {
 public:
  explicit NewFile(const std::string& path)
      : path_(path), fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)) {
    if (fd_ < 0) failed();
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  void write(std::string_view octets) {
    while (fd_ >= 0 && why_.empty() && !octets.empty()) {
      const ssize_t put = ::write(fd_, octets.data(), octets.size());
      if (put < 0 && errno != EINTR) failed();
      if (put > 0) octets.remove_prefix(static_cast<std::size_t>(put));
    }
  }
  void sync() {
    if (fd_ >= 0 && why_.empty() && ::fsync(fd_) != 0) failed();
  }
  const std::string& why() const { return why_; }  ///< "": all is well

 private:
  void failed() { why_ = path_ + ": " + std::strerror(errno); }
  std::string path_;
  int fd_;
  std::string why_;
};

/// Everything of a message, a piece at a time. False: said why.
bool read_all(const std::string& id, Console& console, const std::function<void(std::string_view)>& take) {
  std::uint64_t offset = 0;
  while (true) {
    ControlRequest request;
    request.path = "/v1/queue/" + id + "/content";
    request.query["offset"] = std::to_string(offset);
    const std::optional<std::string> octets = console.fetch_octets(request);
    if (!octets) return false;
    if (octets->empty()) return true;
    take(*octets);
    offset += octets->size();
  }
}

/// A message for an mbox file (mboxrd: `>` before each `From ` that may have some already), LF at the ends of lines.
std::string mbox_text(std::string_view message) {
  std::string out;
  while (!message.empty()) {
    const std::size_t end = std::min(message.find('\n'), message.size() - 1);
    std::string_view line = message.substr(0, end + 1);
    message.remove_prefix(end + 1);
    while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
    const std::size_t marks = std::min(line.find_first_not_of('>'), line.size());
    if (line.substr(marks).starts_with("From ")) out += '>';
    out.append(line) += '\n';
  }
  return out + '\n';
}

/// "From a@b.example Sun Nov 22 09:14:02 2026", in UTC.
std::string from_line(const Json& message) {
  const std::string from = text_of(message, "from");
  const std::optional<net::WallTime> arrival = time_of_json(text_of(message, "arrival"));
  const std::time_t seconds =
      arrival ? std::chrono::duration_cast<std::chrono::seconds>(arrival->time_since_epoch()).count() : 0;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[64];
  std::strftime(text, sizeof text, "%a %b %e %H:%M:%S %Y", &parts);
  return "From " + (from.empty() ? "MAILER-DAEMON" : escape(from, 320)) + " " + text + "\n";
}

bool fail_file(const NewFile& file, Console& console) {
  console.give_up(EX_IOERR, file.why());
  return false;
}

/// Octets as they are stored in ID.eml, the envelope in ID.json; neither where the message leaves meanwhile.
bool write_eml(const Json& message, const std::string& folder, Console& console) {
  const std::string id = text_of(message, "id");
  const std::string name = folder + "/" + id;
  NewFile content(name + ".eml");
  if (!content.why().empty()) return fail_file(content, console);
  const bool read = read_all(id, console, [&content](std::string_view octets) { content.write(octets); });
  if (!read) {
    ::unlink((name + ".eml").c_str());
    return false;
  }
  NewFile envelope(name + ".json");
  envelope.write(to_line(message) + "\n");
  for (NewFile* file : {&content, &envelope}) {
    file->sync();
    if (!file->why().empty()) return fail_file(*file, console);
  }
  return true;
}

}  // namespace

int queue_export(const QueueExportOptions& options, Console& console) {
  if (options.filter.empty() && !options.all) {
    console.give_up(EX_USAGE, "which messages? Name ids, a filter, or --all");
    return console.exit_code;
  }
  const bool mbox = options.to.ends_with(".mbox");
  std::optional<NewFile> file;
  if (mbox) {
    file.emplace(options.to);
    if (!file->why().empty()) {
      console.give_up(EX_CANTCREAT, file->why());
      return console.exit_code;
    }
  } else if (::mkdir(options.to.c_str(), 0700) != 0 && errno != EEXIST) {
    console.give_up(EX_CANTCREAT, options.to + ": " + std::strerror(errno));
    return console.exit_code;
  }
  ControlRequest request;
  request.path = "/v1/queue";
  request.query["filter"] = filter_text(options.filter);
  std::uint64_t written = 0, gone = 0;
  while (true) {
    const std::optional<Json> page = console.fetch(request);
    if (!page) return console.exit_code;
    for (const Json& message : list_of(*page, "messages")) {
      const std::string id = text_of(message, "id");
      bool done = false;
      if (mbox) {
        std::string all;
        done = read_all(id, console, [&all](std::string_view octets) { all += octets; });
        if (done) file->write(from_line(message) + mbox_text(all));
      } else {
        done = write_eml(message, options.to, console);
      }
      if (!done && console.exit_code != 1) return console.exit_code;
      // It was delivered meanwhile, and so is no trouble.
      if (!done) console.exit_code = 0;
      done ? ++written : ++gone;
    }
    const std::string resume = text_of(*page, "resume");
    if (resume.empty()) break;
    request.query["after"] = resume;
  }
  if (file) {
    file->sync();
    if (!file->why().empty()) {
      console.give_up(EX_IOERR, file->why());
      return console.exit_code;
    }
  }
  if (written == 0) {
    if (mbox) ::unlink(options.to.c_str());
    console.err << "waypost: nothing matches\n";
    return 1;
  }
  console.out << "wrote " << counted(written, "message", "messages") << " to " << escape(options.to) << "\n";
  if (gone > 0) console.err << counted(gone, "message", "messages") << " left the queue meanwhile\n";
  return gone > 0 ? 2 : 0;
}

}  // namespace waypost::mta
