#include "mta/maildrop.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/event_log.h"
#include "base/text.h"
#include "conf/load.h"
#include "delivery/notify.h"
#include "delivery/route.h"
#include "mta/policy.h"
#include "net/line_buffer.h"
#include "net/memory_stream.h"
#include "smtp/command.h"
#include "smtp/reply_parser.h"
#include "smtp/transparency.h"

namespace waypost::mta {
namespace {

constexpr std::size_t kPiece = 1 << 18;
constexpr const char* kFolder = "/maildrop/";
constexpr const char* kCorrupt = "/corrupt";
// A session gives a client hours; one of ours waits for nobody but the disk, the DNS and next hops that are asked.
constexpr net::Duration kReplyTimeout = std::chrono::minutes(10);

void on_exception(std::string_view what) {
  log::failure("an exception came out of the drop folder: " + std::string(what));
}

std::string errno_text() {
  return std::strerror(errno);
}

/// Names in a folder, those that begin with a dot apart. Errors: io.
struct Names {
  std::vector<std::string> whole, unfinished;
};
Result<Names> read_names(const std::string& folder) {
  DIR* open = ::opendir(folder.c_str());
  if (open == nullptr) return fail(Errc::io, folder + ": " + errno_text());
  Names names;
  while (const dirent* entry = ::readdir(open)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    (name[0] == '.' ? names.unfinished : names.whole).push_back(name);
  }
  ::closedir(open);
  return names;
}

/// Its writer is long gone: nobody was told that it is kept.
void remove_stale(const std::string& folder, const std::vector<std::string>& unfinished) {
  for (const std::string& name : unfinished) {
    struct stat facts {};
    const std::string path = folder + name;
    if (::lstat(path.c_str(), &facts) != 0) continue;
    const std::time_t oldest =
        std::time(nullptr) - std::chrono::duration_cast<std::chrono::seconds>(Maildrop::kStale).count();
    if (facts.st_mtime < oldest && ::unlink(path.c_str()) == 0) log::warning("removed " + path + ", never finished");
  }
}

}  // namespace

std::vector<std::string> drop_folders(const conf::Config& config) {
  std::vector<std::string> folders{config.data_dir};
  const std::string usual = conf::Config().data_dir;
  if (config.file == conf::kUsualFile && config.data_dir != usual) folders.push_back(usual);
  return folders;
}

/// A recipient, by its command, and the 5xx to it or to the whole.
struct Maildrop::Refused {
  std::string command;
  smtp::Reply reply;
};

struct Maildrop::File {
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (fd >= 0) ::close(fd);
  }

  /// Blocks. Errors: invalid (it is none of ours), too_big, not_found (it has gone), io.
  Result<> open(const std::string& path, std::uint64_t most) {
    // Not following a link, not waiting for the writer of a FIFO.
    fd = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat facts {};
    if (fd < 0 && errno == ENOENT) return fail(Errc::not_found, "it has gone");
    if (fd < 0 && (errno == ELOOP || errno == ENXIO)) return fail(Errc::invalid, "it is no regular file");
    if (fd < 0 || ::fstat(fd, &facts) != 0) return fail(Errc::io, errno_text());
    if (!S_ISREG(facts.st_mode)) return fail(Errc::invalid, "it is no regular file");
    if (facts.st_nlink != 1) return fail(Errc::invalid, "it has another name");
    if (static_cast<std::uint64_t>(facts.st_size) > most) return fail(Errc::too_big, "it is too large");
    owner = facts.st_uid;
    written = facts.st_mtime;
    const Result<> known = read_head();
    return known ? check_content() : known;
  }

  /// The final dot is the end of the file, and nothing before it is one: a session would take what follows for
  /// commands, and wait for one that does not come.
  Result<> check_content() const {
    smtp::BodyDecoder decoder;
    std::uint64_t at = head.octets;
    while (true) {
      const Result<std::string> piece = read(at);
      if (!piece) return fail(piece.error());
      if (piece->empty()) break;
      at += piece->size();
      std::string decoded;
      const smtp::BodyDecoder::Step step = decoder.feed(*piece, decoded);
      if (step.consumed < piece->size()) return fail(Errc::invalid, "something follows its final dot");
    }
    return decoder.ended() ? Result<>() : fail(Errc::invalid, "it has no final dot");
  }

  Result<> read_head() {
    std::string text;
    while (true) {
      const Result<std::string> piece = read(text.size());
      if (!piece) return fail(piece.error());
      text += *piece;
      Result<std::optional<DropHead>> parsed = parse_drop_head(text);
      if (!parsed) return fail(parsed.error());
      if (*parsed) {
        head = **std::move(parsed);
        return {};
      }
      if (piece->empty()) return fail(Errc::invalid, "its envelope does not end");
    }
  }

