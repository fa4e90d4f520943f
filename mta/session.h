// mta/session.h: one inbound SMTP session (RFC 5321), from the greeting to the end of the connection. One loop.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/dialogue.h"
#include "base/result.h"
#include "conf/config.h"
#include "delivery/notify.h"
#include "mta/authenticator.h"
#include "mta/limits.h"
#include "mta/policy.h"
#include "mta/rates.h"
#include "mta/sasl.h"
#include "net/line_buffer.h"
#include "net/runtime.h"
#include "net/scope.h"
#include "net/stream.h"
#include "net/task.h"
#include "net/tls_stream.h"
#include "queue/store.h"
#include "resolver/resolver.h"
#include "smtp/command.h"
#include "smtp/envelope.h"
#include "smtp/reply.h"
#include "smtp/trace.h"

namespace waypost::mta {

class RecipientAsker;

/// What the sessions of one loop stand on. It outlives the Scope that they run in.
struct ServerContext {
  net::Runtime& runtime;
  queue::Store& store;
  Limits& limits;  ///< of all loops
  /// The newest snapshot. Called at the start of a session and of each transaction, on their loop.
  std::function<std::shared_ptr<const conf::Config>()> config;
  /// False once the store takes nothing more: sessions and transactions are refused with 421 4.3.2. Set by any thread.
  const std::atomic<bool>& accepting;
  /// What TLS is made from for listeners of a role, or nullptr: none is to be had. Called as `config`.
  std::function<std::shared_ptr<const net::TlsServer>(conf::Role)> tls = nullptr;
  Authenticator* auth = nullptr;           ///< of all loops; null: nobody can log in
  Rates* rates = nullptr;                  ///< of all loops; null: none are kept
  resolver::Resolver* resolver = nullptr;  ///< of this loop; null: nothing is asked
  RecipientAsker* asker = nullptr;         ///< of this loop; null: next hops are not asked who exists
};

/// Takes part in one connection until it ends. Destroyed only after run() has returned.
class Session {
 public:
  static constexpr int kTarpitFrom = 10;  ///< errors; from here on each reply to one comes later than the last
  static constexpr int kMaxUnknownRecipients = 50;  ///< since the last message
  static constexpr int kMaxJunk = 100;              ///< commands that bring no mail forward, since the last message
  static constexpr int kEtrnWeight = 10;            ///< as many as that is one ETRN, which looks through the queue
  static constexpr std::size_t kMaxCommand = 2048;  ///< octets with the line end (RFC 5321 §4.5.3.1.4, and extensions)
  static constexpr std::size_t kMaxAuthLine = 12288;  ///< the same of AUTH and of responses (RFC 4954 §4.3)
  static constexpr int kMaxFailedLogins = 5;          ///< the last one closes the connection
  static constexpr int kMaxOwnHops = 5;               ///< Received fields of this host: it comes by again and again
  static constexpr net::Duration kCrowdedTimeout = std::chrono::minutes(1);  ///< for a command, when places are scarce
  static constexpr net::Duration kGrace = std::chrono::seconds(25);  ///< after a stop, for a message that is on its way
  static constexpr std::uint64_t kMinOctetsPerSecond = 100;          ///< of a body; slower ones are cut off
  static constexpr net::Duration kLongestBody = std::chrono::hours(6);

  /// `listener` is the one that took the connection; it outlives the session. `stop`: when it is requested, an idle
  /// client gets 421 4.3.2 at once, and one that sends a message may finish it within kGrace.
  Session(std::unique_ptr<net::Stream> stream, ServerContext& context, const conf::Listener& listener,
          Limits::Token place, std::stop_token stop);

  /// Returns when the connection is over. An error says why, where it was neither QUIT nor a reply of ours that closes.
  net::Task<Result<>> run();

  const std::string& client_name() const { return client_name_; }  ///< for the log: `unknown[192.0.2.1]`
  const std::string& last_verb() const { return last_verb_; }      ///< likewise: CONNECT before there was one
  /// For those who watch; nothing where nobody does.
  void note(dialogue::Voice voice, std::string_view text) const;

