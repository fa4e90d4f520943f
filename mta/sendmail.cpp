// mta/sendmail.cpp: what programs of this machine call to send mail. sendmail(1), mailq(1), newaliases(1)
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/escape.h"
#include "base/text.h"
#include "conf/load.h"
#include "mta/client.h"
#include "mta/cmd_config.h"
#include "mta/cmd_queue.h"
#include "mta/cmd_status.h"
#include "mta/login_name.h"
#include "mta/mailq.h"
#include "mta/sendmail_message.h"
#include "mta/sendmail_options.h"
#include "mta/sendmail_submit.h"
#include "net/secure_random.h"
#include "smtp/date.h"

namespace waypost::mta {
namespace {

using Mode = SendmailOptions::Mode;

constexpr const char* kHelper = "/usr/lib/waypost/drop";
constexpr std::size_t kPiece = 65536;

void complain(const std::string& why) {
  std::cerr << "sendmail: " << escape(why, 2000) << "\n";
}

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

/// What this program knows of the relay. Users may not read the configuration: then the usual paths serve.
struct Place {
  std::string file;
  conf::Config config;
  std::string domain;  ///< of addresses without one
};

std::string first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return std::string(trim(line));
}

/// nullopt: said why.
std::optional<Place> find_place(const SendmailOptions& options) {
  Place place;
  place.file = options.config.empty() ? conf::kUsualFile : options.config;
  const bool readable = ::access(place.file.c_str(), R_OK) == 0;
  if (!readable && !options.config.empty()) {
    complain(place.file + ": " + std::strerror(errno));
    return std::nullopt;
  }
  // One with errors serves as far as it could be read: the daemon may run with the one before it.
  if (readable) place.config = conf::load(place.file).config;
  place.domain = place.config.origin.empty() ? place.config.hostname : place.config.origin;
  if (place.domain.empty()) place.domain = first_line("/etc/mailname");
  if (place.domain.empty()) place.domain = conf::load_text("", "").config.hostname;
  if (place.domain.empty()) place.domain = "localhost";
  return place;
}

struct Caller {
  std::string login, name;
};

Caller find_caller() {
  Caller caller;
  caller.login = login_name(::getuid());
  if (caller.login.empty()) caller.login = "uid=" + std::to_string(::getuid());
  if (const passwd* entry = ::getpwuid(::getuid())) caller.name = split_once(entry->pw_gecos, ',').first;
  return caller;
}

std::string random_text() {
  std::string out;
  for (char each : net::secure_random(9)) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const auto octet = static_cast<unsigned char>(each);
    out += kDigits[octet >> 4];
    out += kDigits[octet & 15];
  }
  return out;
}

MissingFields missing_fields(const SendmailOptions& options, const Caller& caller, const Place& place) {
  using namespace std::chrono;
  const auto now = time_point_cast<milliseconds>(system_clock::now());
  const std::time_t seconds = system_clock::to_time_t(now);
  std::tm local{};
  localtime_r(&seconds, &local);
  std::string author = options.sender && !options.sender->is_null() ? options.sender->text() : caller.login;
  const bool bare = !options.sender || options.sender->is_null() || options.sender->mailbox.domain.empty();
  if (bare) author += "@" + place.domain;
  MissingFields missing;
  missing.from = from_value(options.name.empty() ? caller.name : options.name, author);
  missing.date = smtp::rfc5322_date(now, minutes(local.tm_gmtoff / 60));
  missing.message_id = "<" + std::to_string(seconds) + "." + random_text() + "@" + place.domain + ">";
  return missing;
}

/// Standard input as a message, into `to`. Returns an exit code: what is wrong was said.
int read_message(SendmailMessage& message, std::FILE* to, std::uint64_t& octets) {
  std::array<char, kPiece> piece;
  bool at_end = false;
  while (!at_end) {
    const ssize_t got = ::read(STDIN_FILENO, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      complain(std::string("reading the message: ") + std::strerror(errno));
      return EX_IOERR;
    }
    std::string out;
    Result<> taken = message.feed(std::string_view(piece.data(), static_cast<std::size_t>(got)), out);
    at_end = got == 0 || message.ended();
    if (taken && at_end) taken = message.finish(out);
    if (!taken) {
      complain(taken.error().what);
      return EX_DATAERR;
    }
    octets += out.size();
    if (std::fwrite(out.data(), 1, out.size(), to) == out.size()) continue;
    complain(std::string("keeping the message: ") + std::strerror(errno));
    return EX_TEMPFAIL;
  }
  if (std::fflush(to) == 0) return 0;
  complain(std::string("keeping the message: ") + std::strerror(errno));
  return EX_TEMPFAIL;
}

int exit_code_of(const smtp::Reply& reply) {
  const std::uint16_t subject = reply.enhanced ? reply.enhanced->subject : 0;
  if (subject == 1) return EX_NOUSER;
  if (subject == 7) return EX_NOPERM;
  return subject == 3 || subject == 5 || subject == 6 ? EX_DATAERR : EX_UNAVAILABLE;
}

