// conf/config.h: the configuration as plain, validated values. Immutable once loaded; shared between threads.
#pragma once
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace waypost::conf {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// "192.0.2.1:25", "[2001:db8::1]:25". The host is a numeric address or, where the key admits it, a name.
struct HostPort {
  std::string host;        ///< without brackets
  std::uint16_t port = 0;  ///< 0: not given
  std::string text() const;
  bool operator==(const HostPort&) const = default;
};

/// An IPv4 or IPv6 network. IPv4-mapped IPv6 addresses match IPv4 networks.
struct Network {
  std::uint8_t family = 4;                          ///< 4 or 6
  std::uint8_t bytes[16] = {};                      ///< network order; IPv4 in the first four
  std::uint8_t prefix = 0;                          ///< bits
  bool contains(const std::string& address) const;  ///< numeric text; false if it is none
  std::string text() const;
  bool operator==(const Network&) const = default;
};

/// `address`: numeric text.
bool any_contains(const std::vector<Network>& networks, const std::string& address);

enum class Role : std::uint8_t { mx, submission };
enum class ListenerTls : std::uint8_t { none, starttls, implicit };

struct Listener {
  HostPort address;
  Role role = Role::mx;
  std::optional<ListenerTls> tls;    ///< always there once loaded: starttls with a certificate, else none
  bool reject_bare_newline = false;  ///< key `bare_newline = "normalize" | "reject"`
  bool smtputf8 = true;              ///< is offered
  std::optional<bool> auth;          ///< as given
  std::vector<Network> proxy;        ///< whose connections begin with a header of the PROXY protocol
  std::vector<Network> xclient;      ///< who may use XCLIENT
  bool takes_logins() const { return auth.value_or(role == Role::submission); }
  bool operator==(const Listener&) const = default;
};

/// `smtp:HOST:PORT`, `lmtp:...`, `maildir:...`, `reject:TEXT`, `discard:`.
struct NextHop {
  enum class Kind : std::uint8_t { smtp, lmtp_socket, lmtp_tcp, maildir, reject, discard };
  Kind kind = Kind::smtp;
  HostPort host;              ///< smtp, lmtp_tcp; port 0: delivery.port
  bool look_up_mx = false;    ///< smtp without brackets around HOST
  std::string value;          ///< lmtp_socket: the path; maildir: the template; reject: the text
  bool implicit_tls = false;  ///< smtp, given as `smtps:`: TLS from the first octet; the port is always there
  std::string text() const;   ///< as it would stand in the file
  bool operator==(const NextHop&) const = default;
};

/// What a session with an exchanger must have before mail goes to it, from the least to the most.
enum class TlsLevel : std::uint8_t {
  none,
  opportunistic,  ///< whatever can be had; a certificate is looked at, and taken whatever it is
  encrypt,        ///< TLS, with whatever certificate
  verify,         ///< a certificate that the roots vouch for, for the right name
  fingerprint,    ///< one of some public keys
};

/// What a route or a domain says of TLS with its hosts.
struct HopTls {
  std::optional<TlsLevel> level;          ///< nullopt: delivery.tls
  std::vector<std::string> names;         ///< verify: as in routes but "*"; empty: what tls_policy() makes of the hop
  std::vector<std::string> fingerprints;  ///< fingerprint: "sha256:" and hex, of a public key
  bool operator==(const HopTls&) const = default;
};

/// What an alias stands for.
struct AliasTarget {
  std::string address;  ///< with a domain, which is in lower case
  bool final = false;   ///< this mailbox itself, not an alias of that name
  bool operator==(const AliasTarget&) const = default;
};
/// By local part, in lower case; "@": of whoever is none.
using Aliases = std::map<std::string, std::vector<AliasTarget>>;

struct Domain {
  std::string name;                ///< lower case
  std::optional<NextHop> deliver;  ///< lmtp, maildir or smtp; nullopt: a virtual domain, which has aliases alone
  std::optional<std::vector<std::string>>
      recipients;              ///< known local parts, lower case, sorted; nullopt: all are taken
  bool asks_next_hop = false;  ///< recipients = "ask": who exists is asked of `deliver`, which is smtp or lmtp
  Aliases aliases;
  std::map<std::string, std::string> relocated;  ///< local part, lower case: the new address
  std::string sub_address;                       ///< what parts a user from a detail, "+"; "": nothing does
  HopTls tls{};                                  ///< where `deliver` is smtp
  bool operator==(const Domain&) const = default;
};

/// "500/1d": so many in such a time.
struct Rate {
  std::uint64_t most = 0;
  seconds period{0};
  std::string text() const;
  bool operator==(const Rate&) const = default;
};

/// What domains, sites or source addresses get at most: each of those that match for itself.
struct OutLimit {
  std::vector<std::string> domains;    ///< as in routes
  std::vector<std::string> sites;      ///< as in routes, or addresses: one of a site's hosts matches
  std::optional<int> connections;      ///< to a site, or from a source address
  std::optional<int> concurrency;      ///< messages of a domain at the same time
  std::optional<Rate> rate;            ///< messages
  std::vector<std::string> sources{};  ///< numeric addresses of this machine
  bool operator==(const OutLimit&) const = default;
};

/// How often mail has its turn while other mail for the same destination waits too.
enum class Priority : std::uint8_t { high, normal, bulk };

/// A class of clients, and what they may. Of the conditions, all that are given must hold; the first class counts.
struct ClientClass {
  std::string name;
  std::vector<Network> networks;
  std::vector<HostPort> listeners;
  std::vector<std::string> logins;  ///< lower case; "*": whoever has logged in; "*@a.example": such logins
  std::vector<std::string>
      certificates;  ///< "sha256:" and hex: a public key; or a name, lower case, that tls.ca vouches for

  std::string login;          ///< whom AUTH EXTERNAL logs in who has one of the certificates; "": nobody
  std::optional<bool> relay;  ///< nullopt: as relay.networks and logins have it
  bool require_tls = false;
  std::vector<std::string> senders;  ///< rules as of `waypost user senders`; empty: any
  std::string sender;                ///< takes the place of each reverse-path but the null one; "": none does
  std::optional<std::uint64_t> message_size;
  std::optional<int> recipients;  ///< of a message
  std::optional<Rate> message_rate, recipient_rate;
  bool rate_together = false;  ///< one count for all of the class; else one for each login, or each client
  Priority priority = Priority::normal;
  bool hide_client = false;  ///< Received says nothing of where it came from
  bool operator==(const ClientClass&) const = default;
};

/// As whom Waypost logs in at a next hop.
struct HostLogin {
  std::string user;
  std::string password_file;            ///< absolute
  std::string password;                 ///< its first line; never shown
  std::int64_t password_changed = 0;    ///< when the file was, in nanoseconds
  std::vector<std::string> mechanisms;  ///< that may be used: "SCRAM-SHA-256"; empty: whatever is known here
  bool operator==(const HostLogin&) const = default;
};

/// Of the conditions (match, senders, logins) all that are given must hold; the first route counts.
struct Route {
  std::string match;               ///< lower case: "a.example", "*.example", "*"
  std::vector<NextHop> next_hops;  ///< empty: the exchangers that DNS names
  HopTls tls{};
  std::string name{};                  ///< lower case; always there where senders or logins are
  std::vector<std::string> senders{};  ///< rules as of `waypost user senders`
  std::vector<std::string> logins{};   ///< as of ClientClass
  std::vector<int> weights{};          ///< empty: next hops are tried in order; else one for each of them
  std::optional<HostLogin> login{};
  std::vector<std::string> source{};  ///< numeric addresses; empty: delivery.source
  std::string ehlo{};                 ///< "": the hostname
  bool asks_sender() const { return !senders.empty() || !logins.empty(); }
  /// A password is for nobody but the host that it is meant for. `usual`: delivery.tls.
  TlsLevel tls_level(TlsLevel usual) const { return tls.level.value_or(login ? TlsLevel::verify : usual); }
  bool operator==(const Route&) const = default;
};

/// A file of rules about replies (delivery/reply_rules.h), as it was read.
struct RuleFile {
  static constexpr const char* kShipped = "shipped";
  std::string path;  ///< absolute, or kShipped: the rules that come with this program
  std::string text;  ///< of kShipped: ""
  bool operator==(const RuleFile&) const = default;
};

struct Config {
  std::string file;         ///< where it was read from
  std::uint64_t epoch = 0;  ///< its number among those that the daemon had (mta/config_epochs.h); 0: it has none
  /// What else was read, and is with each reload, where no other value here has it: included files and the folders,
  /// with a slash at the end, where they were looked for; what belongs to domains, a database with its "sqlite:".
  std::vector<std::string> files;
  std::string hostname;
  std::string data_dir = "/var/spool/waypost";
  std::string control_socket = "/run/waypost/control.sock";
  std::string submit_socket = "/run/waypost/submit.sock";  ///< default: beside the one before; "": none
  std::string user = "waypost";
  bool confine = true;                ///< key `confine = "auto" | "off"`
  std::vector<std::string> writable;  ///< folders that no other key names
  unsigned threads = 0;               ///< as given; 0: as many as cores
  std::string origin;                 ///< of submitted addresses without a domain; "": the hostname
  std::string postmaster;             ///< "" where it was not given and no [[domain]] can have one
  std::vector<Listener> listeners;

  struct Tls {
    std::string certificate, key, ca;
    struct Certificate {
      std::string certificate, key;
      bool operator==(const Certificate&) const = default;
    };
    std::vector<Certificate> certificates;
    bool operator==(const Tls&) const = default;
  } tls;
  struct Auth {
    std::string users;    ///< of a file, or "sqlite:" and that of a database
    std::string dovecot;  ///< a socket's path, or "inet:" and an address with its port; "": not asked
    bool require_tls = true;
    bool sender_must_match = false;
    bool knows_somebody() const { return !users.empty() || !dovecot.empty(); }
    bool operator==(const Auth&) const = default;
  } auth;
  struct Relay {
    std::vector<Network> networks;
    std::vector<std::string> domains;  ///< lower case, "*.x" and "*" as in routes
    bool open = false;
    bool operator==(const Relay&) const = default;
  } relay;
  std::vector<ClientClass> clients;
  /// Of clients of MX listeners that may not send to anyone.
  struct Checks {
    enum class Helo : std::uint8_t { any, qualified, resolves };
    /// A list of addresses in the DNS (RFC 5782).
    struct List {
      std::string zone;
      std::vector<Network> answers;  ///< that count; empty: 127.0.0.0/8
      int score = 1;                 ///< less than 0: the list speaks for a client
      bool operator==(const List&) const = default;
    };
    milliseconds greeting_delay{0};
    Helo helo = Helo::any;
    bool reverse_dns = false;
    bool sender_domain = false;
    int refuse_at = 1;  ///< the sum of scores
    milliseconds timeout{5000};
    std::vector<List> lists;
    bool any() const { return helo != Helo::any || reverse_dns || sender_domain || !lists.empty(); }
    bool operator==(const Checks&) const = default;
  } checks;
  std::vector<Domain> domains;
  struct Resolver {
    std::vector<HostPort> servers;  ///< empty: the system's
    milliseconds timeout{5000};
    int tries = 3;
    bool operator==(const Resolver&) const = default;
  } resolver;
  struct Delivery {
    std::uint16_t port = 25;
    std::vector<std::string> source;
    milliseconds connect_timeout{30'000};
    milliseconds command_timeout{300'000};
    milliseconds data_timeout{600'000};
    int concurrency = 20;
    int connections = 1000;
    bool chunking = true;
    bool send_unconverted = false;
    TlsLevel tls = TlsLevel::opportunistic;  ///< not fingerprint
    int tls_retry = 1;  ///< handshakes that fail before a host gets mail in clear, under opportunistic
    std::vector<RuleFile> reply_rules{{RuleFile::kShipped, ""}};  ///< in the order in which they are asked
    std::vector<OutLimit> limits;
    bool operator==(const Delivery&) const = default;
  } delivery;
  std::vector<Route> routes;
  struct Queue {
    std::vector<seconds> retry{seconds(300),  seconds(600),  seconds(1200), seconds(2400),
                               seconds(3600), seconds(7200), seconds(14400)};
    seconds expire{5 * 86400};
    seconds bounce_expire{86400};
    seconds delay_warning{4 * 3600};  ///< 0: never
    bool delay_over = false;
    seconds digest{86400};  ///< 0: never
    std::uint64_t inline_limit = 64 * 1024;
    bool operator==(const Queue&) const = default;
  } queue;
  struct History {
    seconds keep{30 * 86400};
    bool operator==(const History&) const = default;
  } history;
  struct Limits {
    std::uint64_t message_size = 50ULL * 1024 * 1024;
    int recipients = 1000;
    int connections = 10000;
    int connections_per_client = 100;
    std::optional<Rate> connection_rate;  ///< of one client
    int errors = 20;
    milliseconds command_timeout{300'000};
    milliseconds data_timeout{600'000};
    milliseconds handshake_timeout{30'000};  ///< of TLS
    int hops = 100;
    bool operator==(const Limits&) const = default;
  } limits;
  struct Log {
    std::string target = "stderr";
    bool json = false;
    std::string level = "info";  ///< debug | info | warning | error
    std::string syslog_name = "waypost";
    bool operator==(const Log&) const = default;
  } log;
  struct Admin {
    std::optional<HostPort> listen;  ///< metrics and health by HTTP; nullopt: nowhere
    bool operator==(const Admin&) const = default;
  } admin;

  /// The domain's block, or nullptr. `domain` in any case.
  const Domain* find_domain(const std::string& domain) const;
  bool operator==(const Config&) const = default;
};

/// True if `pattern` ("a.example", "*.example": all below it, "*") covers `domain`; neither case matters.
bool matches(const std::string& pattern, const std::string& domain);

/// True if `pattern` ("ann", "*@a.example", "*": whoever has logged in) covers `login`, which is in any case; "":
/// nobody has.
bool is_login(const std::string& pattern, const std::string& login);

}  // namespace waypost::conf