 private:
  struct Reception;  // session_data.cpp: a body on its way
  /// All that belongs to one message on its way in. Destroyed whole, on any outcome (RELIABILITY C4).
  struct Transaction {
    smtp::Envelope envelope;
    std::unordered_set<std::string> asked;    ///< addresses that RCPT named, as they are compared
    std::unordered_set<std::string> known;    ///< recipients: these, or whom they stand for
    std::shared_ptr<Reception> reception;     ///< once BDAT has begun
    std::optional<RateHold> rates;            ///< of a client whose class has some
    std::vector<delivery::Subject> expanded;  ///< aliases of several recipients whose success is asked for
    /// What the DNS says of the sender's domain: why recipients are refused, if they are; nullopt: not asked yet.
    std::optional<std::optional<smtp::Reply>> sender_verdict;
  };
  /// Where a read is pending, and no write: the only points at which a stop can speak, but in a handshake.
  enum class Waiting : std::uint8_t { nothing, command, body, handshake };  // or a proxy's header

  net::Task<Result<>> converse();
  net::Task<> recognise_user();
  net::Task<Result<>> wait_for_early_talk();
  net::Task<Result<net::LineBuffer::Line>> next_line();
  net::Task<Result<>> flush();
  std::optional<smtp::Reply> answer(const net::LineBuffer::Line& line);
  net::Task<Result<smtp::Reply>> carry_out();
  smtp::Reply later(smtp::Command command);
  smtp::Reply weigh(smtp::Reply reply);
  smtp::Reply close_with(smtp::Reply reply);
  void say(const smtp::Reply& reply);
  void use(std::shared_ptr<const conf::Config> config);
  void classify();
  net::TimePoint command_deadline() const;
  bool is_receiving() const;

  smtp::Reply on(const smtp::Helo& helo);
  smtp::Reply on(const smtp::Ehlo& ehlo);
  smtp::Reply on(const smtp::Mail& mail);
  smtp::Reply on(const smtp::Rcpt& rcpt);
  smtp::Reply on(const smtp::Data& data);
  smtp::Reply on(const smtp::Bdat& bdat);
  smtp::Reply on(const smtp::Rset& rset);
  smtp::Reply on(const smtp::Noop& noop);
  smtp::Reply on(const smtp::Vrfy& vrfy);
  smtp::Reply on(const smtp::Help& help);
  smtp::Reply on(const smtp::Etrn& etrn);
  smtp::Reply on(const smtp::Quit& quit);
  smtp::Reply on(const smtp::StartTls& start_tls);
  smtp::Reply on(const smtp::Auth& auth);
  smtp::Reply on(const smtp::Unknown& unknown);
  template <class NotOffered>
  smtp::Reply on(const NotOffered& command);
  smtp::Reply greet(const std::string& name, bool esmtp);
  net::Task<smtp::Reply> send_now(smtp::Etrn etrn);

  // session_envelope.cpp
  smtp::Path completed_recipient(const smtp::Rcpt& rcpt) const;
  smtp::Reply take_recipient(const smtp::Rcpt& rcpt, const smtp::Path& path);
  std::optional<smtp::Reply> over_rate(Rates::Kind kind);

  // session_checks.cpp
  bool is_stranger() const;
  bool has_to_ask(const smtp::Path& recipient) const;
  bool has_to_ask_dns(const smtp::Path& recipient) const;
  const conf::NextHop* next_hop_to_ask(const smtp::Path& recipient) const;
  std::optional<smtp::Reply> known_refusal() const;
  net::Task<smtp::Reply> ask_and_take(smtp::Rcpt rcpt, smtp::Path path);
  net::Task<std::optional<smtp::Reply>> ask_dns(smtp::Path recipient);
  net::Task<std::optional<smtp::Reply>> ask_next_hop(smtp::Path recipient);
  net::Task<std::optional<smtp::Reply>> look_at_client();
  net::Task<resolver::Answer<resolver::Mx>> look_up_domain(std::string domain);

  // session_tls.cpp
  bool can_start_tls() const;
  std::shared_ptr<const net::TlsServer> tls_server() const;
  net::Task<Result<>> secure(std::shared_ptr<const net::TlsServer> server);

  // session_proxy.cpp
  bool is_behind_proxy() const;
  std::optional<smtp::Reply> no_place();
  net::Task<Result<>> read_proxy_header();
  smtp::Reply on(const smtp::Xclient& xclient);
  void become(const net::Address& peer, const std::string& name);
  void set_peer_name(const std::string& name);

