#include "resolver/cache.h"

#include <algorithm>
#include <coroutine>
#include <list>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "resolver/name.h"

namespace waypost::resolver {

namespace {

using Kept = std::variant<Answer<Mx>, Answer<net::Address>, Answer<std::string>>;

/// How many entries an answer counts for: a server that sends 1,000 long names must not fill the memory of 20,000
/// others.
template <class Record>
std::size_t weight_of(const Answer<Record>& answer) {
  std::size_t octets = answer.records.size() * sizeof(Record) + answer.detail.size() + answer.canonical_name.size();
  if constexpr (std::is_same_v<Record, Mx>)
    for (const Mx& mx : answer.records) octets += mx.exchanger.size();
  if constexpr (std::is_same_v<Record, std::string>)
    for (const std::string& name : answer.records) octets += name.size();
  return 1 + octets / 1024;
}

/// Answers by question, the one used last at the front.
class Table {
 public:
  explicit Table(std::size_t most) : most_(std::max<std::size_t>(most, 1)) {}

  /// The answer that still holds; nullptr if there is none.
  const Kept* find(const std::string& question, net::TimePoint now) {
    auto found = by_question_.find(question);
    if (found == by_question_.end()) return nullptr;
    if (found->second->until <= now) {
      erase(found->second);
      return nullptr;
    }
    entries_.splice(entries_.begin(), entries_, found->second);
    return &found->second->answer;
  }

  void keep(std::string question, Kept answer, net::TimePoint until, std::size_t weight) {
    auto found = by_question_.find(question);
    if (found != by_question_.end()) erase(found->second);
    if (weight > most_) return;
    entries_.push_front(Entry{std::move(question), std::move(answer), until, weight});
    by_question_.emplace(entries_.front().question, entries_.begin());
    weight_ += weight;
    while (weight_ > most_) erase(std::prev(entries_.end()));
  }

 private:
  struct Entry {
    std::string question;
    Kept answer;
    net::TimePoint until;
    std::size_t weight;
  };
  void erase(std::list<Entry>::iterator entry) {
    weight_ -= entry->weight;
    by_question_.erase(entry->question);
    entries_.erase(entry);
  }
  std::size_t most_;
  std::size_t weight_ = 0;
  std::list<Entry> entries_;
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_question_;  // views into the entries
};

/// A question under way, and who else waits for its answer.
struct UnderWay {
  Kept answer;
  std::vector<std::coroutine_handle<>> waiting;
};

struct WaitFor {
  UnderWay& under_way;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> suspended) const { under_way.waiting.push_back(suspended); }
  void await_resume() const noexcept {}
};

class Cache final : public Resolver {
 public:
  Cache(std::unique_ptr<Resolver> below, net::Runtime& runtime, CacheOptions options)
      : below_(std::move(below)), runtime_(runtime), options_(options), table_(options.entries) {}

  net::Task<Answer<Mx>> mx(std::string domain) override { return look_up<Mx>("mx ", std::move(domain), &Resolver::mx); }
  net::Task<Answer<net::Address>> a(std::string host) override {
    return look_up<net::Address>("a ", std::move(host), &Resolver::a);
  }
  net::Task<Answer<net::Address>> aaaa(std::string host) override {
    return look_up<net::Address>("aaaa ", std::move(host), &Resolver::aaaa);
  }
  net::Task<Answer<std::string>> ptr(std::string name) override {
    return look_up<std::string>("ptr ", std::move(name), &Resolver::ptr);
  }
  void stop() override {
    stopped_ = true;
    below_->stop();
  }

 private:
  template <class Record>
  using Ask = net::Task<Answer<Record>> (Resolver::*)(std::string);

  template <class Record>
  net::Task<Answer<Record>> look_up(std::string_view type, std::string name, Ask<Record> ask);
  template <class Record>
  net::TimePoint holds_until(const Answer<Record>& answer) const;

  std::unique_ptr<Resolver> below_;
  net::Runtime& runtime_;
  CacheOptions options_;
  Table table_;
  std::unordered_map<std::string, std::shared_ptr<UnderWay>> under_way_;
  bool stopped_ = false;
};

template <class Record>
net::TimePoint Cache::holds_until(const Answer<Record>& answer) const {
  net::TimePoint now = runtime_.now();
  bool failed = answer.status == Status::server_failed || answer.status == Status::timed_out;
  if (failed) return now + options_.failure;
  net::TimePoint shortest = now + options_.shortest;
  return std::clamp<net::TimePoint>(answer.valid_until, shortest,
                                    std::max<net::TimePoint>(shortest, now + options_.longest));
}

/// `type` sees a literal: it outlives the await.
template <class Record>
net::Task<Answer<Record>> Cache::look_up(std::string_view type, std::string name, Ask<Record> ask) {
  if (stopped_) {
    Answer<Record> none;
    none.valid_until = runtime_.now();
    none.detail = "the resolver has stopped";
    none.no_server = true;
    co_return none;
  }
  name = canonical(name);
  std::string question = std::string(type) + name;
  const Kept* kept = table_.find(question, runtime_.now());
  if (kept != nullptr) co_return std::get<Answer<Record>>(*kept);

  auto found = under_way_.find(question);
  if (found != under_way_.end()) {
    std::shared_ptr<UnderWay> other = found->second;
    WaitFor wait{*other};
    co_await wait;
    co_return std::get<Answer<Record>>(other->answer);
  }

  // Whatever happens below, those who wait are woken: until then they have "timed out".
  struct Wake {
    Cache& cache;
    const std::string& question;
    std::shared_ptr<UnderWay> mine;
    ~Wake() {
      cache.under_way_.erase(question);
      for (std::coroutine_handle<> waiting : mine->waiting) cache.runtime_.resume_later(waiting);
    }
  };
  auto mine = std::make_shared<UnderWay>();
  mine->answer = Answer<Record>();
  under_way_.emplace(question, mine);
  Wake wake{*this, question, mine};
  Resolver& below = *below_;
  net::Task<Answer<Record>> asked = (below.*ask)(std::move(name));
  Answer<Record> answer = co_await asked;
  answer.valid_until = holds_until(answer);
  mine->answer = answer;
  if (!stopped_) table_.keep(question, answer, answer.valid_until, weight_of(answer));
  co_return answer;
}

}  // namespace

std::unique_ptr<Resolver> make_cache(std::unique_ptr<Resolver> below, net::Runtime& runtime, CacheOptions options) {
  return std::make_unique<Cache>(std::move(below), runtime, options);
}

}  // namespace waypost::resolver