/// The helper and the folder that it is to write to. The installed one knows the only folder that it may.
std::pair<std::string, std::string> helper(const Place& place) {
  // Not where somebody else's rights are in play.
  const char* folder = ::secure_getenv("WAYPOST_HELPERS");
  if (folder == nullptr) return {kHelper, ""};
  return {std::string(folder) + "/drop", place.config.data_dir + "/maildrop"};
}

/// Nothing is lost without a word: what is refused is said, the rest is with the daemon or in the drop folder.
int hand_over(const Place& place, Submission submission, const Listening& listening) {
  const Submitted done = submit(place.config.submit_socket, submission, listening);
  int code = 0;
  for (const Refusal& refusal : done.refused) {
    const std::string whom = refusal.recipient.empty() ? "the message" : "<" + refusal.recipient + ">";
    complain(whom + " is refused: " + refusal.reply.text());
    if (code == 0) code = exit_code_of(refusal.reply);
  }
  if (done.left.empty()) return code;
  submission.envelope.recipients = done.left;
  const auto [program, folder] = helper(place);
  const Result<> kept = drop(program, folder, submission);
  if (kept && listening) listening("(kept in the drop folder: " + done.why_left + ")");
  if (kept) return code;
  complain(done.why_left + "; and " + kept.error().what);
  return EX_TEMPFAIL;
}

int deliver(const SendmailOptions& options, const Place& place, const Listening& listening) {
  const Caller caller = find_caller();
  const File spool(std::tmpfile());
  if (!spool) {
    complain(std::string("a temporary file: ") + std::strerror(errno));
    return EX_TEMPFAIL;
  }
  SendmailMessage message(missing_fields(options, caller, place), !options.ignore_dots, options.take_recipients);
  std::uint64_t octets = 0;
  if (const int failed = read_message(message, spool.get(), octets); failed != 0) return failed;

  Submission submission;
  submission.content = ::fileno(spool.get());
  smtp::Envelope& envelope = submission.envelope;
  if (options.sender)
    envelope.reverse_path = *options.sender;
  else
    envelope.reverse_path.mailbox.local = caller.login;
  std::vector<smtp::Path> paths = options.recipients;
  for (const smtp::Mailbox& mailbox : message.recipients()) paths.push_back(smtp::Path{mailbox});
  for (const smtp::Path& path : paths) {
    const bool known = std::any_of(envelope.recipients.begin(), envelope.recipients.end(),
                                   [&path](const smtp::EnvelopeRecipient& each) { return each.forward_path == path; });
    if (!known) envelope.recipients.push_back({path, options.notify, ""});
  }
  if (envelope.recipients.empty()) {
    complain("no recipients: name some, or take those of the header with -t");
    return EX_USAGE;
  }
  envelope.body = message.eight_bit() ? smtp::BodyType::eight_bit_mime : smtp::BodyType::seven_bit;
  if (options.body) envelope.body = std::max(envelope.body, *options.body);
  envelope.size = octets - smtp::kEndOfData.size();
  envelope.ret = options.ret;
  envelope.envid = options.envid;
  envelope.require_tls = options.require_tls;
  envelope.smtputf8 = options.smtputf8 || !is_ascii(envelope.reverse_path.text());
  for (const smtp::Path& path : paths) envelope.smtputf8 = envelope.smtputf8 || !is_ascii(path.text());
  return hand_over(place, std::move(submission), listening);
}

/// As far as the first reply that is no 2xx. Errors: as SubmitDialogue.
Result<smtp::Reply> begin(SubmitDialogue& dialogue, const smtp::Envelope& envelope) {
  Result<smtp::Reply> reply = dialogue.greeting();
  if (reply && reply->positive()) reply = dialogue.command("EHLO localhost");
  if (reply && reply->positive()) reply = dialogue.command(mail_command(envelope));
  return reply;
}

/// Whether the daemon would take each.
int verify(const SendmailOptions& options, const Place& place, const Listening& listening) {
  if (options.recipients.empty()) {
    complain("no addresses to verify");
    return EX_USAGE;
  }
  Result<SubmitDialogue> dialogue = SubmitDialogue::open(place.config.submit_socket, listening);
  smtp::Envelope envelope;
  envelope.reverse_path.mailbox.local = find_caller().login;
  if (options.sender) envelope.reverse_path = *options.sender;
  Result<smtp::Reply> reply = dialogue ? begin(*dialogue, envelope) : Result<smtp::Reply>(fail(dialogue.error()));
  if (!reply || !reply->positive()) {
    complain("addresses cannot be verified: " + (reply ? reply->text() : reply.error().what));
    return reply && reply->permanent() ? EX_UNAVAILABLE : EX_TEMPFAIL;
  }
  int code = 0;
  for (const smtp::Path& path : options.recipients) {
    reply = dialogue->command(rcpt_command({path, {}, ""}));
    if (!reply) {
      complain(reply.error().what);
      return EX_TEMPFAIL;
    }
    const char* verdict = reply->positive() ? "deliverable" : reply->permanent() ? "undeliverable" : "not now";
    std::cout << escape(path.text()) << "... " << verdict << ": " << escape(reply->text()) << "\n";
    if (!reply->positive() && code == 0) code = reply->permanent() ? exit_code_of(*reply) : EX_TEMPFAIL;
  }
  (void)dialogue->command("QUIT");  // its reply changes nothing
  return code;
}