  // session_auth.cpp
  bool is_private() const;
  bool takes_logins() const;
  std::vector<std::string> offered_mechanisms() const;
  std::vector<sasl::Binding> bindings() const;
  net::Task<Result<smtp::Reply>> authenticate(smtp::Auth command);
  net::Task<Result<std::string>> ask(std::string challenge);
  net::Task<> await_turn(std::string login);
  net::Task<Result<dovecot::Answer>> look_at(sasl::Password password);
  net::Task<smtp::Reply> conclude(std::string mechanism, sasl::Step step, std::string login);
  smtp::Reply unanswered(const Error& error);
  smtp::Reply put_off(const std::string& mechanism, const Error& error) const;
  smtp::Reply logged_in(const std::string& mechanism, const std::string& given, const std::string& login);
  smtp::Reply refuse_login(const std::string& mechanism, const std::string& why, const std::string& login);
  bool login_holds() const;

  // session_data.cpp
  net::Task<Result<smtp::Reply>> receive();
  net::Task<Result<smtp::Reply>> receive_chunk(smtp::Bdat chunk);
  std::optional<smtp::Reply> chunk_refusal() const;
  net::Task<Result<smtp::Reply>> finish_body(Reception& reception);
  net::Task<Result<>> read_body(Reception& reception);
  net::Task<Result<>> read_octets(Reception& reception, std::uint64_t octets);
  net::Task<Result<std::string_view>> body_octets(const Reception& reception);
  net::Task<> spill(Reception& reception);
  net::Task<smtp::Reply> store_message(Reception& reception);
  net::TimePoint body_deadline(const Reception& reception) const;
  std::optional<smtp::Reply> verdict(const Reception& reception) const;
  smtp::Reply storage_reply(const Error& error);
  std::optional<queue::Notification> expansion_report(Reception& reception, const queue::NewMessage& message) const;
  queue::NewMessage describe(Reception& reception) const;
  std::string trace(const Reception& reception, const queue::NewMessage& message, const smtp::Protocol& protocol) const;

  void log_rejected(std::string_view stage, const smtp::Envelope* envelope, std::string_view to,
                    const smtp::Reply& reply) const;
  void begin_wind_up();
  net::Task<> wind_up();

  std::unique_ptr<net::Stream> stream_;
  ServerContext& context_;
  const conf::Listener& listener_;
  Limits::Token place_;
  const std::stop_token stop_;
  const std::uint64_t connection_ = dialogue::new_connection();
  std::shared_ptr<const conf::Config> config_;
  net::LineBuffer in_;
  std::string out_;    // replies that wait for the end of their group (RFC 2920 §3.2)
  net::Address peer_;  // whom all is said of: of the connection, or as its proxy says
  Client client_;
  std::string client_name_, peer_name_;
  bool may_xclient_ = false;

  std::optional<net::TlsInfo> tls_;                     // once a handshake has succeeded
  net::TlsStream* tls_stream_ = nullptr;                // stream_ then: for channel bindings
  std::shared_ptr<const net::TlsServer> starting_tls_;  // 220 to STARTTLS is about to go out

  std::string helo_;  // "": not greeted yet
  bool esmtp_ = false;
  smtp::CommandRules rules_;
  std::optional<Transaction> transaction_;
  std::optional<smtp::Command> pending_;                      // carry_out() comes next
  std::optional<std::optional<smtp::Reply>> client_verdict_;  // as Transaction::sender_verdict
  std::optional<net::Scope> looking_;                         // questions to the DNS that may be late
  std::string login_mechanism_;                               // of client_.login
  std::optional<Credentials> proof_;                          // by what it was proved, where we know that

  int errors_ = 0;
  int unknown_recipients_ = 0;
  int junk_ = 0;
  int failed_logins_ = 0;
  std::string last_verb_ = "CONNECT";
  bool look_for_tls_ = true;                 // a ClientHello may come now
  bool after_crlf_ = true;                   // so the last command ended: a dot after it may end a body
  net::Duration tarpit_ = net::Duration(0);  // before the next reply
  bool closing_ = false;                     // the last reply has been chosen

  Waiting waiting_ = Waiting::nothing;
  std::optional<net::Scope> winding_up_;  // after a stop
  bool said_goodbye_ = false;             // wind_up() wrote the last reply
};

/// One connection, from accept to its end: what a server spawns. `place` is given back at the end.
net::Task<> serve(std::unique_ptr<net::Stream> stream, ServerContext& context, const conf::Listener& listener,
                  Limits::Token place, std::stop_token stop);

}  // namespace waypost::mta
