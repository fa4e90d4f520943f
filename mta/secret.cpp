#include "mta/secret.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string_view>

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

namespace waypost::mta {
namespace {

constexpr std::size_t kMostOctets = 4096;

/// Octet by octet: what follows the line is another reader's.
Result<std::string> read_line(int fd) {
  std::string line;
  while (true) {
    char c = 0;
    const ssize_t got = ::read(fd, &c, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(Errc::io, std::string("reading the password: ") + std::strerror(errno));
    if (got == 0 && line.empty()) return fail(Errc::closed, "no password came");
    if (got == 0 || c == '\n') break;
    line += c;
    if (line.size() > kMostOctets) return fail(Errc::too_big, "the password is too long");
  }
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

void put(int fd, std::string_view text) {
  const ssize_t written = ::write(fd, text.data(), text.size());
  (void)written;  // a prompt that is not seen
}

/// Signals wait meanwhile: one that ends the tool would leave the terminal without echo.
class Quiet {
 public:
  explicit Quiet(int fd) : fd_(fd) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before_);
    good_ = tcgetattr(fd_, &terminal_) == 0;
    termios quiet = terminal_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    if (good_) good_ = tcsetattr(fd_, TCSAFLUSH, &quiet) == 0;
  }
  Quiet(const Quiet&) = delete;
  Quiet& operator=(const Quiet&) = delete;
  ~Quiet() {
    if (good_) tcsetattr(fd_, TCSAFLUSH, &terminal_);
    sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  bool good() const { return good_; }

 private:
  int fd_;
  bool good_ = false;
  termios terminal_{};
  sigset_t before_{};
};

Result<std::string> ask_terminal(int fd, const std::string& prompt) {
  put(fd, prompt + ": ");
  Result<std::string> line = fail(Errc::io, "the terminal does not stop its echo");
  {
    const Quiet quiet(fd);
    if (quiet.good()) line = read_line(fd);
  }
  put(fd, "\n");
  return line;
}

}  // namespace

Result<std::string> read_secret(const std::string& prompt, bool confirm) {
  if (::isatty(STDIN_FILENO) == 0) return read_line(STDIN_FILENO);
  Result<std::string> first = ask_terminal(STDIN_FILENO, prompt);
  if (!first || !confirm) return first;
  const Result<std::string> again = ask_terminal(STDIN_FILENO, prompt + ", again");
  if (!again) return again;
  if (*again != *first) return fail(Errc::invalid, "the two differ");
  return first;
}

}  // namespace waypost::mta
