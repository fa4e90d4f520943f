#include "mta/screen.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

namespace waypost::mta {
namespace {

using std::chrono::milliseconds;

// Another screen, no cursor, and lines that are too long end at the edge; and all of that back.
constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l\x1b[?7l";
constexpr std::string_view kLeave = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";
constexpr std::array kEnding{SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGPIPE, SIGALRM, SIGUSR1,
                             SIGUSR2, SIGXCPU, SIGABRT, SIGSEGV, SIGBUS,  SIGFPE,  SIGILL};
// An escape with more behind it is a key that sends several octets, which may come in two pieces.
constexpr milliseconds kRestOfKey{25};

termios before{};

// Of what may be called within a signal handler alone.
void give_back() {
  const ssize_t written = ::write(STDOUT_FILENO, kLeave.data(), kLeave.size());
  (void)written;  // the terminal has gone
  tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

extern "C" void end_by(int signal) {
  give_back();
  ::raise(signal);  // which ends the program: the handler was for once
}
extern "C" void note_size(int) {}  // a read that waits ends

class Terminal : public Screen {
 public:
  Terminal() {
    struct sigaction action {};
    action.sa_handler = end_by;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    for (const int signal : kEnding) sigaction(signal, &action, nullptr);
    struct sigaction resized {};
    resized.sa_handler = note_size;
    sigaction(SIGWINCH, &resized, nullptr);
    std::signal(SIGTSTP, SIG_IGN);  // suspended it would leave the terminal as it has it
    termios raw = before;
    raw.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON);
    raw.c_iflag &= ~static_cast<tcflag_t>(IXON);
    raw.c_cc[VSUSP] = _POSIX_VDISABLE;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
    (void)put(kEnter);
  }
  ~Terminal() override {
    for (const int signal : kEnding) std::signal(signal, SIG_DFL);
    give_back();
    std::signal(SIGTSTP, SIG_DFL);
  }

  top::Size size() const override {
    winsize window{};
    const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_row > 0 && window.ws_col > 0;
    return known ? top::Size{window.ws_row, window.ws_col} : top::Size{};
  }

  Result<> put(std::string_view octets) override {
    while (!octets.empty()) {
      const ssize_t written = ::write(STDOUT_FILENO, octets.data(), octets.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return fail(Errc::closed, std::string("the terminal: ") + std::strerror(errno));
      octets.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
  }

  Result<std::string> key(milliseconds timeout) override {
    Result<> read = typed_.empty() ? read_some(timeout) : Result<>();
    for (std::size_t had = 0; read && top::is_cut(typed_) && typed_.size() > had;) {
      had = typed_.size();
      read = read_some(kRestOfKey);
    }
    if (!read) return fail(read.error());
    const std::size_t length = top::key_length(typed_);
    std::string octets = typed_.substr(0, length);
    typed_.erase(0, length);
    return octets;
  }

 private:
  Result<> read_some(milliseconds timeout) {
    pollfd ready{STDIN_FILENO, POLLIN, 0};
    const int found = ::poll(&ready, 1, static_cast<int>(timeout.count()));
    if (found == 0 || (found < 0 && errno == EINTR)) return {};
    std::array<char, 64> octets{};
    const ssize_t got = ::read(STDIN_FILENO, octets.data(), octets.size());
    if (got < 0 && errno == EINTR) return {};
    if (got <= 0) return fail(Errc::closed, "the terminal has gone");
    typed_.append(octets.data(), static_cast<std::size_t>(got));
    return {};
  }

  std::string typed_;  // and not asked for yet
};

}  // namespace

Result<std::unique_ptr<Screen>> Screen::open() {
  const char* kind = std::getenv("TERM");
  if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDOUT_FILENO) == 0 || tcgetattr(STDIN_FILENO, &before) != 0)
    return fail(Errc::unsupported, "top is for a terminal, and there is none here");
  if (kind != nullptr && std::string_view(kind) == "dumb")
    return fail(Errc::unsupported, "top: this terminal cannot move its cursor (TERM=dumb)");
  return std::unique_ptr<Screen>(new Terminal);
}

}  // namespace waypost::mta