  /// Blocks. "" at its end.
  Result<std::string> read(std::uint64_t at) const {
    std::string piece(kPiece, '\0');
    const ssize_t got = ::pread(fd, piece.data(), piece.size(), static_cast<off_t>(at));
    if (got < 0) return fail(Errc::io, errno_text());
    piece.resize(static_cast<std::size_t>(got));
    return piece;
  }

  int fd = -1;
  std::uint32_t owner = 0;
  std::time_t written = 0;
  DropHead head;
  std::vector<Refused> refused;
};

/// Our end of a session.
struct Maildrop::Dialogue {
  explicit Dialogue(std::unique_ptr<net::Stream> end) : stream(std::move(end)), in(*stream) {}
  std::unique_ptr<net::Stream> stream;
  net::LineBuffer in;
};

Maildrop::Maildrop(ServerContext& context, Server& server, std::string folder)
    : context_(context),
      server_(server),
      folder_(std::move(folder)),
      listener_(local_listener()),
      scope_(context.runtime, on_exception) {}

void Maildrop::start() {
  scope_.spawn(watch());
}

net::Task<> Maildrop::watch() {
  while (!scope_.stopping()) {
    const bool put_off = co_await look();
    const net::Duration wait = put_off ? kPause : kEvery;
    bool slept = co_await context_.runtime.sleep_for(wait, scope_.stop_token());
    (void)slept;  // the loop sees a stop
  }
}

/// Takes what is there, oldest first. True if some of it has to wait.
net::Task<bool> Maildrop::look() {
  const std::vector<std::string> names = co_await list();
  bool put_off = false;
  for (const std::string& name : names) {
    if (scope_.stopping()) co_return true;
    const bool waits = co_await take(name);
    put_off = put_off || waits;
  }
  co_return put_off;
}

net::Task<std::vector<std::string>> Maildrop::list() {
  auto found = std::make_shared<Result<Names>>();
  auto corrupt = std::make_shared<std::uint64_t>(0);
  const auto read = [found, corrupt, folder = folder_] {
    *found = read_names(folder + kFolder);
    if (*found) remove_stale(folder + kFolder, (*found)->unfinished);
    const Result<Names> aside = read_names(folder + kCorrupt);
    if (aside) *corrupt = aside->whole.size();
  };
  co_await context_.runtime.offload(read);
  corrupt_ = *corrupt;
  if (!*found && !failing_) log::failure("mail in the drop folder waits: " + found->error().what);
  failing_ = !*found;
  if (!*found) co_return std::vector<std::string>();
  std::vector<std::string> names = std::move((*found)->whole);
  std::sort(names.begin(), names.end());
  // Of many the next ones: those that have to wait are not in the way of others.
  if (names.size() > kMostNames) {
    std::rotate(names.begin(), std::upper_bound(names.begin(), names.end(), last_), names.end());
    names.resize(kMostNames);
    last_ = names.back();
  }
  co_return names;
}

/// One file. True if it has to wait.
net::Task<bool> Maildrop::take(std::string name) {
  const std::string path = folder_ + kFolder + name;
  // The commands and the stuffed dots come on top of what the limit is for; the session counts exactly.
  const std::uint64_t most = 2 * context_.config()->limits.message_size + DropHead::kMaxOctets;
  auto file = std::make_shared<File>();
  auto opened = std::make_shared<Result<>>();
  const auto open = [file, opened, path, most] { *opened = file->open(path, most); };
  co_await context_.runtime.offload(open);
  if (!*opened && opened->error().code == Errc::not_found) co_return false;
  if (!*opened && opened->error().code == Errc::io) {
    log::warning(path + " waits: " + opened->error().what);
    co_return true;
  }
  if (!*opened) co_return co_await set_aside(name, opened->error().what);

  std::string why;
  const Verdict verdict = co_await submit(*file, why);
  if (verdict == Verdict::put_off) {
    log::warning(path + " waits: " + why);
    co_return true;
  }
  if (verdict == Verdict::refused) {
    Result<> told = co_await bounce(*file);
    // Others have the message by now: it is not taken again for want of a notification.
    const bool is_taken = file->refused.size() < file->head.recipients.size();
    while (!told && is_taken && told.error().code != Errc::invalid && !scope_.stopping()) {
      log::warning(path + ": its sender is told later: " + told.error().what);
      bool slept = co_await context_.runtime.sleep_for(kPause, scope_.stop_token());
      (void)slept;  // a stop is seen above
      told = co_await bounce(*file);
    }
    if (!told && told.error().code != Errc::invalid) {
      log::warning(path + " waits: " + told.error().what);
      co_return true;
    }
    if (!told) co_return co_await set_aside(name, why);
  }
  auto failed = std::make_shared<std::string>();
  const auto remove = [path, failed] {
    if (::unlink(path.c_str()) != 0) *failed = errno_text();
  };
  co_await context_.runtime.offload(remove);
  if (failed->empty()) co_return false;
  log::failure(path + " was taken, and cannot be removed: it will be taken again: " + *failed);
  co_return true;
}

