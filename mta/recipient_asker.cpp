#include "mta/recipient_asker.h"

#include <string_view>
#include <utility>

#include "base/escape.h"
#include "base/event_log.h"
#include "base/text.h"
#include "delivery/dispatcher.h"

namespace waypost::mta {
namespace {

using delivery::Connection;
using delivery::Standing;

constexpr std::size_t kShown = 320;  // octets of an address in the log

void on_exception(std::string_view what) {
  log::failure("asking for a recipient: an exception: " + std::string(what));
}

/// Case of a local part is the next hop's affair. One that takes the place of another has all to say anew.
std::string key_of(const conf::NextHop& next_hop, const smtp::Mailbox& mailbox) {
  return next_hop.text() + " " + mailbox.local + "@" + to_lower(mailbox.domain);
}

Standing undecided(std::string why) {
  Standing standing;
  standing.host_failed = true;
  standing.why = std::move(why);
  return standing;
}

/// One worker of a hop, while it lives.
class Counted {
 public:
  explicit Counted(std::size_t& count) : count_(count) { ++count_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --count_; }

 private:
  std::size_t& count_;
};

}  // namespace

RecipientAsker::RecipientAsker(Parts parts) : parts_(std::move(parts)), scope_(parts_.runtime, on_exception) {}

net::Task<RecipientAsker::Answer> RecipientAsker::ask(conf::NextHop next_hop, smtp::Path path, std::stop_token stop) {
  using State = RecipientCache::State;
  const std::string key = key_of(next_hop, path.mailbox);
  const State state = parts_.cache.find(key, parts_.runtime.now());
  if (state == State::known) co_return Answer::known;
  if (state == State::unknown) co_return Answer::unknown;
  Answer answer = Answer::undecided;
  const QuestionPtr question = join(key, next_hop, path);
  if (question) {
    co_await wait(question, std::move(stop));
    answer = question->answer;
  }
  if (answer == Answer::undecided && state == State::was_known) answer = Answer::known;
  co_return answer;
}

/// The question, which may have been asked already; nullptr: it is not worth waiting.
RecipientAsker::QuestionPtr RecipientAsker::join(const std::string& key, const conf::NextHop& next_hop,
                                                 const smtp::Path& path) {
  const net::TimePoint now = parts_.runtime.now();
  const auto found = questions_.find(key);
  if (found != questions_.end() && found->second->deadline > now) return found->second;
  const std::string domain = to_lower(path.mailbox.domain);
  const delivery::TlsTerms terms = delivery::tls_terms(*parts_.config(), domain, next_hop);
  Hop& hop = hops_[next_hop.text() + delivery::tls_key(terms, domain)];
  if (now < hop.down_until || hop.waiting.size() >= kMostWaiting || scope_.stopping()) return nullptr;
  hop.next_hop = next_hop;
  hop.domain = domain;
  auto question = std::make_shared<Question>();
  question->key = key;
  question->path = path;
  question->path.mailbox.domain = to_lower(path.mailbox.domain);
  question->deadline = now + kBudget;
  questions_[key] = question;
  hop.waiting.push_back(question);
  if (hop.workers < parts_.connections) scope_.spawn(work(hop));
  return question;
}

/// Until there is an answer, or no time for one.
net::Task<> RecipientAsker::wait(QuestionPtr question, std::stop_token stop) {
  std::stop_source enough;
  const auto wake = [&enough] { enough.request_stop(); };
  const std::stop_callback on_answer(question->answered.get_token(), wake);
  const std::stop_callback on_stop(stop, wake);
  co_await parts_.runtime.sleep_until(question->deadline, enough.get_token());
}

/// One that somebody waits for still.
RecipientAsker::QuestionPtr RecipientAsker::next(Hop& hop) {
  while (!hop.waiting.empty()) {
    QuestionPtr question = std::move(hop.waiting.front());
    hop.waiting.pop_front();
    if (question->deadline > parts_.runtime.now() && !scope_.stopping()) return question;
    finish(question);
  }
  return nullptr;
}

/// Asks what waits over one connection, and ends when nothing does.
net::Task<> RecipientAsker::work(Hop& hop) {
  const Counted counted(hop.workers);
  std::unique_ptr<Connection> connection;
  while (true) {
    const QuestionPtr question = next(hop);
    if (!question && !connection) co_return;
    if (!question) {
      // Others may come while it is said.
      if (!scope_.stopping()) co_await connection->quit();
      connection.reset();
      continue;
    }
    const Standing standing = co_await put(hop, question, connection);
    settle(question, standing);
    if (standing.host_failed) {
      connection.reset();
      if (!scope_.stopping()) host_failed(hop, standing.why);
    }
  }
}

net::Task<Standing> RecipientAsker::put(Hop& hop, QuestionPtr question, std::unique_ptr<Connection>& connection) {
  std::stop_source over;
  const auto end = [&over] { over.request_stop(); };
  const std::unique_ptr<net::Timer> timer = parts_.runtime.make_timer(end);
  timer->arm(question->deadline);
  const std::stop_callback on_stop(scope_.stop_token(), end);
  Standing standing;
  // A host may have had enough of a session that was used before.
  for (bool again = true; again;) {
    again = connection != nullptr;
    if (connection && !connection->usable()) connection.reset();
    if (!connection) {
      standing = co_await open(hop, over.get_token(), connection);
      if (!connection) break;
    }
    Connection& session = *connection;
    const auto close = [&session] { session.close(); };
    const std::stop_callback on_end(over.get_token(), close);
    standing = co_await delivery::check_recipient(session, question->path);
    if (!standing.host_failed || over.stop_requested()) break;
    connection.reset();
  }
  if (standing.host_failed && parts_.runtime.now() >= question->deadline) {
    standing.why = hop.next_hop.text() + ": no answer within " +
                   std::to_string(std::chrono::duration_cast<std::chrono::seconds>(kBudget).count()) + " s";
  }
  co_return standing;
}

/// To the first of its hosts that takes one; else why not.
net::Task<Standing> RecipientAsker::open(Hop& hop, std::stop_token over, std::unique_ptr<Connection>& connection) {
  const std::shared_ptr<const conf::Config> config = parts_.config();
  const resolver::Self self{config->hostname, parts_.own_addresses()};
  const delivery::Hosts hosts =
      co_await delivery::find_hosts(parts_.resolver, parts_.runtime, *config, hop.domain, hop.next_hop, self);
  Standing standing = undecided(hop.next_hop.text() + ": " + hosts.trouble);
  delivery::ClientSettings settings = delivery::Dispatcher::client_settings(*config);
  settings.connect_timeout = kConnect;
  settings.command_timeout = kBudget;
  settings.handshake_timeout = kHandshake;
  if (parts_.tls) settings.tls = parts_.tls();
  const delivery::SessionFor whom{hop.domain, false};
  for (const delivery::Peer& peer : hosts.peers) {
    if (over.stop_requested()) break;
    Connection::Opened opened =
        co_await delivery::open_session(parts_.runtime, peer, settings, whom, tls_memory_, over);
    connection = std::move(opened.connection);
    if (connection) break;
    standing = delivery::standing_of(opened.failure);
  }
  co_return standing;
}

void RecipientAsker::settle(const QuestionPtr& question, const Standing& standing) {
  const bool known = standing.kind == Standing::Kind::known;
  const bool unknown = standing.kind == Standing::Kind::unknown;
  if (known || unknown) {
    question->answer = known ? Answer::known : Answer::unknown;
    parts_.cache.put(question->key, known, parts_.runtime.now());
  } else if (!standing.host_failed) {
    const std::string address = escape(question->path.text(), kShown);
    log::warning("whether <" + address + "> exists is not known: " + standing.why);
  }
  finish(question);
}

/// Who waits for it goes on.
void RecipientAsker::finish(const QuestionPtr& question) {
  const auto entry = questions_.find(question->key);
  // One that came too late may have a successor.
  if (entry != questions_.end() && entry->second == question) questions_.erase(entry);
  question->answered.request_stop();
}

/// A line in the log for all that wait.
void RecipientAsker::host_failed(Hop& hop, const std::string& why) {
  const net::TimePoint now = parts_.runtime.now();
  if (hop.down_until <= now) log::warning("recipients cannot be asked for: " + why);
  hop.down_until = now + kPause;
  const std::deque<QuestionPtr> waiting = std::exchange(hop.waiting, {});
  for (const QuestionPtr& question : waiting) finish(question);
}

}  // namespace waypost::mta
