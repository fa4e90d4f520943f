// tests/bench/sink.cpp: an SMTP server that takes all mail, keeps none, and counts it in a file that others map.
//
// The file holds numbers of 64 bits: messages, recipients, octets, connections, recipients that got a message again;
// then from octet 4096 on, for each recipient of each message that bench_load numbered, when the last octet of it came
// (CLOCK_MONOTONIC, nanoseconds).
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/bench/connection.h"

namespace {

using namespace waypost::bench;
using namespace std::string_view_literals;

constexpr std::size_t kTimesFrom = 4096;
constexpr std::string_view kNumber = "Message-ID: <bench-";
constexpr std::size_t kDigits = 9;
constexpr std::string_view kRecipient = "<user";
constexpr std::size_t kLongestHeader = 8192;

struct Counters {
  std::uint64_t messages, recipients, octets, connections, again;
};

struct Sink {
  Counters* counters = nullptr;
  std::uint64_t* times = nullptr;
  std::size_t slots = 0;
  std::size_t each = 1;
  SSL_CTX* tls = nullptr;
};

class Session {
 public:
  Session(Sink& sink, int fd) : connection(fd), sink_(sink) { connection.send("220 sink.test.example ESMTP\r\n"); }

  Connection connection;

  /// Answers what has come. False if the session is over.
  bool serve() {
    while (in_content_ ? content() : command()) {
    }
    if (!out_.empty() && !connection.send(std::exchange(out_, {}))) return false;
    if (std::exchange(starts_tls_, false)) connection.start_tls(sink_.tls, true);
    return !over_;
  }

 private:
  /// One command. False while its line is not there, or after the last one.
  bool command() {
    std::string_view line;
    if (over_ || starts_tls_ || !connection.line(line)) return false;
    const std::string_view verb = line.substr(0, 4);
    const auto is = [verb](const char* name) { return verb.size() == 4 && strncasecmp(verb.data(), name, 4) == 0; };
    if (is("MAIL") || is("RSET")) recipients_.clear();
    if (is("EHLO")) {
      out_ += "250-sink.test.example\r\n250-PIPELINING\r\n";
      if (sink_.tls != nullptr && !secure_) out_ += "250-STARTTLS\r\n";
      out_ += "250 8BITMIME\r\n";
    } else if (is("RCPT")) {
      recipients_.push_back(number_of(line));
      out_ += "250 2.1.5 ok\r\n";
    } else if (is("DATA")) {
      in_content_ = true;
      numbered_ = false;
      out_ += "354 go on\r\n";
    } else if (is("STAR") && sink_.tls != nullptr) {
      starts_tls_ = secure_ = true;
      out_ += "220 2.0.0 go on\r\n";
    } else if (is("QUIT")) {
      over_ = true;
      out_ += "221 2.0.0 bye\r\n";
    } else {
      out_ += "250 2.0.0 ok\r\n";
    }
    return true;
  }

  /// Which of its message's recipients bench_load means.
  static std::size_t number_of(std::string_view rcpt) {
    std::size_t number = 0;
    const std::size_t at = rcpt.find(kRecipient);
    if (at != std::string_view::npos) {
      std::from_chars(rcpt.data() + at + kRecipient.size(), rcpt.data() + rcpt.size(), number);
    }
    return number;
  }

