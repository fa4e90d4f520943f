#include "mta/dovecot_client.h"

#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "net/line_buffer.h"

namespace waypost::mta {
namespace {

/// Checked when the configuration was read.
Result<net::Address> address_of(std::string_view server) {
  constexpr std::string_view kInet = "inet:";
  if (!server.starts_with(kInet)) return net::Address::local(std::string(server));
  server.remove_prefix(kInet.size());
  const std::size_t colon = server.rfind(':');
  if (colon == std::string_view::npos) return fail(Errc::invalid, "auth.dovecot has no port");
  std::string_view host = server.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const std::string_view digits = server.substr(colon + 1);
  std::uint16_t port = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  const std::optional<net::Address> address = net::Address::parse(host, port);
  if (read.ec != std::errc() || !address) return fail(Errc::invalid, "auth.dovecot is no address");
  return *address;
}

/// The protocol has a number for the process that asks, which no connection shares with another (2.3.19 takes one that
/// does): ours are beyond those that a system gives to processes.
std::uint32_t number_of(net::Runtime& runtime) {
  constexpr std::uint32_t kFirst = 1U << 30U;
  return kFirst + static_cast<std::uint32_t>(runtime.random() % kFirst);
}

Error with_server(const Error& error, const std::string& server) {
  return Error(error.code, "asking Dovecot at " + server + ": " + error.what);
}

net::Task<Result<dovecot::Answer>> converse(net::Stream& stream, dovecot::Dialogue& dialogue, net::TimePoint deadline) {
  net::LineBuffer lines(stream, dovecot::kLongestLine);
  while (true) {
    const std::string out = dialogue.take_output();
    if (!out.empty()) {
      const Result<> sent = co_await stream.write(out, deadline);
      if (!sent) co_return fail(sent.error());
    }
    const Result<net::LineBuffer::Line> line = co_await lines.read_line(dovecot::kLongestLine, deadline);
    if (!line) co_return fail(line.error());
    if (line->end == net::LineBuffer::End::too_long) co_return fail(Errc::protocol, "a line is too long");
    Result<std::optional<dovecot::Answer>> answer = dialogue.on_line(line->text);
    if (!answer) co_return fail(std::move(answer.error()));
    if (*answer) co_return **std::move(answer);
  }
}

}  // namespace

net::Task<Result<dovecot::Answer>> ask_dovecot(net::Runtime& runtime, std::string server, dovecot::Question question,
                                               std::stop_token stop) {
  const Result<net::Address> address = address_of(server);
  if (!address) co_return fail(address.error());
  const net::TimePoint deadline = runtime.now() + kDovecotTimeout;
  Result<std::unique_ptr<net::Stream>> connected = co_await runtime.connect(*address, std::nullopt, deadline, stop);
  if (!connected) co_return fail(with_server(connected.error(), server));
  net::Stream& stream = **connected;
  const auto close = [&stream] { stream.close(); };
  const std::stop_callback on_stop(stop, close);
  dovecot::Dialogue dialogue(number_of(runtime), std::move(question));
  const Result<dovecot::Answer> answer = co_await converse(stream, dialogue, deadline);
  if (!answer) co_return fail(with_server(answer.error(), server));
  co_return answer;
}

}  // namespace waypost::mta
