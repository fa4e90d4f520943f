// tests/support/fake_resolver.h: a Resolver that answers from tables, in the time of any Runtime.
#pragma once
#include <initializer_list>
#include <map>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "net/runtime.h"
#include "resolver/resolver.h"

namespace waypost::tests {

/// A name of which nothing was said does not exist; one that has any record or failure exists, without the other types.
/// Names are taken in any case, with or without a trailing dot. What is set holds for later questions.
class FakeResolver : public resolver::Resolver {
 public:
  explicit FakeResolver(net::Runtime& runtime) : runtime_(runtime) {}

  /// Adds records. mx("a.example", {{10, "mx.a.example"}}); {{0, ""}} is a null MX.
  void add_mx(const std::string& domain, std::initializer_list<std::pair<std::uint16_t, std::string>> exchangers);
  /// Adds addresses of either family: add_host("mx.a.example", {"192.0.2.1", "2001:db8::1"}).
  void add_host(const std::string& host, std::initializer_list<std::string> addresses);
  /// add_ptr("192.0.2.1", "mx.a.example").
  void add_ptr(const std::string& address, const std::string& name);
  /// The name exists, without any record.
  void add_empty(const std::string& name);
  /// From now on questions of this type ("mx", "a", "aaaa", "ptr", or "" for all) end so.
  void fail(const std::string& name, const std::string& type, resolver::Status status);
  /// As fail(timed_out), and no name server was heard.
  void lose_servers(bool lost = true) { lost_ = lost; }
  /// How long answers for this name take ("": for any name of which none is set).
  void delay(const std::string& name, net::Duration time);
  /// Forgets what is known of the name.
  void forget(const std::string& name);
  /// Of records and of "no"s set from now on; for all names.
  void set_ttl(std::chrono::seconds ttl) { ttl_ = ttl; }

  /// Each question that was begun, in order: "mx a.example".
  const std::vector<std::string>& asked() const { return asked_; }
  std::size_t times_asked(const std::string& question) const;
  std::size_t under_way() const { return under_way_; }
  std::size_t most_under_way() const { return most_under_way_; }

  net::Task<resolver::Answer<resolver::Mx>> mx(std::string domain) override;
  net::Task<resolver::Answer<net::Address>> a(std::string host) override;
  net::Task<resolver::Answer<net::Address>> aaaa(std::string host) override;
  net::Task<resolver::Answer<std::string>> ptr(std::string name) override;
  void stop() override { stop_.request_stop(); }

 private:
  struct Name {
    std::vector<resolver::Mx> mx;
    std::vector<net::Address> a;
    std::vector<net::Address> aaaa;
    std::vector<std::string> ptr;
    std::map<std::string, resolver::Status> failures;  // by type
  };
  template <class Record>
  net::Task<resolver::Answer<Record>> answer(std::string type, std::string name, std::vector<Record> Name::*records);
  net::Duration delay_of(const std::string& name) const;

  net::Runtime& runtime_;
  std::map<std::string, Name> names_;
  std::map<std::string, net::Duration> delays_;
  std::chrono::seconds ttl_{300};
  std::vector<std::string> asked_;
  std::size_t under_way_ = 0;
  std::size_t most_under_way_ = 0;
  bool lost_ = false;
  std::stop_source stop_;
};

}  // namespace waypost::tests
