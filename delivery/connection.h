// delivery/connection.h: the client's side of one SMTP or LMTP session with a host: connect, banner, EHLO; then
// transactions.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/dialogue.h"
#include "delivery/connect_either.h"
#include "delivery/disposition.h"
#include "delivery/identity.h"
#include "delivery/outcome.h"
#include "delivery/tls_policy.h"
#include "net/line_buffer.h"
#include "net/runtime.h"
#include "net/tls.h"
#include "smtp/extensions.h"
#include "smtp/reply.h"
#include "smtp/reply_parser.h"

namespace waypost::delivery {

/// LMTP (RFC 2033): LHLO, and a reply for each recipient to the final dot. Who speaks it delivers.
enum class Protocol : std::uint8_t { smtp, lmtp };

/// Where to connect, and what the log calls it.
struct Peer {
  std::string name;      ///< the exchanger's name
  net::Address address;  ///< with port
  Protocol protocol = Protocol::smtp;
  TlsTerms tls{};                        ///< of its next hop
  std::shared_ptr<const Identity> as{};  ///< null: the usual one
  bool given = false;                    ///< the configuration names it, or whose exchanger it is; no recipient does
  std::optional<net::Address> source{};  ///< to connect from; nullopt: the first of ClientSettings::source that fits
  std::shared_ptr<const void> held{};    ///< as long as there is a connection from there (delivery/sources.h)
  std::string text() const {
    const std::string at = name + "[" + address.host() + "]";
    return address.is_local() ? at : at + ":" + std::to_string(address.port);
  }
};

/// What TLS sessions are made from, now; null: there is no TLS.
using TlsSource = std::function<std::shared_ptr<const net::TlsClient>()>;

class ReplyRules;

struct ClientSettings {
  std::string hostname;  ///< said in EHLO; a server that greets with it is ourselves (5.4.6)
  net::Duration connect_timeout, command_timeout, data_timeout;
  std::vector<net::Address> source;  ///< the first of the peer's family is bound to; none: the system chooses
  bool chunking = true;              ///< BDAT where it is offered
  bool send_unconverted = false;     ///< what cannot be converted goes as it is to a host without 8BITMIME
  std::shared_ptr<const net::TlsClient> tls{};                 ///< null: there is no TLS here
  int tls_retry = 1;                                           ///< as Config::Delivery
  std::shared_ptr<const ReplyRules> rules{};                   ///< about replies; null: there are none
  net::Duration handshake_timeout = std::chrono::seconds(60);  ///< or command_timeout, where that is less
  /// What is said goes here, too, as those who watch see it.
  std::shared_ptr<std::vector<dialogue::Line>> transcript{};
};

/// A session that is ready for a transaction. One loop. Closed by its destructor, politely by quit().
class Connection {
 public:
  /// What became of a peer and its rival.
  struct Raced {
    bool reached = false;           ///< one of them has taken a connection
    bool by_rival = false;          ///< it is the rival whose connection there is, or whose failure
    WayEnd other = WayEnd::unused;  ///< what became of the other one
  };
  struct Opened {
    std::unique_ptr<Connection> connection;  ///< null: `failure` says why
    HostFailure failure;
    TlsEvidence tls{};  ///< what was shown, of a failure too
    Raced raced{};      ///< of open_session(), where there was a rival
  };
  /// A host that has taken a connection; or `failure` says why none has.
  struct Reached {
    Peer peer;  ///< of two, whose connection it is; or whose failure
    std::unique_ptr<net::Stream> stream{};
    HostFailure failure{};
    Raced raced{};
  };
  /// TCP alone, within connect_timeout; a rival has its part as in delivery/connect_either.h.
  static net::Task<Reached> reach(net::Runtime& runtime, Peer peer, std::optional<Peer> rival, ClientSettings settings,
                                  std::stop_token stop);
  /// Connects, takes the banner, says EHLO (HELO once, if that is answered 5xx) or LHLO. An SMTP host that greets with
  /// our own name is ourselves: HostFailure::loop. Where the policy wants TLS and it is offered, STARTTLS and EHLO
  /// again; nothing but that goes out in clear where the policy demands TLS. AUTH where the peer wants to know who we
  /// are: a password in clear only under TLS that is verified, or that the policy is content with. A stop ends it at
  /// any point.
  static net::Task<Opened> open(net::Runtime& runtime, Peer peer, ClientSettings settings, TlsPolicy policy,
                                std::stop_token stop);
  /// The same with a host that was reached, or was not.
  static net::Task<Opened> open(net::Runtime& runtime, Reached reached, ClientSettings settings, TlsPolicy policy,
                                std::stop_token stop);

