// delivery/dispatcher_attempts.cpp: one message at one site, from the first host to its outcome.
#include <algorithm>
#include <utility>

#include "base/event_log.h"
#include "base/text.h"
#include "delivery/attempt.h"
#include "delivery/dispatcher.h"
#include "delivery/disposition.h"
#include "delivery/local.h"
#include "delivery/reply_rules.h"
#include "smtp/address.h"

namespace waypost::delivery {
namespace {

using namespace std::chrono_literals;

constexpr net::Duration kAvoidFamily = 24h;      // by which a host wants no mail
constexpr net::Duration kLongestSession = 300s;  // a connection is not kept for further messages after it

/// A host that may have taken the message the last time is asked first: it may know it again (PROTOCOL, "connection
/// lost after the final dot"). "": there is none.
std::string doubted_host(const std::vector<queue::DueRecipient>& recipients) {
  const queue::DueRecipient& one = recipients.front();
  return is_doubt(one.last_reply) ? one.last_host : "";
}

std::vector<Peer> with_first(const std::string& host, std::vector<Peer> peers) {
  if (host.empty()) return peers;
  std::stable_partition(peers.begin(), peers.end(), [&](const Peer& peer) { return peer.text() == host; });
  return peers;
}

/// Of two addresses what is known now of the one that is not used.
void learn_of_other(Site& site, const net::Address& address, const Connection::Raced& raced, net::TimePoint now) {
  const bool failed = raced.other == WayEnd::failed;
  const bool lost = raced.reached && (failed || raced.other == WayEnd::overtaken);
  if (lost && address.family == 6) {
    site.overtaken(address, now);
  } else if (failed) {
    site.failed(address, now);
  }
}

/// A session that is kept was made for another message, which may have wanted less of it, or was for a destination that
/// wants something else of the same host.
bool suits(const Connection& connection, const SessionFor& whom, const std::vector<Peer>& candidates) {
  const Peer& peer = connection.peer();
  const auto same = std::find_if(candidates.begin(), candidates.end(), [&peer](const Peer& each) {
    return each.name == peer.name && each.address.port == peer.address.port && each.tls == peer.tls &&
           same_identity(each.as, peer.as);
  });
  return same != candidates.end() && is_enough(policy_for(peer, whom, false), connection.tls());
}

HostFailure told_by(const Outcome& outcome) {
  HostFailure told;
  told.status = outcome.status;
  told.reason = outcome.reply;
  told.host = outcome.host;
  told.reaction = outcome.reaction;
  return told;
}

Outcome outcome(queue::Event event, std::string status, std::string reply) {
  Outcome out;
  out.event = event;
  out.status = std::move(status);
  out.reply = std::move(reply);
  return out;
}

}  // namespace

net::Task<> Dispatcher::deliver(Site& site, Job job, std::unique_ptr<Connection>& connection) {
  const std::vector<Part>& parts = job.parts;
  Tally tally(std::move(job.due));
  std::shared_ptr<const queue::Content> content = tally.due().content;
  if (!content) {
    Result<std::shared_ptr<const queue::Content>> read = co_await store_.content(tally.due().message->id);
    if (read) {
      content = *read;
    } else if (read.error().code == Errc::not_found || read.error().code == Errc::cancelled) {
      --site.busy;
      release(tally.due().message->id, parts, site.plan().key);  // an administrator removed it, or we stop
      co_return;
    } else {
      log::failure(tally.due().message->id.text() + ": reading the message: " + read.error().what);
      tally.close(of_local_error(read.error()));
    }
  }

  HostFailure failure;
  if (tally.any_open()) {
    switch (site.plan().kind) {
      case Plan::Kind::relay:
        failure = co_await relay(site, job, tally, content, connection);
        break;
      case Plan::Kind::maildir:
        tally.reached = true;
        co_await into_maildirs(site.plan().text, tally, content);
        break;
      case Plan::Kind::fail:
        tally.reached = true;
        tally.close(outcome(queue::Event::attempt_failed, site.plan().status, site.plan().text));
        break;
      case Plan::Kind::discard:
        tally.reached = true;
        tally.close(outcome(queue::Event::remove, "2.0.0", "discarded by a route"));
        break;
    }
  }

  if (tally.any_unlearnt()) {
    if (!failure.ours || !stopping_) {
      co_await fail_parts(site, parts, tally, failure);
      if (tally.begun) {
        // It may be the message: its recipients wait by themselves, and the next one asks whether the host is back.
        tally.learn_rest(from_host_failure(failure));
      } else {
        log_unlearnt(tally, failure);
      }
    }
  } else if (tally.told_to_wait) {
    for (const Part& part : parts) co_await fail_site(site, part.destination, *tally.told_to_wait);
  } else if (tally.reached) {
    for (const Part& part : parts) co_await destination_reached(part.destination);
    co_await site_reached(site.plan().key, parts.front().destination);
  }
  const Result<> recorded = co_await settle(tally, tally.unsettled(), content);
  if (!recorded && !stopping_) {
    const queue::Id id = tally.due().message->id;
    log::failure(id.text() + ": it may have been delivered, and is not attempted again before the next start");
    for (const Part& part : parts) schedule_.keep_out(id, part.destination);
  }
  --site.busy;
  release(tally.due().message->id, parts, site.plan().key);
}

/// Those of its destinations with a recipient of which nothing was learnt wait, or their site does.
net::Task<> Dispatcher::fail_parts(Site& site, const std::vector<Part>& parts, const Tally& tally,
                                   const HostFailure& failure) {
  std::size_t from = 0;
  for (const Part& part : parts) {
    const auto first =
        tally.entries().begin() + static_cast<std::ptrdiff_t>(std::exchange(from, from + part.recipients));
    const auto last = first + static_cast<std::ptrdiff_t>(part.recipients);
    const bool fails = std::any_of(first, last, [](const Tally::Entry& entry) { return !entry.learnt; });
    if (tally.told_to_wait) {
      co_await fail_site(site, part.destination, *tally.told_to_wait);
    } else if (!fails) {
      co_await destination_reached(part.destination);
    } else if (failure.ours || failure.of_destination) {
      co_await fail_destination(part.destination, failure);
    } else {
      co_await fail_site(site, part.destination, failure);
    }
  }
}

/// What a rule about a reply wants of the site.
void Dispatcher::react(Site& site, const net::Address& address, HostFailure told, Tally& tally) {
  if (!told.reaction) return;
  switch (told.reaction->action) {
    case Action::slow:
      scope_.spawn(slow_site(site.plan().key, *told.reaction, told.host + ": " + told.reason));
      return;
    case Action::wait:
      if (!tally.told_to_wait || tally.told_to_wait->reaction->time < told.reaction->time)
        tally.told_to_wait = std::move(told);
      return;
    case Action::other_address:
      site.avoid_family(address.family, runtime_.now() + kAvoidFamily);
      return;
    default:
      return;
  }
}

std::shared_ptr<const ReplyRules> Dispatcher::rules() {
  const std::vector<conf::RuleFile>& files = config_()->delivery.reply_rules;
  if (rules_ != nullptr && files == rules_of_) return rules_;
  ReplyRules::Parsed parsed = ReplyRules::parse(files);
  if (!parsed.errors.empty()) log::failure("rules about replies: " + parsed.errors.front().text());
  rules_ = std::move(parsed.rules);
  rules_of_ = files;
  return rules_;
}

/// It has failed at something that it offers: PIPELINING or CHUNKING (RELIABILITY F39). It goes on without for a day.
void Dispatcher::mistrust(const HostFailure& failure, const net::Address& address) {
  using Suspect = HostFailure::Suspect;
  if (failure.suspect == Suspect::none) return;
  const bool pipelining = failure.suspect == Suspect::pipelining;
  HostMemory& memory = pipelining ? no_pipelining_ : no_chunking_;
  memory.failed(address, runtime_.now());
  log::done_without(failure.host, pipelining ? "PIPELINING" : "CHUNKING", failure.reason,
                    std::chrono::duration_cast<std::chrono::seconds>(kDoneWithout));
}

/// Deferred with their destination: a line each, though nothing is recorded of them.
void Dispatcher::log_unlearnt(const Tally& tally, const HostFailure& failure) {
  const queue::MessageInfo& message = *tally.due().message;
  const std::string id = message.id.text();
  for (std::size_t at = 0; at < tally.entries().size(); ++at) {
    if (tally.entries()[at].learnt) continue;
    const std::string to = tally.due().recipients[at].forward_path.text();
    log::attempt({id, to, failure.host, runtime_.wall_now() - message.arrival, failure.status, "deferred",
                  failure.reason, failure.tls});
    stats_.count(queue::Event::attempt_deferred);
  }
}

/// The site's hosts in the order to try them, and as whom and from where we come.
Dispatcher::Candidates Dispatcher::candidates(const Site& site, queue::Id message, const Job& job) {
  const net::TimePoint now = runtime_.now();
  const std::vector<net::Address>& pool = site.plan().sources;
  Candidates out;
  for (Peer& peer : site.candidates(now, runtime_.random(), job.tls)) {
    peer.as = job.as;
    peer.given = job.given;
    // A message has the same one at each attempt, where it may: a host may know it (RFC 6647).
    peer.source = sources_.choose(pool, peer.address.family, message.value, now);
    if (job.source && job.source->family == peer.address.family) {
      peer.source = job.source;
      peer.held = job.held;
    } else if (job.source && peer.source && sources_.next({*peer.source}, now) > now) {
      out.left_out = true;
      continue;
    }
    // A route that has addresses of its own uses no other.
    if (!peer.source && job.as != nullptr && !job.as->source.empty()) continue;
    out.peers.push_back(std::move(peer));
  }
  return out;
}

/// Tries the site's hosts until no recipient is open. Returns the last host's failure, for those of which nothing was
/// learnt.
net::Task<HostFailure> Dispatcher::relay(Site& site, const Job& job, Tally& tally,
                                         std::shared_ptr<const queue::Content> content,
                                         std::unique_ptr<Connection>& connection) {
  const queue::MessageInfo& message = *tally.due().message;
  // A report is better delivered without what it asks for than not at all (RFC 8689 §5).
  const SessionFor whom{domain_of(tally.due().destination), message.require_tls && !message.reverse_path.is_null()};
  const std::string doubted = doubted_host(tally.due().recipients);
  Candidates found = candidates(site, message.id, job);
  HostChoice hosts(site, with_first(doubted, std::move(found.peers)), doubted);
  HostFailure last;
  bool unasked = false;  // a host that may come back
  bool apart = false;    // a host may do well for other destinations
  if (hosts.candidates().empty()) {
    last.ours = true;
    last.status = "4.4.3";
    last.reason = "none of its hosts can be reached by an address that mail may leave from";
  }
  while (tally.any_open() && !tally.told_to_wait) {
    const bool from_another = connection && job.source && job.held && connection->peer().source != job.source;
    if (connection && connection->usable() && (from_another || !suits(*connection, whom, hosts.candidates()))) {
      co_await connection->quit();
      connection->give_up();
    }
    const bool kept = connection && connection->usable();
    if (!kept) {
      if (connection) open_.erase(connection->number());
      connection.reset();
      std::optional<HostChoice::Next> next = hosts.next(runtime_.now());
      last.ours = last.ours || stopping_;
      if (!next || stopping_) break;
      const Result<> early = co_await settle(tally, tally.taken(), content);  // the next may be silent for minutes
      (void)early;                                                            // it is tried once more at the end
      HostFailure failure;
      const Connection::Raced raced = co_await open_next(site, message.id, *next, whom, connection, failure);
      const Peer& used = raced.by_rival ? *next->rival : next->peer;
      const std::optional<Peer> other = raced.by_rival ? next->peer : next->rival;
      hosts.asked(used.address, other, raced.other);
      if (other) learn_of_other(site, other->address, raced, runtime_.now());
      react(site, used.address, failure, tally);
      if (failure.login) log::failure(failure.host + ": " + failure.reason);
      if (!connection && failure.loop) {
        met_ourselves(site, job.by_dns, tally, used.address, std::move(failure), last);
        hosts.met_ourselves(used.address);
        continue;
      }
      const bool own_demand = whom.require_tls && used.tls.level < conf::TlsLevel::verify;
      const bool of_destination = job.by_dns && used.tls.level > conf::TlsLevel::opportunistic;
      const bool by_tls = failure.tls_trouble != HostFailure::Tls::none && (own_demand || of_destination);
      // Other mail for the host does not wait with it; but a handshake that fails may have held a worker for a minute.
      if (!connection && by_tls && failure.tls_trouble == HostFailure::Tls::handshake) {
        site.failed(used.address, runtime_.now());
        site.host_failed();
      }
      if (!connection && !failure.ours && (!by_tls || !own_demand)) tally.host_failed(failure);
      if (!connection && by_tls && !own_demand) {
        last = std::move(failure);
        apart = true;
        continue;
      }
      if (!connection && by_tls) {
        unasked = true;
        const std::vector<std::size_t> open = tally.open();
        tally.record(open, std::vector<Outcome>(open.size(), from_host_failure(failure)));
        continue;
      }
      if (!connection) {
        last = std::move(failure);
        if (used.source && last.bad_source) {
          log::failure(last.host + ": " + last.reason);
          sources_.failed(*used.source, runtime_.now());
          const auto spare =
              sources_.choose(site.plan().sources, used.address.family, message.id.value, runtime_.now());
          if (!sources_.has_failed(*spare, runtime_.now())) {
            hosts.forget(used.address);
            continue;
          }
        }
        if (last.ours) break;
        site.failed(used.address, runtime_.now());
        site.host_failed();
        continue;
      }
    }
    const net::Address address = connection->peer().address;
    hosts.asked(address, std::nullopt, WayEnd::unused);
    const std::size_t before = connection->transactions();
    std::vector<std::size_t> positions;
    AttemptResult result = co_await transactions(site, *connection, tally, content, positions);
    const bool wrong_family = site.avoids_family(address.family, runtime_.now());
    if (connection->transactions() > before && !(kept && result.host) && !wrong_family) hosts.began_session();
    if (!result.host) {
      site.succeeded();
      site.worked(address);
      const bool too_old = runtime_.now() - open_.at(connection->number()).since > kLongestSession;
      if (connection->usable() && (tally.any_open() || too_old)) {
        co_await connection->quit();
        connection->give_up();
      }
      continue;
    }
    last = *result.host;
    if (last.login) log::failure(last.host + ": " + last.reason);
    connection->give_up();
    // In a session that has taken a message it is something else.
    if (before > 0) last.suspect = HostFailure::Suspect::none;
    mistrust(last, address);
    if (result.in_doubt) {
      // It may have been taken: no other host is tried now, and the next attempt waits longer.
      tally.in_doubt = true;
      for (Outcome& one : result.outcomes) one.try_next_host = false;
      tally.record(positions, result.outcomes);
      break;
    }
    for (std::size_t i = 0; i < positions.size(); ++i) {
      const Outcome& one = result.outcomes[i];
      if (one.event != queue::Event::attempt_deferred || !one.try_next_host) tally.record({positions[i]}, {one});
    }
    // Without what it may have failed at, it may do well.
    if (last.suspect != HostFailure::Suspect::none) hosts.once_more(address);
    if (kept) {
      // The host had closed a connection that was kept idle: that says nothing about it.
      hosts.forget(address);
      continue;
    }
    tally.host_failed(last);
    tally.begun = tally.begun || !result.before_mail;
    site.failed(address, runtime_.now());
    site.host_failed();
  }
  if (tally.told_to_wait) last = *tally.told_to_wait;
  last.asked = tally.asked_in_vain();
  if (tally.told_to_wait) tally.told_to_wait->asked = last.asked;
  if (found.left_out) last.ours = true;  // of those that were left out nothing is known
  tally.stop(unasked || !last.reason.empty());
  last.of_destination = apart || tally.begun || tally.reached;
  co_return last;
}

/// With the peer or its rival. Where they are connected from is told in `next`.
net::Task<Connection::Raced> Dispatcher::open_next(const Site& site, queue::Id message, HostChoice::Next& next,
                                                   SessionFor whom, std::unique_ptr<Connection>& connection,
                                                   HostFailure& failure) {
  const std::shared_ptr<const conf::Config> config = config_();
  ClientSettings settings = client_settings(*config);
  if (tls_) settings.tls = tls_();
  settings.rules = rules();
  Peer peer = next.peer;
  std::optional<Peer> rival = next.rival;
  const net::TimePoint now = runtime_.now();
  for (Peer* each : {&peer, rival ? &*rival : nullptr}) {
    if (each == nullptr || !each->source) continue;
    if (sources_.has_failed(*each->source, now)) {
      each->source = sources_.choose(site.plan().sources, each->address.family, message.value, now);
      each->held = nullptr;
    }
    if (each->held != nullptr) continue;
    each->held = sources_.hold(*each->source);
    sources_.take(*each->source, now);
  }
  next.peer.source = peer.source;
  if (rival) next.rival->source = rival->source;
  Connection::Opened opened = co_await open_session(runtime_, std::move(peer), std::move(rival), std::move(settings),
                                                    std::move(whom), tls_memory_, scope_.stop_token());
  failure = std::move(opened.failure);
  connection = std::move(opened.connection);
  if (connection) {
    open_.emplace(connection->number(), Open{connection.get(), runtime_.now()});
    const net::Address& address = connection->peer().address;
    if (no_pipelining_.failures(address, runtime_.now()) > 0) connection->do_without_pipelining();
    if (no_chunking_.failures(address, runtime_.now()) > 0) connection->do_without_chunking();
  }
  co_return opened.raced;
}

/// One, and at once another for those for whom it had no room, as long as the host takes some (RFC 5321 §4.5.3.1.10).
/// `positions` are the recipients of the last one; what came of the others is recorded, and of these too unless the
/// host failed.
net::Task<AttemptResult> Dispatcher::transactions(Site& site, Connection& connection, Tally& tally,
                                                  std::shared_ptr<const queue::Content> content,
                                                  std::vector<std::size_t>& positions) {
  positions = tally.open();
  for (;;) {
    const std::vector<queue::DueRecipient> recipients = tally.recipients(positions);
    queue::OpenBody open_body = [this, &content] { return store_.read_body(content); };
    AttemptResult result =
        co_await attempt(connection, *tally.due().message, recipients, *content, std::move(open_body));
    for (const Outcome& one : result.outcomes)
      if (one.reaction) react(site, connection.peer().address, told_by(one), tally);
    if (result.host) react(site, connection.peer().address, *result.host, tally);
    if (result.host) co_return result;
    tally.reached = true;
    tally.record(positions, result.outcomes);
    std::vector<std::size_t> further;
    bool any_taken = false;
    for (std::size_t i = 0; i < positions.size(); ++i) {
      if (result.outcomes[i].next_transaction) further.push_back(positions[i]);
      any_taken = any_taken || result.outcomes[i].taken();
    }
    if (further.empty() || !any_taken || !connection.usable() || stopping_ || tally.told_to_wait) co_return result;
    const Result<> early = co_await settle(tally, tally.taken(), content);
    (void)early;  // it is tried once more at the end
    positions = std::move(further);
  }
}

/// An exchanger that is ourselves, though its address did not tell. Mail that no other host is to take before us loops,
/// for good; else the others are down for now. No host after ourselves is to be tried (RFC 5321 §5.1). A next hop of
/// the configuration is the administrator's to mend.
void Dispatcher::met_ourselves(const Site& site, bool by_dns, Tally& tally, const net::Address& address,
                               HostFailure found, HostFailure& last) {
  if (by_dns && site.is_most_preferred(address)) {
    tally.reached = true;
    tally.close(from_host_failure(found));
  } else if (last.reason.empty()) {
    last = std::move(found);
    last.loop = false;
    last.status = "4.4.6";
  }
}

net::Task<> Dispatcher::into_maildirs(const std::string& path_template, Tally& tally,
                                      std::shared_ptr<const queue::Content> content) {
  const std::shared_ptr<const conf::Config> config = config_();
  for (const std::size_t at : tally.open()) {
    queue::OpenBody open_body = [this, &content] { return store_.read_body(content); };
    Outcome one =
        co_await deliver_to_maildir(runtime_, open_folder_, path_template, *tally.due().message,
                                    tally.due().recipients[at], *content, std::move(open_body), config->hostname);
    one.try_next_host = false;
    tally.record({at}, {one});
  }
}

}  // namespace waypost::delivery
