#include "mta/client.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <curl/curl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "mta/disk_backend.h"

namespace waypost::mta {
namespace {

constexpr std::size_t kMaxAnswer = 256UL << 20;

/// Whether somebody listens, since curl tells too little of why it could not connect.
Result<> probe(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail(Errc::refused, "too long a path for a socket: " + path);
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail(Errc::busy, std::strerror(errno));
  const int connected = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int why = errno;
  ::close(fd);
  if (connected == 0) return {};
  if (why == EACCES || why == EPERM) return fail(Errc::denied, path + ": " + std::strerror(why));
  return fail(Errc::refused, "no daemon answers at " + path + ": " + std::strerror(why));
}

struct FreeCurl {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
  void operator()(char* text) const { curl_free(text); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

std::size_t take_body(char* octets, std::size_t size, std::size_t count, void* into) {
  auto* body = static_cast<std::string*>(into);
  if (body->size() + size * count > kMaxAnswer) return 0;
  body->append(octets, size * count);
  return size * count;
}

std::string encoded(CURL* curl, const std::string& text) {
  const std::unique_ptr<char, FreeCurl> escaped(curl_easy_escape(curl, text.data(), static_cast<int>(text.size())));
  return escaped ? escaped.get() : "";
}

}  // namespace

Result<ControlAnswer> ask_daemon(const std::string& socket, const ControlRequest& request) {
  const Result<> there = probe(socket);
  if (!there) return fail(there.error());
  const std::unique_ptr<CURL, FreeCurl> curl(curl_easy_init());
  if (!curl) return fail(Errc::internal, "libcurl does not start");
  std::string url = "http://localhost" + request.path;
  char before = '?';
  for (const auto& [name, value] : request.query) {
    url += before + name + "=" + encoded(curl.get(), value);
    before = '&';
  }
  ControlAnswer answer;
  curl_easy_setopt(curl.get(), CURLOPT_UNIX_SOCKET_PATH, socket.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_PROXY, "");
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, 15000L);  // longer than any handler takes
  if (request.within.count() > 0)
    curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(request.within.count()));
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer.body);
  std::unique_ptr<curl_slist, FreeCurl> headers;
  if (request.method == "POST") {
    headers.reset(curl_slist_append(nullptr, "Content-Type: application/json"));
    headers.reset(curl_slist_append(headers.release(), "Expect:"));
    curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE, static_cast<long>(request.body.size()));
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, request.body.c_str());
  }
  const CURLcode done = curl_easy_perform(curl.get());
  if (done == CURLE_OPERATION_TIMEDOUT) return fail(Errc::timed_out, socket + ": no answer");
  if (done == CURLE_COULDNT_CONNECT) return fail(Errc::refused, "no daemon answers at " + socket);
  if (done != CURLE_OK) return fail(Errc::closed, socket + ": " + curl_easy_strerror(done));
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  answer.status = static_cast<int>(status);
  return answer;
}

bool is_readable_on_disk(const ControlRequest& request) {
  const std::string& path = request.path;
  return request.method == "GET" && !request.live &&
         (path.starts_with("/v1/queue") || path == "/v1/dest" || path == "/v1/trace" || path == "/v1/audit" ||
          path.starts_with("/v1/config"));
}

std::string damage_advice(const std::string& config) {
  const std::string tool = "`waypost " + (config.empty() ? "" : "--config " + config + " ") + "store ";
  return "see what is damaged with " + tool + "check`; read what is intact into a new queue with " + tool +
         "salvage --in-place`, which keeps the old one";
}

/// The daemon's lock keeps these from a queue that is in use.
Result<ControlAnswer> RelayClient::ask_store(const ControlRequest& request, const Error& why) {
  notes_ << "waypost: " << why.what << "; reading the queue on disk\n";
  std::shared_ptr<ControlApi> store;
  {
    const std::lock_guard lock(mutex_);
    if (!store_) {
      store_backend_ = open_store_backend(data_dir_);
      store_ = std::make_shared<ControlApi>(*store_backend_);
    }
    store = store_;
  }
  return store->handle(request);
}

std::shared_ptr<ControlApi> RelayClient::store() {
  const std::lock_guard lock(mutex_);
  return store_;
}

Result<ControlAnswer> RelayClient::ask(const ControlRequest& request) {
  if (disk_) return ControlApi(*disk_).handle(request);
  if (request.path.starts_with("/v1/progress"))
    if (const std::shared_ptr<ControlApi> at_work = store()) return at_work->handle(request);
  Result<ControlAnswer> answer = ask_daemon(socket_, request);
  if (answer || answer.error().code != Errc::refused) return answer;
  if (request.path.starts_with("/v1/store/")) return ask_store(request, answer.error());
  if (!is_readable_on_disk(request)) return answer;

  Result<std::unique_ptr<ControlBackend>> disk = open_disk_backend(data_dir_);
  if (!disk) {
    // A daemon that just began has the queue before it has the socket, and one that ends has it longer.
    if (disk.error().code == Errc::busy) return fail(Errc::busy, answer.error().what + "; but " + disk.error().what);
    if (disk.error().code == Errc::denied) return fail(disk.error());
    std::string what = answer.error().what + "; and the queue cannot be read on disk: " + disk.error().what;
    if (disk.error().code == Errc::damaged) what += "; " + damage_advice("");
    return fail(Errc::refused, what);
  }
  notes_ << "waypost: " << answer.error().what << "; reading the queue on disk\n";
  disk_ = *std::move(disk);
  return ControlApi(*disk_).handle(request);
}

}  // namespace waypost::mta
