// delivery/dispatcher.h: from what is due to attempts and their outcomes. One for the process, on one loop.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "conf/config.h"
#include "delivery/attempt.h"
#include "delivery/connection.h"
#include "delivery/host_choice.h"
#include "delivery/notify.h"
#include "delivery/open_session.h"
#include "delivery/route.h"
#include "delivery/site.h"
#include "delivery/sources.h"
#include "delivery/tally.h"
#include "net/runtime.h"
#include "net/scope.h"
#include "queue/files.h"
#include "queue/schedule.h"
#include "queue/store.h"
#include "resolver/exchangers.h"

namespace waypost::delivery {

using ConfigSource = std::function<std::shared_ptr<const conf::Config>()>;

/// What an administrator wants of recipients that wait.
struct HandOrder {
  enum class Kind : std::uint8_t {
    bounce,   ///< they have failed for good: notifications go out as ever
    reroute,  ///< they go by another next hop
    redirect  ///< another recipient gets the message
  };
  Kind kind = Kind::bounce;
  queue::Filter filter;
  std::string reason;
  std::string next_hop;  ///< reroute: as ForwardRequest::next_hop
  smtp::Path to;         ///< redirect
  queue::Watched progress;
};
/// What came of it.
struct ByHand {
  std::uint64_t messages = 0, recipients = 0;
  std::uint64_t busy = 0;          ///< messages that are being attempted just now, and stay as they are
  std::uint64_t failed = 0;        ///< messages that could not be read or written
  std::optional<Error> cut_short;  ///< those above are done all the same
  bool stopped = false;            ///< likewise, by Progress::stop()
};

/// Keeps a bounded window of what is due, finds each destination's site, and lets a bounded number of workers deliver,
/// each with one connection that it keeps for the next message. References outlive it.
class Dispatcher {
 public:
  Dispatcher(net::Runtime& runtime, queue::Store& store, resolver::Resolver& resolver, ConfigSource config,
             std::function<std::vector<net::Address>()> own_addresses, queue::OpenFolder open_folder,
             queue::Schedule::Limits window = {}, TlsSource tls = nullptr);
  ~Dispatcher();

  /// Whom the digest of what could not be delivered goes to (queue.digest). Without it, or where it names nobody:
  /// none is sent. Before start().
  void set_postmasters(std::function<std::vector<smtp::Path>()> postmasters) { postmasters_ = std::move(postmasters); }

  /// Begins. What is due already is read from the store.
  void start();

  // What the store tells (queue::StoreEvents), posted to this loop.
  void arrived(std::vector<queue::Due> due);
  void changed();
  /// The configuration was replaced: routes apply to mail that already waits.
  void reconfigured();

  /// The end of a message's recipients that are in doubt, of the one with this address or ("") of all, as an
  /// administrator knows it: how many. Errors: as Store::unsettled() and settle(); busy where one is attempted just
  /// now.
  net::Task<Result<std::size_t>> settle_doubt(queue::Id id, std::string address, bool delivered, std::string reason);

  /// Carries it out, for recipients that are deferred or held, and for messages that were there when it began: not for
  /// the notifications that it makes.
  net::Task<ByHand> by_hand(HandOrder order);

  /// No new attempt begins; those under way may end.
  void stop();
  /// Their connections are closed.
  void abort();
  bool running() const { return scope_.running() > 0; }

  struct Stats {
    std::uint64_t delivered = 0, relayed = 0, deferred = 0, bounced = 0, expired = 0;
    std::size_t connections = 0, sites = 0, destinations = 0, held = 0;
    void count(queue::Event outcome);  ///< of one recipient, committed
  };
  Stats stats() const;

  /// Destinations with mail in the window, or in back-off, that fail by themselves or with their site.
  struct Failing {
    std::size_t destinations = 0;
    std::vector<std::pair<std::string, queue::WallTime>> longest;  ///< some of them, and since when
  };
  Failing failing(std::size_t most) const;