/// As the client of a session of ours. `why` it was not taken.
net::Task<Maildrop::Verdict> Maildrop::submit(File& file, std::string& why) {
  net::MemoryPairOptions options;
  options.first_address = net::Address::of_user(file.owner);
  options.second_address = net::Address::local(folder_);
  std::pair<std::unique_ptr<net::Stream>, std::unique_ptr<net::Stream>> ends =
      net::memory_pair(context_.runtime, options);
  Dialogue dialogue(std::move(ends.first));
  server_.admit(std::move(ends.second), listener_);

  const bool over = file.written + context_.config()->queue.expire.count() < std::time(nullptr);
  // How it goes on after a reply; nullopt: it does.
  const auto end_of = [&why, over](const Result<smtp::Reply>& reply) -> std::optional<Verdict> {
    if (reply && (reply->positive() || reply->intermediate())) return std::nullopt;
    why = reply ? reply->text() : reply.error().what;
    // As with what was accepted, there is an end to waiting.
    return reply && (reply->permanent() || over) ? Verdict::refused : Verdict::put_off;
  };
  const std::vector<std::string> opening{"", "EHLO localhost", file.head.mail};
  for (const std::string& line : opening) {
    const Result<smtp::Reply> reply = co_await ask(dialogue, line);
    const std::optional<Verdict> end = end_of(reply);
    if (end == Verdict::refused) refuse_all(file, *reply);
    if (end) co_return *end;
  }
  for (const std::string& line : file.head.recipients) {
    const Result<smtp::Reply> reply = co_await ask(dialogue, line);
    std::optional<Verdict> end = end_of(reply);
    // With those before it more than a message may have, such as an alias stands for: waiting makes them no fewer.
    if (reply && reply->enhanced == smtp::EnhancedCode{4, 5, 3}) end = Verdict::refused;
    if (end == Verdict::put_off) co_return *end;
    if (end) file.refused.push_back({line, *reply});
  }
  if (file.refused.size() == file.head.recipients.size()) co_return Verdict::refused;
  const Result<smtp::Reply> start = co_await ask(dialogue, "DATA");
  std::optional<Verdict> end = end_of(start);
  if (end == Verdict::refused) refuse_all(file, *start);
  if (end) co_return *end;
  const Result<smtp::Reply> reply = co_await send_content(dialogue, file);
  end = end_of(reply);
  if (end == Verdict::refused) refuse_all(file, *reply);
  if (end) co_return *end;
  co_return file.refused.empty() ? Verdict::taken : Verdict::refused;
}

/// Its sender was told that it is on its way: now that some recipients are refused, which.
/// Errors: invalid (there is nobody to tell), those of queue::Store::commit.
net::Task<Result<>> Maildrop::bounce(File& file) {
  const std::shared_ptr<const conf::Config> config = context_.config();
  auto piece = std::make_shared<Result<std::string>>();
  const auto read = [&file, piece] { *piece = file.read(file.head.octets); };
  co_await context_.runtime.offload(read);
  if (!*piece) co_return fail(piece->error());
  std::string original;
  smtp::BodyDecoder decoder;
  decoder.feed(**piece, original);

  queue::Draft draft = context_.store.draft();
  std::optional<queue::Notification> report =
      refusal_report(*config, file, delivery::header_section(original), draft.id(), context_.runtime.wall_now());
  if (!report) co_return fail(Errc::invalid, "nobody is to be told");
  delivery::assign_destinations(*config, report->message);
  const std::string id = report->message.id.text();
  const std::string to = report->message.envelope.recipients.front().forward_path.text();
  const std::size_t octets = report->message.trace.size() + report->body.size();
  draft.buffer() = std::move(report->body);
  queue::BodyNotes notes;
  notes.eight_bit = !is_ascii(draft.buffer());
  notes.dot_lines = true;  // not looked for
  std::optional<queue::Notification> nothing;
  Result<> committed = co_await context_.store.commit(std::move(report->message), std::move(draft), notes, nothing);
  if (!committed) co_return committed;
  log::queued(id, "", octets, 1);
  log::warning("mail in the drop folder was refused: " + to + " is told by " + id);
  co_return Result<>();
}

