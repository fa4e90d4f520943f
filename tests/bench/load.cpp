// tests/bench/load.cpp: sends messages as fast as a server takes them, and prints as JSON how long that took.
//
// Each waits for the reply to each command, as the least of clients does; --pipelining sends MAIL, RCPT and DATA at
// once. A message has its number in its Message-ID, by which bench_sink knows it.
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/bench/connection.h"

namespace {

using namespace waypost::bench;

constexpr std::size_t kDigits = 9;
constexpr std::size_t kHead = kDigits + 42;  // the field with the number

struct Options {
  std::string server;
  std::size_t connections = 20;
  std::size_t messages = 1000;
  std::size_t each = 0;
  std::size_t first = 0;
  std::size_t size = 4096;
  std::size_t recipients = 1;
  std::size_t domains = 1;
  std::string domain = "bench.example";
  std::string times;
  unsigned pause = 0;
  bool starttls = false;
  bool pipelining = false;
};

/// What follows the number: header section, lines of text, the final dot, so that the message has `size` octets.
std::string rest_of_message(std::size_t size) {
  constexpr std::string_view kLine =
      "The quick brown fox jumps over the lazy dog, again and again and again ......\r\n";
  std::string out =
      "From: <sender@client.test.example>\r\nTo: undisclosed-recipients:;\r\nSubject: load\r\n"
      "Date: Thu, 1 Oct 2026 00:00:00 +0000\r\n\r\n";
  const std::size_t wanted = size - kHead;
  while (out.size() + kLine.size() + 2 <= wanted) out += kLine;
  out.append(wanted - out.size() - 2, '.');
  return out + "\r\n.\r\n";
}

class Load {
 public:
  explicit Load(Options options) : options_(std::move(options)), rest_(rest_of_message(options_.size)) {
    address_ = address_of(options_.server, length_);
    replied_.reserve(options_.messages);
    if (options_.starttls) {
      tls_ = SSL_CTX_new(TLS_client_method());
      if (tls_ == nullptr) die("no TLS");
      SSL_CTX_set_mode(tls_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
      SSL_CTX_set_session_cache_mode(tls_, SSL_SESS_CACHE_OFF);
    }
    if (!options_.times.empty()) map_times();
  }

  void run();

 private:
  enum class Step { greeting, ehlo, starttls, secured, mail, rcpt, data, content, quit };

  struct Session {
    explicit Session(int fd) : connection(fd) {}
    Connection connection;
    Step step = Step::greeting;
    std::size_t number = 0;  // of the message that is under way
    std::size_t sent = 0;    // messages, on this connection
    std::size_t due = 0;     // replies of a pipeline or of RCPT that are still to come
    std::uint64_t dot = 0;   // when its last octet was written
    bool polls_room = false;
  };

  void map_times();
  void open();
  bool on_reply(Session& session, std::string_view line);
  bool next_message(Session& session);
  bool send_rcpt(Session& session);
  bool send_content(Session& session);
  bool serve(Session& session);
  std::string rcpt(const Session& session, std::size_t index) const;
  void print(double seconds);

  Options options_;
  std::string rest_;
  sockaddr_storage address_{};
  socklen_t length_ = 0;
  SSL_CTX* tls_ = nullptr;
  int poll_ = epoll_create1(EPOLL_CLOEXEC);
  std::size_t started_ = 0;
  std::size_t open_ = 0;
  std::size_t to_open_ = 0;
  std::vector<std::uint64_t> replied_;  // nanoseconds from the final dot to its reply
  std::uint64_t* times_ = nullptr;
};

void Load::map_times() {
  const int fd = ::open(options_.times.c_str(), O_RDWR | O_CREAT, 0644);
  const std::size_t size = (options_.first + options_.messages) * sizeof(std::uint64_t);
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(size)) != 0) die(options_.times);
  void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) die(options_.times);
  times_ = static_cast<std::uint64_t*>(at);
}

