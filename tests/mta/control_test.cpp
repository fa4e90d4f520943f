#include "mta/control.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <thread>

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "mta/client.h"
#include "mta/control_json.h"
#include "tests/mta/fake_backend.h"

using namespace waypost;
using namespace waypost::mta;

namespace {

/// A folder that goes away with the test.
struct Folder {
  Folder() {
    char name[] = "/tmp/waypost-control-XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string socket() const { return path + "/control.sock"; }
  std::string path;
};

/// A client that says what it likes.
class RawClient {
 public:
  explicit RawClient(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    const timeval patience{10, 0};
    (void)::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  RawClient(const RawClient&) = delete;
  RawClient(RawClient&& other) noexcept : fd_(std::exchange(other.fd_, -1)), connected_(other.connected_) {}
  ~RawClient() {
    if (fd_ >= 0) ::close(fd_);
  }
  bool connected() const { return connected_; }
  void say(const std::string& octets) { (void)!::send(fd_, octets.data(), octets.size(), MSG_NOSIGNAL); }
  /// What comes until the other end closes, or nothing comes for long.
  std::string hear() {
    std::string all;
    char some[4096];
    while (true) {
      const ssize_t got = ::recv(fd_, some, sizeof some, 0);
      if (got <= 0) return all;
      all.append(some, static_cast<std::size_t>(got));
    }
  }

 private:
  int fd_;
  bool connected_ = false;
};

struct Served {
  Folder folder;
  tests::FakeBackend backend;
  ControlApi api{backend};
  std::unique_ptr<Control> control;
  Served() {
    Result<std::unique_ptr<Control>> opened = Control::open(folder.socket());
    REQUIRE(opened);
    control = *std::move(opened);
    REQUIRE(control->start(api));
  }
  Result<ControlAnswer> ask(const std::string& path) {
    ControlRequest request;
    request.path = path;
    return ask_daemon(folder.socket(), request);
  }
};

}  // namespace

TEST_SUITE("mta/control") {
  TEST_CASE("the tool's client asks over the socket, and is answered") {
    Served s;
    const Result<ControlAnswer> counts = s.ask("/v1/queue/count");
    REQUIRE(counts);
    CHECK(counts->status == 200);
    CHECK(Json::parse(counts->body)["messages"] == 2);
    const Result<ControlAnswer> nothing = s.ask("/v1/nothing");
    REQUIRE(nothing);
    CHECK(nothing->status == 404);

    ControlRequest filtered;
    filtered.path = "/v1/queue/count";
    filtered.query["filter"] = "to:d@d.example error:\"a & b = c\"";
    const Result<ControlAnswer> one = ask_daemon(s.folder.socket(), filtered);
    REQUIRE(one);
    CHECK(Json::parse(one->body)["messages"] == 1);

    ControlRequest change;
    change.method = "POST";
    change.path = "/v1/queue/change";
    change.body = "{\"change\":\"hold\",\"all\":true,\"reason\":\"" + std::string(100000, 'r') + "\"}";
    const Result<ControlAnswer> changed = ask_daemon(s.folder.socket(), change);
    REQUIRE(changed);
    CHECK(changed->status == 200);
    CHECK(s.backend.reason.size() == 100000);
  }

  TEST_CASE("the socket is for its owner and its group, and goes away with the daemon") {
    Served s;
    struct stat facts {};
    REQUIRE(::stat(s.folder.socket().c_str(), &facts) == 0);
    CHECK((facts.st_mode & 07777) == 0660);
    CHECK(S_ISSOCK(facts.st_mode));
    s.control->unlink();
    CHECK(!std::filesystem::exists(s.folder.socket()));
    const Result<ControlAnswer> away = s.ask("/v1/status");
    REQUIRE(!away);
    CHECK(away.error().code == Errc::refused);
  }

  TEST_CASE("what a killed daemon left is removed; a daemon that answers, or a file, is not") {
    Folder folder;
    {
      Served other;
      const Result<std::unique_ptr<Control>> second = Control::open(other.folder.socket());
      REQUIRE(!second);
      CHECK(second.error().code == Errc::busy);
      CHECK(other.ask("/v1/status"));
    }
    const int left = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, folder.socket().c_str());
    REQUIRE(::bind(left, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    ::close(left);
    CHECK(Control::open(folder.socket()));

    std::ofstream(folder.socket()) << "precious";
    const Result<std::unique_ptr<Control>> file = Control::open(folder.socket());
    REQUIRE(!file);
    CHECK(file.error().code == Errc::exists);
    CHECK(std::filesystem::exists(folder.socket()));

    const Result<std::unique_ptr<Control>> long_path = Control::open("/tmp/" + std::string(200, 'x'));
    REQUIRE(!long_path);
    CHECK(long_path.error().code == Errc::invalid);
    CHECK(!Control::open(folder.path + "/none/control.sock"));
  }

  TEST_CASE("a name that is another's by now is left alone") {
    Served s;
    REQUIRE(std::filesystem::remove(s.folder.socket()));
    std::ofstream(s.folder.socket()) << "another's";
    s.control.reset();
    CHECK(std::filesystem::exists(s.folder.socket()));
  }

  TEST_CASE("garbage and half requests harm nobody else [C10, F60]") {
    Served s;
    std::vector<RawClient> halves;
    for (int i = 0; i < 50; ++i) {
      halves.emplace_back(s.folder.socket());
      halves.back().say(i % 2 == 0 ? "GET /v1/stat"
                                   : "POST /v1/queue/change HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{");
    }
    for (const std::string& garbage :
         {std::string("\0\0\0\0\r\n\r\n", 8), std::string("EHLO x\r\n\r\n"), std::string(200000, 'A'),
          std::string("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"),
          std::string("GET /v1/queue?limit=%00%ff HTTP/1.0\r\n\r\n"),
          std::string("POST /v1/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
          std::string("GET /v1/queue?filter=") + std::string(100000, 'x') + " HTTP/1.0\r\n\r\n"}) {
      RawClient client(s.folder.socket());
      CHECK(client.connected());
      client.say(garbage);
    }
    for (int i = 0; i < 300; ++i) {
      RawClient brief(s.folder.socket());
      brief.say("GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    const Result<ControlAnswer> still = s.ask("/v1/queue/count");
    REQUIRE(still);
    CHECK(still->status == 200);
    CHECK(s.backend.changed.empty());
  }

  TEST_CASE("a request over 1 MiB is read to its end and refused with 413") {
    Served s;
    ControlRequest request;
    request.method = "POST";
    request.path = "/v1/queue/change";
    request.body = "{\"change\":\"hold\",\"all\":true,\"reason\":\"" + std::string(2 << 20, 'r') + "\"}";
    const Result<ControlAnswer> answer = ask_daemon(s.folder.socket(), request);
    REQUIRE(answer);
    CHECK(answer->status == 413);
    CHECK(s.backend.changed.empty());
  }

  TEST_CASE("no more connections are served than there are places, and others wait for theirs") {
    Served s;
    std::vector<RawClient> idle;
    for (unsigned i = 0; i < Control::kMaxConnections; ++i) {
      idle.emplace_back(s.folder.socket());
      idle.back().say("GET /v1");
    }
    std::future<Result<ControlAnswer>> waits =
        std::async(std::launch::async, [&s] { return s.ask("/v1/queue/count"); });
    idle.clear();
    const Result<ControlAnswer> answer = waits.get();
    REQUIRE(answer);
    CHECK(answer->status == 200);
  }

  TEST_CASE("a stop answers what is under way") {
    auto s = std::make_unique<Served>();
    std::vector<std::future<bool>> answers;
    for (int i = 0; i < 20; ++i) {
      answers.push_back(std::async(std::launch::async, [path = s->folder.socket()] {
        ControlRequest request;
        request.path = "/v1/queue/count";
        // Before the stop it is answered, after it nobody is there; a call that hangs would end the test by its
        // time-out.
        const Result<ControlAnswer> answer = ask_daemon(path, request);
        return !answer || answer->status == 200 || answer->status == 503;
      }));
    }
    s->control.reset();
    for (std::future<bool>& answer : answers) CHECK(answer.get());
  }
}