  /// What the configuration says of sessions with hosts. Without `tls`.
  static ClientSettings client_settings(const conf::Config& config);

  /// What was found out about a destination.
  struct Found {
    Plan plan;                  ///< without a key: there is none for now
    std::vector<TlsTerms> tls;  ///< of each next hop
    std::shared_ptr<const Identity> as;
    bool by_dns = false;
    bool given = false;
    net::TimePoint valid_until{};
    HostFailure trouble;  ///< why there is none
  };
  /// Where its mail goes by now, or why it goes nowhere. Nothing is changed by it.
  net::Task<Found> find_plan(std::string destination);

 private:
  /// A destination with mail in the window, or in back-off.
  struct Destination {
    queue::DestinationState state;
    std::string site;           ///< its key, once planned; "" before
    std::vector<TlsTerms> tls;  ///< what it wants of each next hop of its site
    std::shared_ptr<const Identity> as;
    Pace pace, slow;          ///< as those of Site
    int most_busy = 0;        ///< messages on the way at a time; 0: any number
    int busy = 0;             ///< messages on the way
    bool wants_turn = false;  ///< it had its turn, and has to wait for the end of another message, or for its pace
    bool timed = false;       ///< as Site::timed
    bool by_dns = false;      ///< its hosts are what the DNS names for it, not the configuration's
    bool given = false;       ///< as Peer::given
    net::TimePoint valid_until{};
    bool planning = false;
    bool unread = false;  ///< mail of it was left in the store while it failed
  };
  /// Recipients of a message that wait at a destination.
  struct Part {
    std::string destination;
    std::size_t recipients = 0;
  };
  /// A message to deliver, and what its destinations want of the hosts of their site.
  struct Job {
    queue::Due due;           ///< with the recipients of all parts
    std::vector<Part> parts;  ///< the first is of the destination whose turn it was
    std::vector<TlsTerms> tls;
    std::shared_ptr<const Identity> as;
    bool by_dns = false;
    bool given = false;                  ///< as Peer::given
    std::optional<net::Address> source;  ///< that the message leaves from, where those of the site have limits
    std::shared_ptr<const void> held;    ///< a connection from there
  };
  /// A site that fails, or is held: durable, whereas a Site is there while there is mail for it.
  struct Trouble {
    queue::DestinationState state;
    bool unread = false;           ///< mail for it was left in the store
    queue::WallTime told_until{};  ///< it said itself that it wants no mail until then
  };
  /// A worker that keeps its connection for further mail.
  struct Idler {
    const Connection* connection = nullptr;
    net::TimePoint since;
    std::stop_source woken{};
    bool listed = true;
  };
  /// An open connection of a worker.
  struct Open {
    Connection* connection = nullptr;
    net::TimePoint since;
  };
  using Idlers = std::multimap<std::uint64_t, Idler*>;                   ///< by Site::number
  static constexpr std::string_view kNoUsableExchangerStatus = "4.4.4";  ///< of a destination: it has MX, none usable
  net::Task<> run();
  net::Task<> sweep();
  net::Task<bool> overdue_in_turn();
  net::Task<bool> expire_or_warn(queue::Overdue overdue);
  net::Task<> tell_postmaster();
  bool notes_for_digest(const queue::MessageInfo& message) const;
  net::Task<> watch_clock();
  net::Task<> recall_time();
  net::Task<> note_time();
  net::Task<> forget_removed();
  net::Task<> refill();
  void take_page(queue::DuePage page);
  void begin(const std::string& destination);
  net::Task<> plan(std::string destination);
  void pump(const std::string& key);
  void pump_starved();
  bool connection_free() const;
  bool connection_free_for(const Site& site) const;
  void wake_idler(Idlers::iterator entry);
  bool gives_way(const Site& site, int messages) const;
  net::Task<> work(std::string key);
  std::optional<Job> next_job(Site& site, const Connection* kept);
  void reserve_source(const Site& site, const Connection* kept, Job& job);
  net::TimePoint next_message(const Site& site, const Connection* kept) const;
  Idlers::iterator idler_of(const Site& site);
  void come_at(Site& site, net::TimePoint next);
  std::optional<net::TimePoint> allowed_from(const Destination& destination) const;
  bool may_go(const std::string& name, Destination& destination);
  void took(Destination& destination);
  void take_along(const Site& site, const Destination& first, Job& job);
  net::Task<> come_back(std::string key, net::TimePoint at);
  net::Task<> come_back_for(std::string destination, net::TimePoint at);
  void take_turn(const std::string& destination);
  net::Task<bool> idle(Site& site, const Connection* connection);
  bool is_over(const Site& site) const;