void Load::open() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address_), length_) != 0 && errno != EINPROGRESS) die("connect");
  auto session = std::make_unique<Session>(fd);
  epoll_event event{.events = EPOLLIN, .data = {.ptr = session.get()}};
  if (epoll_ctl(poll_, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll");
  session.release();
  ++open_;
}

std::string Load::rcpt(const Session& session, std::size_t index) const {
  return "RCPT TO:<user" + std::to_string(index) + "@d" + std::to_string((session.number + index) % options_.domains) +
         "." + options_.domain + ">\r\n";
}

/// MAIL, or QUIT if this connection has sent its share.
bool Load::next_message(Session& session) {
  if (started_ == options_.messages || (options_.each != 0 && session.sent == options_.each)) {
    session.step = Step::quit;
    return session.connection.send("QUIT\r\n");
  }
  if (options_.pause != 0) std::this_thread::sleep_for(std::chrono::milliseconds(options_.pause));
  session.number = options_.first + started_++;
  std::string text = "MAIL FROM:<sender@client.test.example>\r\n";
  session.due = 1;
  if (options_.pipelining) {
    for (std::size_t index = 0; index < options_.recipients; ++index) text += rcpt(session, index);
    text += "DATA\r\n";
    session.due += options_.recipients;
  }
  session.step = Step::mail;
  return session.connection.send(text);
}

bool Load::send_content(Session& session) {
  char head[kHead + 1];
  const int length = std::snprintf(head, sizeof head, "Message-ID: <bench-%0*zu@client.test.example>\r\n",
                                   static_cast<int>(kDigits), session.number);
  session.step = Step::content;
  session.dot = now();
  if (times_ != nullptr) times_[session.number] = session.dot;
  return session.connection.send({head, static_cast<std::size_t>(length)}, rest_);
}

/// False when the session is over.
bool Load::on_reply(Session& session, std::string_view line) {
  Connection& connection = session.connection;
  const char want = session.step == Step::data ? '3' : '2';
  if (line.size() < 3 || line[0] != want) {
    errno = 0;
    die("the server replied: " + std::string(line));
  }
  switch (session.step) {
    case Step::greeting:
      if (to_open_ > 0) {
        --to_open_;
        open();
      }
      session.step = options_.starttls ? Step::starttls : Step::ehlo;
      return connection.send("EHLO client.test.example\r\n");
    case Step::starttls:
      session.step = Step::secured;
      return connection.send("STARTTLS\r\n");
    case Step::secured:
      connection.start_tls(tls_, false);
      session.step = Step::ehlo;
      return connection.send("EHLO client.test.example\r\n");
    case Step::ehlo:
      return next_message(session);
    case Step::mail:
    case Step::rcpt:
      if (--session.due > 0) {
        return session.step == Step::mail || connection.send(rcpt(session, options_.recipients - session.due));
      }
      if (options_.pipelining || session.step == Step::rcpt) {
        session.step = Step::data;
        return options_.pipelining || connection.send("DATA\r\n");
      }
      session.step = Step::rcpt;
      session.due = options_.recipients;
      return connection.send(rcpt(session, 0));
    case Step::data:
      return send_content(session);
    case Step::content:
      replied_.push_back(now() - session.dot);
      ++session.sent;
      return next_message(session);
    case Step::quit:
      return false;
  }
  return false;
}

/// What has come and what it asks for. False when the session is over.
bool Load::serve(Session& session) {
  do {
    if (!session.connection.flush()) return false;
    const bool more = session.connection.receive();
    std::string_view line;
    while (session.connection.line(line)) {
      if (line.size() > 3 && line[3] == '-') continue;
      if (!on_reply(session, line)) return false;
    }
    if (!more) return false;
  } while (session.connection.more());
  return true;
}

void Load::run() {
  const std::uint64_t began = now();
  const std::size_t at_once =
      options_.each == 0 ? std::min(options_.connections, options_.messages) : options_.connections;
  to_open_ = at_once - 1;  // each when the one before was greeted: some servers' listen queues are short
  open();
  std::array<epoll_event, 256> events{};
  while (open_ > 0) {
    const int count = epoll_wait(poll_, events.data(), static_cast<int>(events.size()), 60'000);
    if (count == 0) {
      errno = 0;
      die("the server has been silent for a minute");
    }
    for (int n = 0; n < count; ++n) {
      auto* session = static_cast<Session*>(events[static_cast<std::size_t>(n)].data.ptr);
      if (!serve(*session)) {
        const bool done = session->step == Step::quit;
        delete session;
        --open_;
        if (!done) die("the server hung up");
        if (started_ < options_.messages) open();
      } else if (session->connection.wants_room() != session->polls_room) {
        session->polls_room = !session->polls_room;
        const auto also = session->polls_room ? static_cast<unsigned>(EPOLLOUT) : 0U;
        epoll_event event{.events = EPOLLIN | also, .data = {.ptr = session}};
        epoll_ctl(poll_, EPOLL_CTL_MOD, session->connection.fd(), &event);
      }
    }
  }
  print(static_cast<double>(now() - began) / 1e9);
}

void Load::print(double seconds) {
  std::sort(replied_.begin(), replied_.end());
  const auto at = [this](double share) {
    return static_cast<double>(replied_[static_cast<std::size_t>(share * static_cast<double>(replied_.size() - 1))]) /
           1e3;
  };
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds_of = [](timeval time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  std::printf(
      "{\"messages\": %zu, \"seconds\": %.6f, \"processor\": %.6f, \"reply_us\": {\"p50\": %.1f, \"p99\": %.1f, "
      "\"max\": %.1f}}\n",
      replied_.size(), seconds, seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime), at(0.5), at(0.99), at(1));
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"Sends messages as fast as they are taken."};
  app.add_option("server", options.server, "IPv4 address and port")->required();
  app.add_option("--connections", options.connections, "at a time");
  app.add_option("--messages", options.messages, "in all")->check(CLI::PositiveNumber);
  app.add_option("--each", options.each, "messages on one connection; 0: as many as there are");
  app.add_option("--first", options.first, "number of the first message");
  app.add_option("--size", options.size, "octets of a message")->check(CLI::Range(200, 1'000'000'000));
  app.add_option("--recipients", options.recipients, "of a message")->check(CLI::PositiveNumber);
  app.add_option("--domains", options.domains, "that recipients have, in turn")->check(CLI::PositiveNumber);
  app.add_option("--domain", options.domain, "what these domains end with");
  app.add_option("--times", options.times, "a file: when each message's last octet was written (CLOCK_MONOTONIC, ns)");
  app.add_option("--pause", options.pause, "milliseconds before each message; for one connection");
  app.add_flag("--starttls", options.starttls);
  app.add_flag("--pipelining", options.pipelining, "MAIL, RCPT and DATA in one");
  CLI11_PARSE(app, argc, argv);
  open_as_many_files_as_allowed();
  Load(std::move(options)).run();
}