/// Octets both ways, as they come, until one side ends.
int pass_through(const Place& place) {
  Result<SubmitDialogue> dialogue = SubmitDialogue::open(place.config.submit_socket, nullptr);
  if (!dialogue) {
    std::cout << "421 4.3.2 The mail service does not run\r\n" << std::flush;
    complain(dialogue.error().what);
    return EX_TEMPFAIL;
  }
  const int daemon = dialogue->fd();
  std::array<pollfd, 2> watched{{{STDIN_FILENO, POLLIN, 0}, {daemon, POLLIN, 0}}};
  std::array<char, kPiece> piece;
  while (true) {
    if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) return EX_OSERR;
    for (std::size_t i = 0; i < watched.size(); ++i) {
      if (watched[i].revents == 0) continue;
      const ssize_t got = ::read(watched[i].fd, piece.data(), piece.size());
      const bool from_daemon = i == 1;
      if (got <= 0 && from_daemon) return 0;
      if (got <= 0) {
        // What was said last may still be answered.
        (void)::shutdown(daemon, SHUT_WR);
        watched[i].fd = -1;
        continue;
      }
      std::string_view rest(piece.data(), static_cast<std::size_t>(got));
      while (!rest.empty()) {
        const ssize_t written = ::write(from_daemon ? STDOUT_FILENO : daemon, rest.data(), rest.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return EX_IOERR;
        rest.remove_prefix(static_cast<std::size_t>(written));
      }
    }
  }
}

Console console_of(const Place& place, RelayClient& relay, std::ostream& out) {
  return Console{out,
                 std::cerr,
                 [file = place.file] { return file; },
                 [&relay](const ControlRequest& request) { return relay.ask(request); },
                 [] { return std::chrono::time_point_cast<net::WallTime::duration>(std::chrono::system_clock::now()); },
                 [&relay]() -> Result<std::string> { return relay.data_dir(); }};
}

/// There is no database to be built: the daemon reads the files anew, or will when it starts.
int renew_aliases(const Place& place, Console& console) {
  ControlRequest request;
  const Result<ControlAnswer> there = ask_daemon(place.config.control_socket, request);
  const bool away = !there && there.error().code == Errc::refused;
  return away ? config_check(place.file, false, console) : reload(console);
}

/// What waits, or what of it the filter names. That nothing does is no failure here, and nothing to be told.
int retry_now(const SendmailOptions& options, Console& console) {
  std::ostringstream said;
  Console own{console.out, said, console.config_file, console.ask, console.now, console.data_dir};
  QueueChangeOptions retry;
  retry.verb = "retry";
  retry.messages = options.filter;
  retry.all = options.filter.empty();
  retry.yes = true;
  const int code = queue_change(retry, own);
  if (code == 1) return 0;
  console.err << said.str();
  return code;
}

int run(int argc, char** argv) {
  std::string_view program = argc > 0 ? argv[0] : "sendmail";
  program = program.substr(program.rfind('/') + 1);
  const std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  const Result<SendmailOptions> options = parse_sendmail_options(program, arguments);
  if (!options) {
    complain(options.error().what);
    return options.error().code == Errc::unsupported ? EX_USAGE : EX_DATAERR;
  }
  if (options->mode == Mode::nothing) return 0;
  if (options->mode == Mode::daemon) {
    complain("the daemon is waypostd(8): systemctl start waypost, or waypostd --config " + std::string(conf::kUsualFile));
    return EX_USAGE;
  }
  const std::optional<Place> place = find_place(*options);
  if (!place) return EX_CONFIG;
  Listening listening;
  if (options->verbose) listening = [](std::string_view line) { std::cout << escape(line) << "\n" << std::flush; };

  std::ostream silence(nullptr);
  RelayClient relay(place->config.control_socket, place->config.data_dir, silence);
  const bool quiet = options->mode == Mode::retry && !options->verbose;
  Console console = console_of(*place, relay, quiet ? silence : std::cout);
  switch (options->mode) {
    case Mode::session:
      return pass_through(*place);
    case Mode::verify:
      return verify(*options, *place, listening);
    case Mode::queue:
      return print_mailq(console);
    case Mode::aliases:
      return renew_aliases(*place, console);
    case Mode::retry:
      return retry_now(*options, console);
    default:
      return deliver(*options, *place, listening);
  }
}

}  // namespace
}  // namespace waypost::mta

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  const int code = waypost::mta::run(argc, argv);
  std::cout.flush();
  return code;
}