  // dispatcher_attempts.cpp
  net::Task<> deliver(Site& site, Job job, std::unique_ptr<Connection>& connection);
  net::Task<HostFailure> relay(Site& site, const Job& job, Tally& tally, std::shared_ptr<const queue::Content> content,
                               std::unique_ptr<Connection>& connection);
  net::Task<AttemptResult> transactions(Site& site, Connection& connection, Tally& tally,
                                        std::shared_ptr<const queue::Content> content,
                                        std::vector<std::size_t>& positions);
  net::Task<Connection::Raced> open_next(const Site& site, queue::Id message, HostChoice::Next& next, SessionFor whom,
                                         std::unique_ptr<Connection>& connection, HostFailure& failure);
  struct Candidates {
    std::vector<Peer> peers;
    bool left_out = false;  ///< others, which wait for a source address of their family
  };
  Candidates candidates(const Site& site, queue::Id message, const Job& job);
  void met_ourselves(const Site& site, bool by_dns, Tally& tally, const net::Address& address, HostFailure found,
                     HostFailure& last);
  void react(Site& site, const net::Address& address, HostFailure told, Tally& tally);
  std::shared_ptr<const ReplyRules> rules();
  void mistrust(const HostFailure& failure, const net::Address& address);
  void log_unlearnt(const Tally& tally, const HostFailure& failure);
  net::Task<> into_maildirs(const std::string& path_template, Tally& tally,
                            std::shared_ptr<const queue::Content> content);

  // dispatcher_outcomes.cpp
  net::Task<Result<>> settle(Tally& tally, std::vector<std::size_t> positions,
                             std::shared_ptr<const queue::Content> content);
  net::Task<std::optional<queue::Notification>> notification(const queue::MessageInfo& message,
                                                             std::vector<Subject> subjects,
                                                             std::shared_ptr<const queue::Content> content);
  net::Task<Result<bool>> commit(queue::Settlement settlement);
  net::Task<std::string> original_of(std::shared_ptr<const queue::Content> content, bool whole);

  // dispatcher_by_hand.cpp
  net::Task<Result<std::size_t>> end_by_hand(queue::Overdue found, std::vector<std::size_t> positions,
                                             std::vector<Outcome> outcomes);
  net::Task<Result<std::size_t>> forward(queue::Overdue found, std::vector<std::size_t> positions,
                                         std::shared_ptr<const HandOrder> order);
  net::Task<> by_hand(queue::Matches::Message message, std::shared_ptr<const HandOrder> order, ByHand& done);
  bool claim(const queue::Overdue& found, const std::vector<std::size_t>& positions, std::vector<std::string>& claimed);
  void let_go(queue::Id message, const std::vector<std::string>& claimed);

