#include "delivery/connection.h"

#include <algorithm>
#include <utility>

#include "base/base64.h"
#include "base/metrics.h"
#include "base/text.h"
#include "delivery/disposition.h"
#include "delivery/reply_rules.h"
#include "delivery/sasl_client.h"
#include "net/secure_random.h"
#include "net/tls_stream.h"
#include "smtp/command.h"

namespace waypost::delivery {

namespace {

constexpr std::size_t kMaxReplyLine = 2048;  // what is longer is cut (RFC 5321 §4.5.3.1.5 says 512)
constexpr std::size_t kBufferOctets = 4096;
constexpr std::size_t kLongestAuthLine = SaslClient::kLongestChallenge + 6;  // "334 ", CRLF
constexpr std::size_t kNonceOctets = 18;
constexpr net::Duration kQuitTimeout = std::chrono::seconds(2);

std::optional<net::Address> source_for(const Peer& peer, const ClientSettings& settings) {
  if (peer.source) return peer.source;
  for (const net::Address& source : settings.source)
    if (source.family == peer.address.family) return source;
  return std::nullopt;
}

constexpr std::size_t kTellingPiece = 8;  // octets of a secret that are too many

/// Some hosts repeat what they do not understand: no secret gets into a log that way.
bool repeats(const std::string& words, const std::vector<std::string>& secrets) {
  return std::any_of(secrets.begin(), secrets.end(), [&words](const std::string& secret) {
    const std::size_t piece = std::min(secret.size(), kTellingPiece);
    for (std::size_t at = 0; piece > 0 && at + piece <= secret.size(); ++at)
      if (words.find(std::string_view(secret).substr(at, piece)) != std::string::npos) return true;
    return false;
  });
}
constexpr const char* kWithheld = "(the host's words repeat the login, and are withheld)";

/// The initial response in a line of AUTH.
std::string initial_of(const std::string& command) {
  const std::size_t at = command.find(' ', std::string_view("AUTH ").size());
  return at == std::string::npos ? "" : command.substr(at + 1);
}

/// `220 mx.b.example ESMTP` and `250-mx.b.example at your service`: the server's name comes first (RFC 5321 §4.2).
bool names(const smtp::Reply& reply, std::string_view hostname) {
  std::string_view text = reply.lines.front();
  std::string_view name = take_word(text);
  if (name.ends_with('.')) name.remove_suffix(1);
  return equals_no_case(name, hostname);
}

}  // namespace

net::Task<Connection::Reached> Connection::reach(net::Runtime& runtime, Peer peer, std::optional<Peer> rival,
                                                 ClientSettings settings, std::stop_token stop) {
  Reached reached{std::move(peer)};
  const Way way{reached.peer.address, source_for(reached.peer, settings)};
  const net::TimePoint deadline = runtime.now() + settings.connect_timeout;
  Result<std::unique_ptr<net::Stream>> stream(nullptr);
  if (rival) {
    const Way second{rival->address, source_for(*rival, settings)};
    Either either = co_await connect_either(runtime, way, second, deadline, stop);
    reached.raced.by_rival = either.used == 1;
    reached.raced.other = either.ends[1 - either.used];
    if (reached.raced.by_rival) reached.peer = *std::move(rival);
    stream = std::move(either.stream);
  } else {
    stream = co_await runtime.connect(way.to, way.from, deadline, stop);
  }
  if (!stream) {
    reached.failure = of_error(Stage::connect, stream.error(), reached.peer.text());
  } else {
    reached.raced.reached = true;
    reached.stream = std::move(*stream);
  }
  co_return reached;
}

net::Task<Connection::Opened> Connection::open(net::Runtime& runtime, Peer peer, ClientSettings settings,
                                               TlsPolicy policy, std::stop_token stop) {
  Reached reached = co_await reach(runtime, std::move(peer), std::nullopt, settings, stop);
  co_return co_await open(runtime, std::move(reached), std::move(settings), std::move(policy), stop);
}

net::Task<Connection::Opened> Connection::open(net::Runtime& runtime, Reached reached, ClientSettings settings,
                                               TlsPolicy policy, std::stop_token stop) {
  Opened opened;
  if (!reached.stream) {
    opened.failure = std::move(reached.failure);
    co_return opened;
  }
  std::unique_ptr<Connection> connection(new Connection(runtime, std::move(reached.peer), std::move(settings),
                                                        std::move(policy), std::move(reached.stream)));
  Connection* to_close = connection.get();
  auto close_it = [to_close] { to_close->close(); };
  std::stop_callback on_stop(stop, close_it);
  std::optional<HostFailure> failure = co_await connection->begin();
  opened.tls = connection->tls_;
  if (failure) {
    opened.failure = std::move(*failure);
    opened.failure.tls = connection->tls_.text();
    co_await connection->quit();
    co_return opened;
  }
  opened.connection = std::move(connection);
  co_return opened;
}

Connection::Connection(net::Runtime& runtime, Peer peer, ClientSettings settings, TlsPolicy policy,
                       std::unique_ptr<net::Stream> stream)
    : runtime_(runtime),
      peer_(std::move(peer)),
      settings_(std::move(settings)),
      policy_(std::move(policy)),
      tls_(in_clear(policy_, "")),
      stream_(std::move(stream)),
      lines_(*stream_, peer_.as != nullptr && peer_.as->login ? kLongestAuthLine : kBufferOctets),
      longest_line_(kMaxReplyLine) {
  if (is_heard()) note(dialogue::Voice::event, "connected from " + stream_->local().text());
}

Connection::~Connection() {
  if (is_heard()) note(dialogue::Voice::event, "closed");
}

void Connection::note(dialogue::Voice voice, std::string text) const {
  dialogue::Line line;
  line.connection = number_;
  line.peer = peer_.text();
  line.address = peer_.address.host();
  line.voice = voice;
  line.text = std::move(text);
  if (settings_.transcript) {
    settings_.transcript->push_back(line);
    settings_.transcript->back().time = std::chrono::system_clock::now();
  }
  if (dialogue::is_watched()) dialogue::note(std::move(line));
}

/// All that comes before a transaction; why the host cannot be used, if so.
net::Task<std::optional<HostFailure>> Connection::begin() {
  std::optional<HostFailure> failure;
  if (policy_.implicit) failure = co_await secure();
  if (!failure) failure = co_await greet();
  if (!failure && !policy_.implicit) failure = co_await start_tls();
  if (!failure) failure = co_await log_in();
  co_return failure;
}

net::Task<std::optional<HostFailure>> Connection::greet() {
  const std::string host = peer_.text();
  Result<smtp::Reply> banner = co_await next_reply(settings_.command_timeout);
  if (!banner) co_return of_error(Stage::banner, banner.error(), host);
  if (is_host_failure(Stage::banner, *banner)) co_return refused(Stage::banner, *banner);
  const bool smtp = peer_.protocol == Protocol::smtp;
  if (smtp && names(*banner, settings_.hostname)) co_return loops_back(settings_.hostname, host);
  co_return co_await hello();
}

HostFailure Connection::refused(Stage stage, const smtp::Reply& reply) const {
  HostFailure failure = host_failure(stage, reply, peer_.text());
  react(settings_.rules.get(), stage, reply, peer_, failure);
  return failure;
}

net::Task<std::optional<HostFailure>> Connection::hello() {
  const std::string host = peer_.text();
  const bool smtp = peer_.protocol == Protocol::smtp;
  const std::string verb = smtp ? "EHLO " : "LHLO ";
  Result<smtp::Reply> hello = co_await command(verb + ehlo_name());
  if (!hello) {
    HostFailure failure = of_error(Stage::ehlo, hello.error(), host);
    // What a server of TLS 1.3 has against a handshake it says after the client's part of it is over.
    const bool hung_up = hello.error().code == Errc::closed || hello.error().code == Errc::protocol;
    if (hung_up && tls_.version == "TLSv1.3") failure.tls_trouble = HostFailure::Tls::handshake;
    co_return failure;
  }
  bool extended = hello->positive();
  if (smtp && hello->permanent()) {
    // A server of before 1995, or behind something that thinks so (RFC 5321 §3.2).
    hello = co_await command("HELO " + ehlo_name());
    if (!hello) co_return of_error(Stage::ehlo, hello.error(), host);
  }
  if (is_host_failure(Stage::ehlo, *hello)) co_return refused(Stage::ehlo, *hello);
  if (smtp && names(*hello, settings_.hostname)) co_return loops_back(settings_.hostname, host);
  if (extended) extensions_ = smtp::parse_extensions(*hello);
  co_return std::nullopt;
}

/// STARTTLS where the policy wants it (RFC 3207). What was said before it is forgotten.
net::Task<std::optional<HostFailure>> Connection::start_tls() {
  if (policy_.level == conf::TlsLevel::none) co_return std::nullopt;
  if (policy_.given_up) co_return go_on_in_clear("handshakes have failed before");
  if (!extensions_.starttls) co_return go_on_in_clear("not offered");
  if (!settings_.tls) co_return go_on_in_clear("there is no TLS here");
  const std::string host = peer_.text();
  tls_ = in_clear(policy_, "STARTTLS was refused");
  Result<smtp::Reply> reply = co_await command("STARTTLS");
  if (!reply) co_return of_error(Stage::starttls, reply.error(), host);
  if (is_host_failure(Stage::starttls, *reply)) co_return host_failure(Stage::starttls, *reply, host);
  if (reply->code != 220) co_return starttls_refused(*reply, host);
  // What came behind it in clear would be taken for the host's own, said under TLS (RFC 3207 §6).
  const std::size_t behind = lines_.buffered();
  if (behind > 0) {
    close();
    tls_ = in_clear(policy_, "octets in clear behind STARTTLS");
    co_return injected(behind, host);
  }
  std::optional<HostFailure> failure = co_await secure();
  if (failure) co_return failure;
  extensions_ = smtp::Extensions();
  co_return co_await hello();
}

std::optional<HostFailure> Connection::go_on_in_clear(std::string why) {
  tls_ = in_clear(policy_, std::move(why));
  if (is_enough(policy_, tls_)) return std::nullopt;
  return too_little_tls(tls_, peer_.text());
}

/// The handshake, and whether what it showed is enough.
net::Task<std::optional<HostFailure>> Connection::secure() {
  const std::string host = peer_.text();
  if (!settings_.tls) co_return go_on_in_clear("there is no TLS here");
  net::TlsTarget target;
  target.server_name = policy_.server_name;
  target.names = policy_.names;
  Result<std::unique_ptr<net::TlsStream>> made = net::tls_connect(std::move(stream_), settings_.tls, target);
  if (!made) {
    close();
    co_return of_error(Stage::handshake, made.error(), host);
  }
  net::TlsStream* tls = made->get();
  stream_ = *std::move(made);
  lines_.attach(*stream_);
  const net::TimePoint deadline = runtime_.now() + std::min(settings_.command_timeout, settings_.handshake_timeout);
  Result<> shaken = co_await tls->handshake(deadline);
  metrics::events().handshakes_out.at(shaken ? tls->info().version : "none", shaken ? "success" : "failure").add();
  if (!shaken) {
    close();
    tls_ = in_clear(policy_, "handshake failed");
    co_return of_error(Stage::handshake, shaken.error(), host);
  }
  tls_ = judge(policy_, tls->info());
  if (is_heard()) note(dialogue::Voice::event, tls_.text());
  if (is_enough(policy_, tls_)) co_return std::nullopt;
  co_return too_little_tls(tls_, host);
}

std::string Connection::ehlo_name() const {
  return peer_.as != nullptr && !peer_.as->ehlo.empty() ? peer_.as->ehlo : settings_.hostname;
}

/// AUTH (RFC 4954), where we are to come as somebody.
net::Task<std::optional<HostFailure>> Connection::log_in() {
  if (peer_.as == nullptr || !peer_.as->login) co_return std::nullopt;
  const conf::HostLogin& login = *peer_.as->login;
  const std::string host = peer_.text();
  const bool content = tls_.is_encrypted() && peer_.tls.level == conf::TlsLevel::encrypt;
  const bool is_private = content || tls_.verdict >= TlsEvidence::Verdict::verified;
  const Result<SaslMechanism> mechanism = choose_mechanism(extensions_.auth, is_private, login.mechanisms);
  if (!mechanism) co_return cannot_log_in(login.user, mechanism.error(), host);
  Result<SaslClient> made =
      SaslClient::make(*mechanism, {login.user, login.password}, base64_encode(net::secure_random(kNonceOctets)));
  if (!made) co_return cannot_log_in(login.user, made.error(), host);
  SaslClient client = *std::move(made);
  std::vector<std::string> secrets{login.password, base64_encode(login.password), initial_of(client.command())};
  longest_line_ = kLongestAuthLine;
  logging_in_ = true;
  parser_.keep(longest_line_);
  Result<smtp::Reply> reply = co_await command(client.command());
  while (reply && reply->code == 334) {
    Result<std::string> answer("");
    // Of SCRAM it takes its time.
    auto compute = [&client, &reply, &answer] { answer = client.answer(reply->lines.front()); };
    co_await runtime_.offload(compute);
    if (!answer) {
      reply = co_await command("*");
      Error error = answer.error();
      if (repeats(error.what, secrets)) error.what = kWithheld;
      co_return cannot_log_in(login.user, error, host);
    }
    secrets.push_back(*answer);
    reply = co_await command(*answer);
  }
  longest_line_ = kMaxReplyLine;
  logging_in_ = false;
  parser_.keep(smtp::ReplyParser::kMaxLineOctets);
  if (!reply) co_return of_error(Stage::auth, reply.error(), host);
  if (repeats(reply->text(), secrets)) reply->lines.assign(1, kWithheld);
  if (is_host_failure(Stage::auth, *reply)) co_return host_failure(Stage::auth, *reply, host);
  if (!reply->positive()) co_return login_refused(login.user, *reply, host);
  const Result<> finished = client.finished();
  if (!finished) co_return cannot_log_in(login.user, finished.error(), host);
  co_return std::nullopt;
}

net::Task<Result<smtp::Reply>> Connection::command(std::string line) {
  queue_command(line);
  co_return co_await next_reply(settings_.command_timeout);
}

net::Task<> Connection::quit() {
  if (usable()) {
    queue_command("QUIT");
    Result<smtp::Reply> reply = co_await next_reply(kQuitTimeout);
    if (reply) usable_ = false;
  }
  close();
}

void Connection::close() {
  usable_ = false;
  stream_->close();
}

void Connection::queue_command(std::string_view line) {
  pending_ += line;
  pending_ += "\r\n";
}

tl::unexpected<Error> Connection::ended(Error error) {
  usable_ = false;
  return fail(std::move(error));
}

net::Task<Result<smtp::Reply>> Connection::next_reply(net::Duration timeout) {
  net::TimePoint deadline = runtime_.now() + timeout;
  if (!pending_.empty()) {
    bool early = lines_.buffered() > 0;
    if (early) co_return co_await reply_before_command(deadline);
    Result<> sent = co_await flush(deadline);
    if (!sent) co_return ended(sent.error());
  }
  co_return co_await read_reply(deadline);
}

/// Whatever a host says that it was not asked for would be taken as the reply to the next command, and all after it for
/// another's: a recipient could be taken as accepted who was not. Only 421 may come at any time (RFC 5321 §3.8).
net::Task<Result<smtp::Reply>> Connection::reply_before_command(net::TimePoint deadline) {
  pending_.clear();
  if (lines_.has_line()) {
    Result<smtp::Reply> reply = co_await read_reply(deadline);
    if (reply && reply->code == 421) co_return reply;
  }
  co_return ended(Error(Errc::protocol, "a reply before its command"));
}

net::Task<Result<>> Connection::flush(net::TimePoint deadline) {
  std::string commands = std::exchange(pending_, {});
  std::string_view piece = commands;
  if (is_heard()) note_commands(commands);
  co_return co_await stream_->write(piece, deadline);
}

/// One reply, all lines of it by the deadline: a host that drips octets gains nothing (RELIABILITY F36).
net::Task<Result<smtp::Reply>> Connection::read_reply(net::TimePoint deadline) {
  while (true) {
    Result<net::LineBuffer::Line> line = co_await lines_.read_line(longest_line_, deadline);
    if (!line) co_return ended(line.error());
    // What is said while we log in may repeat it.
    if (is_heard()) note(dialogue::Voice::peer, std::string(line->text.substr(0, logging_in_ ? 3 : line->text.npos)));
    Result<std::optional<smtp::Reply>> reply = parser_.on_line(line->text);
    if (!reply) co_return ended(reply.error());
    if (!*reply) continue;
    if ((*reply)->code == 421) usable_ = false;
    co_return std::move(**reply);
  }
}

void Connection::note_commands(std::string_view commands) const {
  while (!commands.empty()) {
    const std::size_t end = commands.find("\r\n");
    const std::string_view line = commands.substr(0, end);
    const bool is_response = logging_in_ && !line.starts_with("AUTH ");
    note(dialogue::Voice::ours, is_response ? "(not shown)" : smtp::shown_command(line));
    commands.remove_prefix(std::min(commands.size(), line.size() + 2));
  }
}

net::Task<Result<>> Connection::send_body(std::span<const std::string_view> pieces) {
  if (is_heard()) {
    std::size_t octets = 0;
    for (const std::string_view piece : pieces) octets += piece.size();
    note(dialogue::Voice::ours, "(body, " + std::to_string(octets) + " octets)");
  }
  if (lines_.buffered() > 0) co_return ended(Error(Errc::protocol, "a reply before the message"));
  Result<> sent = co_await stream_->write(pieces, runtime_.now() + settings_.data_timeout);
  if (!sent) co_return ended(sent.error());
  co_return Result<>();
}

}  // namespace waypost::delivery
