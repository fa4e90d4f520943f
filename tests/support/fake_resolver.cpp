#include "tests/support/fake_resolver.h"

#include <algorithm>
#include <stdexcept>

#include "resolver/name.h"

namespace waypost::tests {

using resolver::Answer;
using resolver::canonical;
using resolver::Mx;
using resolver::Status;

void FakeResolver::add_mx(const std::string& domain,
                          std::initializer_list<std::pair<std::uint16_t, std::string>> exchangers) {
  std::vector<Mx>& records = names_[canonical(domain)].mx;
  for (const auto& [preference, exchanger] : exchangers) records.push_back(Mx{preference, canonical(exchanger)});
}

void FakeResolver::add_host(const std::string& host, std::initializer_list<std::string> addresses) {
  Name& name = names_[canonical(host)];
  for (const std::string& text : addresses) {
    std::optional<net::Address> address = net::Address::parse(text, 0);
    if (!address) throw std::invalid_argument("not an address: " + text);
    (address->family == 4 ? name.a : name.aaaa).push_back(*address);
  }
}

void FakeResolver::add_ptr(const std::string& address, const std::string& name) {
  const std::optional<net::Address> of = net::Address::parse(address, 0);
  if (!of) throw std::invalid_argument("not an address: " + address);
  names_[resolver::reverse_name(*of)].ptr.push_back(canonical(name));
}

void FakeResolver::add_empty(const std::string& name) {
  names_[canonical(name)];
}

void FakeResolver::fail(const std::string& name, const std::string& type, Status status) {
  std::map<std::string, Status>& failures = names_[canonical(name)].failures;
  if (!type.empty()) {
    failures[type] = status;
    return;
  }
  for (const char* each : {"mx", "a", "aaaa", "ptr"}) failures[each] = status;
}

void FakeResolver::delay(const std::string& name, net::Duration time) {
  delays_[canonical(name)] = time;
}

void FakeResolver::forget(const std::string& name) {
  names_.erase(canonical(name));
}

std::size_t FakeResolver::times_asked(const std::string& question) const {
  return static_cast<std::size_t>(std::ranges::count(asked_, question));
}

net::Duration FakeResolver::delay_of(const std::string& name) const {
  auto found = delays_.find(name);
  if (found == delays_.end()) found = delays_.find("");
  return found == delays_.end() ? net::Duration(0) : found->second;
}

net::Task<Answer<Mx>> FakeResolver::mx(std::string domain) {
  return answer<Mx>("mx", std::move(domain), &Name::mx);
}

net::Task<Answer<net::Address>> FakeResolver::a(std::string host) {
  return answer<net::Address>("a", std::move(host), &Name::a);
}

net::Task<Answer<net::Address>> FakeResolver::aaaa(std::string host) {
  return answer<net::Address>("aaaa", std::move(host), &Name::aaaa);
}

net::Task<Answer<std::string>> FakeResolver::ptr(std::string name) {
  return answer<std::string>("ptr", std::move(name), &Name::ptr);
}

template <class Record>
net::Task<Answer<Record>> FakeResolver::answer(std::string type, std::string name, std::vector<Record> Name::*records) {
  name = canonical(name);
  asked_.push_back(type + ' ' + name);
  most_under_way_ = std::max(most_under_way_, ++under_way_);
  net::Duration time = delay_of(name);
  if (time > net::Duration(0)) co_await runtime_.sleep_for(time, stop_.get_token());
  --under_way_;

  Answer<Record> answer;
  answer.valid_until = runtime_.now();
  if (stop_.stop_requested() || lost_) {
    answer.detail = "no answer from 192.0.2.53:53";
    answer.no_server = true;
    co_return answer;
  }
  auto known = names_.find(name);
  if (known == names_.end()) {
    answer.status = Status::no_domain;
  } else if (known->second.failures.contains(type)) {
    answer.status = known->second.failures.at(type);
  } else {
    answer.records = known->second.*records;
    answer.status = answer.records.empty() ? Status::no_data : Status::found;
  }
  bool trouble = answer.status == Status::server_failed || answer.status == Status::timed_out;
  if (!trouble) answer.valid_until += ttl_;
  if (answer.status == Status::server_failed) answer.detail = "SERVFAIL from 192.0.2.53:53";
  if (answer.status == Status::timed_out) answer.detail = "no answer from 192.0.2.53:53";
  co_return answer;
}

}  // namespace waypost::tests