/// nullopt: the reverse-path is null, or is none; or nobody of the refused is to be told of.
std::optional<queue::Notification> Maildrop::refusal_report(const conf::Config& config, const File& file,
                                                            const std::string& header, queue::Id id,
                                                            net::WallTime now) const {
  smtp::CommandRules rules;
  rules.bare_path = rules.path_without_domain = rules.utf8_transaction = true;
  rules.offered.size = rules.offered.eight_bit_mime = rules.offered.dsn = rules.offered.smtputf8 = true;
  rules.offered.require_tls = true;
  const tl::expected<smtp::Command, smtp::Reply> mail = smtp::parse_command(file.head.mail, rules);
  const smtp::Mail* sender = mail ? std::get_if<smtp::Mail>(&*mail) : nullptr;
  if (sender == nullptr) return std::nullopt;
  queue::MessageInfo info;
  info.id = context_.store.draft().id();
  info.reverse_path = completed(config, listener_.role, sender->reverse_path);
  info.envid = sender->parameters.envid;
  info.arrival = now;
  std::vector<delivery::Subject> subjects;
  for (const Refused& refused : file.refused) {
    const tl::expected<smtp::Command, smtp::Reply> command = smtp::parse_command(refused.command, rules);
    const smtp::Rcpt* recipient = command ? std::get_if<smtp::Rcpt>(&*command) : nullptr;
    if (recipient == nullptr) return std::nullopt;
    delivery::Subject subject{completed(config, listener_.role, recipient->forward_path), recipient->parameters.notify,
                              delivery::ReportedRecipient()};
    subject.report.address = subject.forward_path.text();
    subject.report.orcpt = recipient->parameters.orcpt;
    subject.report.status = refused.reply.enhanced ? refused.reply.enhanced->text() : "5.0.0";
    subject.report.reply = refused.reply.text();
    subjects.push_back(std::move(subject));
  }
  if (info.reverse_path.is_null()) return std::nullopt;
  subjects = delivery::to_be_told(info, std::move(subjects));
  const delivery::Notifier notifier{config.hostname, config.queue.bounce_expire};
  return delivery::compose_notification(notifier, info, subjects, header, id, now);
}

void Maildrop::refuse_all(File& file, const smtp::Reply& reply) {
  file.refused.clear();
  for (const std::string& command : file.head.recipients) file.refused.push_back({command, reply});
}

/// The reply to the line, or to nothing where it is "": the greeting.
net::Task<Result<smtp::Reply>> Maildrop::ask(Dialogue& dialogue, std::string line) {
  const net::TimePoint deadline = context_.runtime.now() + kReplyTimeout;
  if (!line.empty()) {
    line += "\r\n";
    const std::string_view whole = line;
    Result<> sent = co_await dialogue.stream->write(whole, deadline);
    if (!sent) co_return fail(std::move(sent.error()));
  }
  smtp::ReplyParser parser;
  while (true) {
    Result<net::LineBuffer::Line> got = co_await dialogue.in.read_line(4096, deadline);
    if (!got) co_return fail(std::move(got.error()));
    Result<std::optional<smtp::Reply>> reply = parser.on_line(got->text);
    if (!reply) co_return fail(std::move(reply.error()));
    if (*reply) co_return **std::move(reply);
  }
}

net::Task<Result<smtp::Reply>> Maildrop::send_content(Dialogue& dialogue, File& file) {
  std::uint64_t at = file.head.octets;
  while (true) {
    auto piece = std::make_shared<Result<std::string>>();
    const auto read = [&file, piece, at] { *piece = file.read(at); };
    co_await context_.runtime.offload(read);
    if (!*piece) co_return fail(piece->error());
    if ((*piece)->empty()) break;
    at += (*piece)->size();
    const std::string_view whole = **piece;
    const net::TimePoint deadline = context_.runtime.now() + kReplyTimeout;
    Result<> sent = co_await dialogue.stream->write(whole, deadline);
    if (!sent) co_return fail(std::move(sent.error()));
  }
  co_return co_await ask(dialogue, "");
}

/// It will never be taken: an administrator is to look at it. True if it could not be moved, and is still there.
net::Task<bool> Maildrop::set_aside(std::string name, std::string why) {
  auto failed = std::make_shared<std::string>();
  const auto move = [failed, name, folder = folder_] {
    const std::string corrupt = folder + kCorrupt;
    const std::string to = corrupt + "/" + name;
    const bool made = ::mkdir(corrupt.c_str(), 0700) == 0 || errno == EEXIST;
    if (!made || ::rename((folder + kFolder + name).c_str(), to.c_str()) != 0) *failed = errno_text();
  };
  co_await context_.runtime.offload(move);
  if (!failed->empty()) {
    log::failure("the file " + name + " in the drop folder is refused (" + why + "), and stays there: " + *failed);
    co_return true;
  }
  ++corrupt_;
  log::failure("the file " + name + " of the drop folder is refused, and kept in " + folder_ + kCorrupt + ": " + why);
  co_return false;
}

}  // namespace waypost::mta