  // dispatcher_destinations.cpp
  void note_state(queue::DestinationState state);
  Trouble* trouble_of(const Destination& destination);
  net::Task<> recall();
  bool add_failure(queue::DestinationState& state, const HostFailure& failure);
  net::Task<> record(queue::DestinationState state);
  net::Task<> fail_destination(std::string destination, HostFailure failure);
  net::Task<> fail_site(Site& site, std::string destination, HostFailure failure);
  net::Task<> fail_parts(Site& site, const std::vector<Part>& parts, const Tally& tally, const HostFailure& failure);
  net::Task<> slow_site(std::string key, Reaction reaction, std::string reply);
  void set_spacing(const queue::DestinationState& state);
  void speed_up_all();
  void log_failing(const std::string& destination, const queue::DestinationState& state) const;
  net::Task<> join_site(std::string destination, std::string key);
  net::Task<> destination_reached(std::string destination);
  net::Task<> site_reached(std::string key, std::string destination);
  bool is_joined(const Destination& destination, const std::string& key) const;
  bool waits(const std::string& destination);
  bool is_asked(const std::string& key) const;
  bool stays_in_store(const std::string& destination);
  void release(queue::Id message, const std::vector<Part>& parts, const std::string& key);
  void read_site(const std::string& key);
  void drop_waiting(const std::string& destination);
  void read_unread(const std::string& destination);
  void forget_destinations();

  net::Task<> compare_routes();
  net::Task<> redirect_all();
  net::Task<> redirect(std::vector<Redirected> redirected);
  bool wants_to_read() const;
  void due_at(queue::WallTime at);
  void wake();

  net::Runtime& runtime_;
  queue::Store& store_;
  resolver::Resolver& resolver_;
  ConfigSource config_;
  std::function<std::vector<net::Address>()> own_addresses_;
  queue::OpenFolder open_folder_;  ///< Maildirs
  std::function<std::vector<smtp::Path>()> postmasters_;
  TlsSource tls_;
  HostMemory tls_memory_{kTlsGivenUp};
  static constexpr net::Duration kDoneWithout = std::chrono::hours(24);
  HostMemory no_pipelining_{kDoneWithout}, no_chunking_{kDoneWithout};
  Sources sources_;
  std::shared_ptr<const ReplyRules> rules_;
  std::vector<conf::RuleFile> rules_of_;  ///< what they were made from
  net::Scope scope_;
  queue::Schedule schedule_;
  std::unordered_map<std::string, Destination> destinations_;
  std::map<std::string, std::unique_ptr<Site>> sites_;
  std::uint64_t sites_made_ = 0;
  std::map<std::string, Trouble> troubles_;  ///< by a site's key
  Idlers idlers_;
  std::map<std::uint64_t, Open> open_;    ///< by Connection::number(); to be closed by abort()
  std::set<std::string> wanting_source_;  ///< sites that wait for an address to connect from
  std::deque<std::string> starved_;       ///< sites without a worker that wait for one of the connections in all
  std::size_t connections_ = 0;
  std::size_t leaving_ = 0;  ///< workers that take no mail any more: their connections are about to be free
  bool pumping_ = false;
  std::optional<queue::WallTime> next_due_;
  std::optional<queue::DueResume> resume_;
  net::TimePoint clock_seen_{};  ///< when the wall clock was `wall_seen_`
  queue::WallTime wall_seen_{};
  net::TimePoint expiry_from_{};  ///< nothing expires until then: the wall clock leapt
  queue::WallTime began_{};
  net::TimePoint first_attempts_until_{};  ///< what had expired before `began_` does not leave until then
  net::TimePoint note_at_{};               ///< when the wall clock is written down again, and removed mail goes
  std::stop_source wake_;
  bool woken_ = false;
  bool read_store_ = true;
  net::TimePoint round_at_{};  ///< when the store may be read from its beginning again
  bool round_found_ = false;   ///< the last round brought something
  bool recall_ = true;
  bool knows_states_ = false;  ///< what fails or is held was read from the store
  bool compare_routes_ = true;
  bool forgetting_ = false;       ///< what was removed long ago is let go
  bool redirecting_ = false;      ///< all that waits is gone through
  std::uint64_t redirected_ = 0;  ///< times that recipients were put elsewhere: what was read before is out of date
  bool untold_ = true;            ///< there may be something to tell the postmaster
  bool stopping_ = false;
  Stats stats_;
};

}  // namespace waypost::delivery
