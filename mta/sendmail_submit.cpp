#include "mta/sendmail_submit.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "smtp/parameters.h"
#include "smtp/reply_parser.h"

namespace waypost::mta {
namespace {

constexpr long kGreetingSeconds = 30;  // a daemon that is there says it at once; else the drop folder is quicker
constexpr long kReplySeconds = 300;    // RFC 5321 §4.5.3.2
constexpr long kDataSeconds = 600;
constexpr std::size_t kPiece = 65536;
constexpr std::size_t kDropRecipients = 100;  // of a file: what any relay takes at once (RFC 5321 §4.5.3.1.8)
constexpr std::size_t kMaxReceived = 1 << 16;

Error from_errno(const std::string& what) {
  const int number = errno;
  Errc code = Errc::io;
  if (number == EPIPE || number == ECONNRESET) code = Errc::closed;
  if (number == EAGAIN || number == EWOULDBLOCK) code = Errc::timed_out;
  return Error(code, what + ": " + std::strerror(number));
}

Result<> write_all(int fd, std::string_view octets) {
  while (!octets.empty()) {
    const ssize_t written = ::write(fd, octets.data(), octets.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(from_errno("write"));
    octets.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

/// The whole file, whatever its offset is.
Result<> copy_file(int from, int to) {
  std::array<char, kPiece> piece;
  off_t at = 0;
  while (true) {
    const ssize_t got = ::pread(from, piece.data(), piece.size(), at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(from_errno("reading the message"));
    if (got == 0) return {};
    const Result<> written = write_all(to, std::string_view(piece.data(), static_cast<std::size_t>(got)));
    if (!written) return written;
    at += got;
  }
}

enum class Verdict { yes, no, later };

Verdict verdict(const Result<smtp::Reply>& reply) {
  if (!reply || reply->transient()) return Verdict::later;
  return reply->permanent() ? Verdict::no : Verdict::yes;
}

bool is_too_many(const Result<smtp::Reply>& reply) {
  return reply && reply->enhanced && *reply->enhanced == smtp::EnhancedCode{4, 5, 3};
}

std::string text(const Result<smtp::Reply>& reply) {
  return reply ? reply->text() : reply.error().what;
}

/// Of all that are left. False: nothing more is to be tried.
bool end(const Result<smtp::Reply>& reply, Submitted& out) {
  if (verdict(reply) == Verdict::no) {
    out.refused.push_back({"", *reply});
    out.left.clear();
  } else {
    out.why_left = text(reply);
  }
  return false;
}

/// One transaction, for as many of those that are left as it may have. True: it is the others' turn.
bool transact(SubmitDialogue& dialogue, const Submission& submission, Submitted& out) {
  Result<smtp::Reply> reply = dialogue.command(mail_command(submission.envelope));
  if (verdict(reply) != Verdict::yes) return end(reply, out);
  const std::vector<smtp::EnvelopeRecipient> asked = std::exchange(out.left, {});
  std::ptrdiff_t taken = 0;
  bool goes_on = true;
  for (const smtp::EnvelopeRecipient& recipient : asked) {
    if (goes_on) reply = dialogue.command(rcpt_command(recipient));
    const Verdict said = goes_on ? verdict(reply) : Verdict::later;
    if (said == Verdict::no) {
      out.refused.push_back({recipient.forward_path.text(), *reply});
      continue;
    }
    out.left.push_back(recipient);
    if (said == Verdict::yes) ++taken;
    goes_on = said == Verdict::yes;
  }
  const bool is_full = taken > 0 && is_too_many(reply);
  if (!goes_on && !is_full) return end(reply, out);
  if (taken == 0) return false;
  if (submission.counted) {
    reply = dialogue.counted(submission.content);
  } else {
    reply = dialogue.command("DATA");
    if (!reply || !reply->intermediate()) return end(reply, out);
    reply = dialogue.content(submission.content);
  }
  out.in_doubt = !reply;
  if (verdict(reply) != Verdict::yes) return end(reply, out);
  out.taken.insert(out.taken.end(), out.left.begin(), out.left.begin() + taken);
  out.left.erase(out.left.begin(), out.left.begin() + taken);
  return !out.left.empty();
}

/// To the helper's standard input, which ends with it. Returns how the helper ended.
Result<> write_drop(const std::string& helper, const std::string& folder, const std::string& head, int content) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(from_errno("pipe"));
  const pid_t child = ::fork();
  if (child == 0) {
    (void)::dup2(ends[0], STDIN_FILENO);
    const char* arguments[] = {helper.c_str(), folder.empty() ? nullptr : folder.c_str(), nullptr};
    char* environment[] = {nullptr};
    ::execve(helper.c_str(), const_cast<char* const*>(arguments), environment);
    ::_exit(127);
  }
  ::close(ends[0]);
  Result<> written = child < 0 ? fail(from_errno("fork")) : write_all(ends[1], head);
  if (written) written = copy_file(content, ends[1]);
  ::close(ends[1]);
  int status = 0;
  while (child > 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0) return written;
  const bool absent = child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 127;
  return fail(Errc::busy, helper + (absent ? " cannot be run" : " could not keep the message"));
}

}  // namespace

Result<SubmitDialogue> SubmitDialogue::open(const std::string& socket, Listening listening) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket.empty()) return fail(Errc::unreachable, "the configuration has no submit_socket");
  if (socket.size() >= sizeof address.sun_path) return fail(Errc::unreachable, socket + ": too long a path");
  std::memcpy(address.sun_path, socket.data(), socket.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(from_errno("socket"));
  const timeval patience{kReplySeconds, 0};
  (void)::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const std::string why = socket + ": " + std::strerror(errno);
    ::close(fd);
    return fail(Errc::unreachable, why);
  }
  return SubmitDialogue(fd, std::move(listening));
}

SubmitDialogue::SubmitDialogue(SubmitDialogue&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      listening_(std::move(other.listening_)),
      received_(std::move(other.received_)) {}

SubmitDialogue::~SubmitDialogue() {
  if (fd_ >= 0) ::close(fd_);
}

Result<> SubmitDialogue::send(std::string_view octets) {
  while (!octets.empty()) {
    const ssize_t sent = ::send(fd_, octets.data(), octets.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return fail(from_errno("sending to the daemon"));
    octets.remove_prefix(static_cast<std::size_t>(sent));
  }
  return {};
}

Result<smtp::Reply> SubmitDialogue::reply(long seconds) {
  const timeval patience{seconds, 0};
  (void)::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  smtp::ReplyParser parser;
  while (true) {
    const std::size_t end = received_.find('\n');
    if (end != std::string::npos) {
      std::string line = received_.substr(0, end);
      received_.erase(0, end + 1);
      if (line.ends_with('\r')) line.pop_back();
      if (listening_) listening_(line);
      Result<std::optional<smtp::Reply>> whole = parser.on_line(line);
      if (!whole) return fail(whole.error());
      if (*whole) return **std::move(whole);
      continue;
    }
    std::array<char, 4096> piece;
    const ssize_t got = ::recv(fd_, piece.data(), piece.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(from_errno("waiting for the daemon"));
    if (got == 0) return fail(Errc::closed, "the daemon closed the connection");
    received_.append(piece.data(), static_cast<std::size_t>(got));
    if (received_.size() > kMaxReceived) return fail(Errc::protocol, "the daemon does not speak SMTP");
  }
}

Result<smtp::Reply> SubmitDialogue::greeting() {
  return reply(kGreetingSeconds);
}

Result<smtp::Reply> SubmitDialogue::command(const std::string& line) {
  if (listening_) listening_(">>> " + line);
  const Result<> sent = send(line + "\r\n");
  if (!sent) return fail(sent.error());
  return reply(kReplySeconds);
}

Result<smtp::Reply> SubmitDialogue::content(int file) {
  if (listening_) listening_(">>> (the message)");
  const Result<> sent = copy_file(file, fd_);
  if (!sent) return fail(sent.error());
  return reply(kDataSeconds);
}

Result<smtp::Reply> SubmitDialogue::counted(int file) {
  struct stat facts {};
  if (::fstat(file, &facts) != 0) return fail(from_errno("reading the message"));
  if (listening_) listening_(">>> (the message)");
  Result<> sent = send("BDAT " + std::to_string(facts.st_size) + " LAST\r\n");
  if (sent) sent = copy_file(file, fd_);
  if (!sent) return fail(sent.error());
  return reply(kDataSeconds);
}

std::string mail_command(const smtp::Envelope& envelope) {
  smtp::MailParameters parameters;
  parameters.size = envelope.size;
  parameters.smtputf8 = envelope.smtputf8;
  parameters.require_tls = envelope.require_tls;
  parameters.ret = envelope.ret;
  parameters.envid = envelope.envid;
  parameters.body = envelope.body;
  return "MAIL FROM:" + envelope.reverse_path.bracketed() + smtp::text(parameters);
}

std::string rcpt_command(const smtp::EnvelopeRecipient& recipient) {
  smtp::RcptParameters parameters;
  parameters.notify = recipient.notify;
  parameters.orcpt = recipient.orcpt;
  return "RCPT TO:" + recipient.forward_path.bracketed() + smtp::text(parameters);
}

Submitted submit(const std::string& socket, const Submission& submission, const Listening& listening) {
  Submitted out;
  out.left = submission.envelope.recipients;
  Result<SubmitDialogue> dialogue = SubmitDialogue::open(socket, listening);
  if (!dialogue) {
    out.why_left = dialogue.error().what;
    return out;
  }
  Result<smtp::Reply> reply = dialogue->greeting();
  if (verdict(reply) == Verdict::yes) reply = dialogue->command("EHLO localhost");
  bool goes_on = verdict(reply) == Verdict::yes || end(reply, out);
  while (goes_on) goes_on = transact(*dialogue, submission, out);
  (void)dialogue->command("QUIT");  // its reply changes nothing
  return out;
}

Result<> drop(const std::string& helper, const std::string& folder, const Submission& submission) {
  const std::vector<smtp::EnvelopeRecipient>& recipients = submission.envelope.recipients;
  for (std::size_t begin = 0; begin < recipients.size(); begin += kDropRecipients) {
    std::string head = mail_command(submission.envelope) + "\r\n";
    for (std::size_t i = begin; i < std::min(begin + kDropRecipients, recipients.size()); ++i)
      head += rcpt_command(recipients[i]) + "\r\n";
    const Result<> written = write_drop(helper, folder, head + "DATA\r\n", submission.content);
    if (!written) return written;
  }
  return {};
}

}  // namespace waypost::mta