  ~Connection();
  const Peer& peer() const { return peer_; }
  const smtp::Extensions& extensions() const { return extensions_; }
  const TlsEvidence& tls() const { return tls_; }
  std::uint64_t number() const { return number_; }  ///< as base/dialogue.h
  /// Between transactions: false after a lost connection, 421, a protocol error, close(), and when the host has said
  /// something that it was not asked for: no further transaction.
  bool usable() const { return usable_ && lines_.buffered() == 0; }
  std::size_t transactions() const { return transactions_; }

  /// QUIT, and a short wait for its reply.
  net::Task<> quit();
  /// Awaits under way return.
  void close();

  // For delivery/attempt.cpp. Commands are gathered and go out when a reply is awaited.
  void queue_command(std::string_view line);  ///< without CRLF
  /// Sends what is gathered first; the timeout is for both. The session is over after an error, and after 421.
  /// Errors: those of the stream, protocol (no reply, or one ahead of its command).
  net::Task<Result<smtp::Reply>> next_reply(net::Duration timeout);
  /// The pieces as they are, within data_timeout. They outlive the await. The session is over after an error.
  net::Task<Result<>> send_body(std::span<const std::string_view> pieces);
  void began_transaction() { ++transactions_; }
  void give_up() { usable_ = false; }
  /// As if the host did not offer it.
  void do_without_pipelining() { extensions_.pipelining = false; }
  void do_without_chunking() { extensions_.chunking = extensions_.binary_mime = false; }
  const ClientSettings& settings() const { return settings_; }

 private:
  Connection(net::Runtime& runtime, Peer peer, ClientSettings settings, TlsPolicy policy,
             std::unique_ptr<net::Stream> stream);
  net::Task<std::optional<HostFailure>> begin();
  net::Task<std::optional<HostFailure>> greet();
  net::Task<std::optional<HostFailure>> hello();
  HostFailure refused(Stage stage, const smtp::Reply& reply) const;
  net::Task<std::optional<HostFailure>> start_tls();
  net::Task<std::optional<HostFailure>> secure();
  net::Task<std::optional<HostFailure>> log_in();
  std::string ehlo_name() const;
  std::optional<HostFailure> go_on_in_clear(std::string why);
  net::Task<Result<smtp::Reply>> command(std::string line);
  net::Task<Result<smtp::Reply>> reply_before_command(net::TimePoint deadline);
  net::Task<Result<>> flush(net::TimePoint deadline);
  net::Task<Result<smtp::Reply>> read_reply(net::TimePoint deadline);
  tl::unexpected<Error> ended(Error error);
  bool is_heard() const { return settings_.transcript || dialogue::is_watched(); }
  void note(dialogue::Voice voice, std::string text) const;
  void note_commands(std::string_view commands) const;

  net::Runtime& runtime_;
  Peer peer_;
  ClientSettings settings_;
  TlsPolicy policy_;
  TlsEvidence tls_;
  std::unique_ptr<net::Stream> stream_;
  net::LineBuffer lines_;
  smtp::ReplyParser parser_;
  std::size_t longest_line_;  ///< of a reply; what is longer is cut
  bool logging_in_ = false;   ///< what is said now is not for others
  const std::uint64_t number_ = dialogue::new_connection();
  smtp::Extensions extensions_;
  std::string pending_;
  std::size_t transactions_ = 0;
  bool usable_ = true;
};

}  // namespace waypost::delivery