  /// A piece of a message. False while more is to come.
  bool content() {
    const std::string_view all = connection.input();
    const std::size_t end = all.find("\r\n.\r\n"sv);
    const bool whole = end != std::string_view::npos;
    if (!numbered_) {
      const std::size_t at = all.find(kNumber);
      if (at != std::string_view::npos && at + kNumber.size() + kDigits <= all.size()) {
        number_ = std::strtoull(std::string(all.substr(at + kNumber.size(), kDigits)).c_str(), nullptr, 10);
        numbered_ = true;
      } else if (!whole && all.size() < kLongestHeader) {
        return false;
      } else {
        number_ = sink_.slots;
        numbered_ = true;
      }
    }
    const std::size_t taken = whole ? end + 5 : all.size() - std::min<std::size_t>(all.size(), 4);
    connection.consume(taken);
    sink_.counters->octets += taken;
    if (!whole) return false;
    for (const std::size_t recipient : recipients_) {
      if (number_ >= sink_.slots || recipient >= sink_.each) continue;
      std::uint64_t& time = sink_.times[number_ * sink_.each + recipient];
      if (time != 0) ++sink_.counters->again;
      time = now();
    }
    sink_.counters->recipients += recipients_.size();
    ++sink_.counters->messages;
    recipients_.clear();
    in_content_ = false;
    out_ += "250 2.0.0 taken\r\n";
    return true;
  }

  Sink& sink_;
  std::string out_;
  std::vector<std::size_t> recipients_;
  std::uint64_t number_ = 0;
  bool in_content_ = false;
  bool numbered_ = false;
  bool secure_ = false;
  bool starts_tls_ = false;
  bool over_ = false;
};

void map_counters(Sink& sink, const std::string& file) {
  const int fd = open(file.c_str(), O_RDWR | O_CREAT, 0644);
  const std::size_t size = kTimesFrom + sink.slots * sink.each * sizeof(std::uint64_t);
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(size)) != 0) die(file);
  void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) die(file);
  sink.counters = static_cast<Counters*>(at);
  sink.times = reinterpret_cast<std::uint64_t*>(static_cast<char*>(at) + kTimesFrom);
}

SSL_CTX* context_of(const std::string& pem) {
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  if (context == nullptr || SSL_CTX_use_certificate_chain_file(context, pem.c_str()) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, pem.c_str(), SSL_FILETYPE_PEM) != 1) {
    die(pem + ": no certificate with its key");
  }
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  return context;
}

int listen_on(const std::string& text) {
  socklen_t length = 0;
  const sockaddr_storage address = address_of(text, length);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int on = 1;
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      bind(fd, reinterpret_cast<const sockaddr*>(&address), length) != 0 || listen(fd, 4096) != 0) {
    die(text);
  }
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  std::string address;
  std::string counters;
  std::string pem;
  Sink sink;
  CLI::App app{"Takes all mail and counts it."};
  app.add_option("address", address, "IPv4 address and port")->required();
  app.add_option("--counters", counters, "the file of counts and times")->required();
  app.add_option("--slots", sink.slots, "messages that bench_load numbers, at most");
  app.add_option("--recipients", sink.each, "that each of them has");
  app.add_option("--pem", pem, "certificate and key: offers STARTTLS");
  CLI11_PARSE(app, argc, argv);
  map_counters(sink, counters);
  if (!pem.empty()) sink.tls = context_of(pem);
  open_as_many_files_as_allowed();

  const int listener = listen_on(address);
  const int poll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
  if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event) != 0) die("epoll");
  std::array<epoll_event, 256> events{};
  for (;;) {
    const int count = epoll_wait(poll, events.data(), static_cast<int>(events.size()), -1);
    for (int n = 0; n < count; ++n) {
      auto* session = static_cast<Session*>(events[static_cast<std::size_t>(n)].data.ptr);
      if (session == nullptr) {
        const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) continue;
        ++sink.counters->connections;
        auto fresh = std::make_unique<Session>(sink, fd);
        event = {.events = EPOLLIN, .data = {.ptr = fresh.get()}};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll");
        fresh.release();
        continue;
      }
      Connection& connection = session->connection;
      const bool before = connection.wants_room();
      bool open = connection.flush();
      do {
        open = open && connection.receive() && session->serve();
      } while (open && connection.more());
      if (!open) {
        delete session;
      } else if (connection.wants_room() != before) {
        event = {.events = EPOLLIN | (before ? 0U : static_cast<unsigned>(EPOLLOUT)), .data = {.ptr = session}};
        epoll_ctl(poll, EPOLL_CTL_MOD, connection.fd(), &event);
      }
    }
  }
}
