// mta/cmd_queue_import.cpp: `waypost queue import`: what an export wrote goes into the queue again.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/escape.h"
#include "mta/cmd_queue.h"
#include "mta/import_envelope.h"
#include "mta/output.h"
#include "queue/id.h"
#include "queue/new_folder.h"

namespace waypost::mta {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxEnvelope = 64UL << 20;  // octets of an ID.json
constexpr std::uint64_t kPatience = 10;           // messages in a row that the daemon puts off: it will do so with all

/// A file descriptor.
class Opened {
 public:
  Opened(const std::string& path, int flags) : fd_(::open(path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, 0600)) {}
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;
  ~Opened() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

Error failed(const std::string& path) {
  return Error(Errc::io, path + ": " + std::strerror(errno));
}

Result<std::string> read_text(const std::string& path) {
  const Opened file(path, O_RDONLY);
  struct stat facts {};
  if (file.fd() < 0 || ::fstat(file.fd(), &facts) != 0) return fail(failed(path));
  if (!S_ISREG(facts.st_mode) || facts.st_size > static_cast<off_t>(kMaxEnvelope))
    return fail(Errc::too_big, path + ": no file of an export");
  std::string text(static_cast<std::size_t>(facts.st_size), '\0');
  for (std::size_t filled = 0; filled < text.size();) {
    const ssize_t got = ::read(file.fd(), text.data() + filled, text.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(failed(path));
    filled += static_cast<std::size_t>(got);
  }
  return text;
}

/// In the place of what is there, synced.
Result<> replace_text(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".new";
  ::unlink(fresh.c_str());
  {
    const Opened file(fresh, O_WRONLY | O_CREAT | O_EXCL);
    if (file.fd() < 0) return fail(failed(fresh));
    for (std::string_view rest = text; !rest.empty();) {
      const ssize_t put = ::write(file.fd(), rest.data(), rest.size());
      if (put < 0 && errno != EINTR) return fail(failed(fresh));
      if (put > 0) rest.remove_prefix(static_cast<std::size_t>(put));
    }
    if (::fsync(file.fd()) != 0) return fail(failed(fresh));
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) return fail(failed(path));
  return {};
}

/// Renames, and replaces nothing.
Result<> rename_file(const std::string& from, const std::string& to) {
  const int why = queue::rename_new(from, to);
  if (why == 0) return {};
  errno = why;
  return fail(failed(why == EEXIST ? to : from));
}

class Import {
 public:
  Import(const QueueImportOptions& options, Console& console) : options_(options), console_(console) {}

  int run() {
    std::vector<std::string> ids, in_doubt;
    std::error_code failed;
    for (fs::directory_iterator at(options_.from, failed), end; !failed && at != end; at.increment(failed)) {
      const std::string name = at->path().filename().string();
      const std::string id = name.substr(0, name.find('.'));
      if (!queue::Id::parse(id)) continue;
      if (name == id + ".json") ids.push_back(id);
      if (name == id + ".json.importing") in_doubt.push_back(id);
      if (name == id + ".json.imported") ++before_;
    }
    if (failed) {
      console_.give_up(EX_NOINPUT, options_.from + ": " + failed.message());
      return console_.exit_code;
    }
    std::sort(ids.begin(), ids.end());
    std::sort(in_doubt.begin(), in_doubt.end());
    for (const std::string& id : in_doubt) say_doubt(id);
    for (const std::string& id : ids) {
      if (const Result<> done = import(id); !done) say(id, done.error().what);
      if (put_off_ < kPatience) continue;
      console_.err << "waypost: the daemon put off " << put_off_ << " messages in a row: the rest is left for later\n";
      break;
    }
    return finish();
  }

 private:
  void say(const std::string& id, const std::string& why) {
    ++troubled_;
    console_.err << "waypost: " << id << ": " << escape(why, 1000) << "\n";
  }
  void say_doubt(const std::string& id) {
    say(id,
        "it was handed over, and whether the daemon took it is not known. Look for it (waypost trace --from, --to); "
        "then rename " +
            id + ".json.importing to " + id + ".json, to have it imported, or remove it");
  }

  Result<> import(const std::string& id) {
    const std::string envelope_file = options_.from + "/" + id + ".json";
    const Result<std::string> text = read_text(envelope_file);
    if (!text) return fail(text.error());
    Json json = parse_json(*text);
    if (!json.is_object()) return fail(Errc::invalid, id + ".json is no envelope of an export");
    Result<smtp::Envelope> envelope = import_envelope(json);
    if (!envelope) return fail(envelope.error());
    std::uint64_t held = 0;
    for (const Json& each : list_of(json, "recipients")) {
      Result<std::optional<ImportRecipient>> waiting = import_recipient(each);
      if (!waiting) return fail(waiting.error());
      if (!*waiting) continue;
      const bool stays = (*waiting)->held && !options_.release;
      if (stays)
        ++held;
      else
        envelope->recipients.push_back(std::move((*waiting)->recipient));
    }
    const Opened content(options_.from + "/" + id + ".eml", O_RDONLY);
    struct stat facts {};
    if (content.fd() < 0 || ::fstat(content.fd(), &facts) != 0) return fail(failed(id + ".eml"));
    if (!S_ISREG(facts.st_mode)) return fail(Errc::invalid, id + ".eml is no file");
    envelope->size = static_cast<std::uint64_t>(facts.st_size);

    if (envelope->recipients.empty() && held == 0) return fail(Errc::invalid, "no recipient of it waits");
    if (options_.dry_run) {
      count(envelope->recipients.size());
    } else if (!envelope->recipients.empty()) {
      Result<> done = hand_over(id, std::move(json), *std::move(envelope), content.fd());
      if (!done) return done;
    }
    if (held == 0) return {};
    return fail(Errc::invalid, counted(held, "recipient is", "recipients are") +
                                   " held, and left out: --release takes " + "such too, and has them tried");
  }

  void count(std::size_t recipients) {
    if (recipients == 0) return;
    ++done_;
    recipients_ += recipients;
  }

  /// The name says what is under way before anything is.
  Result<> hand_over(const std::string& id, Json json, smtp::Envelope envelope, int content) {
    const std::string name = options_.from + "/" + id, under_way = name + ".json.importing";
    Result<> marked = rename_file(name + ".json", under_way);
    if (marked) marked = queue::sync_path(options_.from);
    if (!marked) return marked;
    Submission submission;
    submission.envelope = std::move(envelope);
    submission.content = content;
    submission.counted = true;
    const Submitted said = console_.submit(submission);

    put_off_ = said.taken.empty() && said.refused.empty() ? put_off_ + 1 : 0;
    count(said.taken.size());
    std::set<std::string> taken;
    for (const smtp::EnvelopeRecipient& each : said.taken) taken.insert(each.forward_path.text());
    Result<> kept = keep_others(under_way, std::move(json), taken);
    if (!kept) return kept;
    if (said.in_doubt) {
      say_doubt(id);
      return {};
    }
    const bool all = said.taken.size() == submission.envelope.recipients.size() && remaining_ == 0;
    Result<> named = rename_file(under_way, name + (all ? ".json.imported" : ".json"));
    if (named && all) named = rename_file(name + ".eml", name + ".eml.imported");
    if (named) named = queue::sync_path(options_.from);
    if (!named) return named;
    std::string why;
    for (const Refusal& each : said.refused)
      why += (why.empty() ? "" : "; ") + (each.recipient.empty() ? "" : "<" + each.recipient + "> ") +
             "refused: " + each.reply.text();
    if (!said.left.empty()) why += (why.empty() ? "" : "; ") + std::string("put off: ") + said.why_left;
    return why.empty() ? Result<>() : fail(Errc::busy, why);
  }

  /// Takes those that the daemon has out of the file. `remaining_` is how many still wait then.
  Result<> keep_others(const std::string& path, Json json, const std::set<std::string>& taken) {
    Json others = Json::array();
    remaining_ = 0;
    for (const Json& each : list_of(json, "recipients")) {
      const std::string state = text_of(each, "state");
      const bool is_released = state == "held" && options_.release;
      const bool was_tried = state == "active" || state == "deferred" || is_released;
      if (was_tried && is_taken(each, taken)) continue;
      if (was_tried || state == "held") ++remaining_;
      others.push_back(each);
    }
    if (taken.empty() || remaining_ == 0) return {};
    json["recipients"] = std::move(others);
    return replace_text(path, to_line(json) + "\n");
  }

  static bool is_taken(const Json& recipient, const std::set<std::string>& taken) {
    const Result<std::optional<ImportRecipient>> waiting = import_recipient(recipient);
    return waiting && *waiting && taken.contains((*waiting)->recipient.forward_path.text());
  }

  int finish() {
    if (done_ > 0 || troubled_ > 0)
      console_.out << (options_.dry_run ? "would import " : "imported ") << counted(done_, "message", "messages")
                   << " for " << counted(recipients_, "recipient", "recipients") << "\n";
    if (troubled_ > 0) return 2;
    if (done_ > 0) return 0;
    console_.err << "waypost: "
                 << (before_ > 0 ? "all of it was imported before\n" : "nothing to import: no ID.json is there\n");
    return 1;
  }

  const QueueImportOptions& options_;
  Console& console_;
  std::uint64_t done_ = 0, recipients_ = 0, troubled_ = 0, before_ = 0;
  std::uint64_t put_off_ = 0;    // in a row
  std::uint64_t remaining_ = 0;  // recipients of the last one that still wait
};

}  // namespace

int queue_import(const QueueImportOptions& options, Console& console) {
  std::error_code none;
  if (fs::is_regular_file(options.from, none)) {
    console.give_up(EX_USAGE, options.from +
                                  " is no folder: an mbox has no envelopes, so that nobody knows whom its "
                                  "messages are for; queue export --to FOLDER keeps them");
    return console.exit_code;
  }
  if (!options.dry_run) {
    // Whoever may use the control socket may do this, and a daemon that is away is said once.
    ControlRequest request;
    request.path = "/v1/health";
    if (!console.fetch(request)) return console.exit_code;
  }
  return Import(options, console).run();
}

}  // namespace waypost::mta
