// base/metrics.h: counts of what happens, for /metrics: waypost-metrics(7) says what each of them means. Any thread;
// counting is an atomic addition, takes no lock and no memory.
//
// Most is counted by the functions of base/event_log.h, each event where it is logged, whatever the log's level.
#pragma once
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace waypost::metrics {

class Counter {
 public:
  void add(std::uint64_t number = 1) { value_.fetch_add(number, std::memory_order_relaxed); }
  void take(std::uint64_t number = 1) { value_.fetch_sub(number, std::memory_order_relaxed); }  ///< of what is open
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// Counters by two labels of a few known values each. What is none of them counts as the last one.
template <std::size_t Rows, std::size_t Columns>
class Table {
 public:
  constexpr Table(const std::array<std::string_view, Rows>& rows, const std::array<std::string_view, Columns>& columns)
      : rows_(rows), columns_(columns) {}
  Counter& at(std::string_view row, std::string_view column) {
    return cells_[place(rows_, row) * Columns + place(columns_, column)];
  }
  /// `visit(row, column, value)`.
  template <class Visit>
  void each(const Visit& visit) const {
    for (std::size_t cell = 0; cell < cells_.size(); ++cell)
      visit(rows_[cell / Columns], columns_[cell % Columns], cells_[cell].value());
  }

 private:
  template <std::size_t Size>
  static std::size_t place(const std::array<std::string_view, Size>& of, std::string_view name) {
    std::size_t at = 0;
    while (at + 1 < Size && of[at] != name) ++at;
    return at;
  }
  std::array<std::string_view, Rows> rows_;
  std::array<std::string_view, Columns> columns_;
  std::array<Counter, Rows * Columns> cells_{};
};

/// How often a value was at most each of the bounds, which grow.
template <std::size_t Size>
class Histogram {
 public:
  constexpr explicit Histogram(const std::array<double, Size>& bounds) : bounds_(bounds) {}
  void observe(double value) {
    std::size_t at = 0;
    while (at < Size && value > bounds_[at]) ++at;
    counts_[at].add();
    sum_.fetch_add(value, std::memory_order_relaxed);
  }
  void observe(std::chrono::nanoseconds took) { observe(std::chrono::duration<double>(took).count()); }

  const std::array<double, Size>& bounds() const { return bounds_; }
  std::uint64_t count(std::size_t at) const { return counts_[at].value(); }  ///< `Size`: above all bounds
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  std::array<double, Size> bounds_;
  std::array<Counter, Size + 1> counts_{};
  std::atomic<double> sum_{0};
};

/// All of the process.
struct Events {
  Counter accepted;
  Table<8, 2> rejected{{"address", "mailbox", "system", "routing", "protocol", "content", "policy", "other"},
                       {"4", "5"}};
  Table<6, 2> logins{{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "EXTERNAL", "other"},
                     {"success", "failure"}};
  Table<4, 4> deliveries{{"sent", "deferred", "bounced", "expired"}, {"2", "4", "5", "none"}};
  Histogram<17> delivery_delay{
      {0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 300, 900, 3600, 14400, 43200, 86400, 172800, 432000}};
  Table<4, 1> notifications{{"non-delivery", "delay", "delivery status", "digest"}, {""}};
  /// By kind of listener.
  Table<4, 1> open_sessions{{"mx", "submission", "submissions", "local"}, {""}};
  Table<4, 4> sessions{{"mx", "submission", "submissions", "local"}, {"done", "lost", "timeout", "failed"}};
  Table<3, 2> handshakes_in{{"TLSv1.2", "TLSv1.3", "none"}, {"success", "failure"}};
  Table<3, 2> handshakes_out{{"TLSv1.2", "TLSv1.3", "none"}, {"success", "failure"}};
  Table<2, 1> dns_questions{{"answered", "unanswered"}, {""}};  ///< by any name server; by none
  Histogram<12> dns{{0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}};
  Histogram<13> commit{{0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5}};
  Histogram<9> commit_batch{{1, 2, 4, 8, 16, 32, 64, 128, 256}};
  Histogram<10> checkpoint{{0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5}};
};
Events& events();

/// Why a client was refused, as RFC 3463 sorts it: a row of Events::rejected. `reply`: "554 5.7.1 Relay denied".
std::string_view reject_reason(std::string_view reply);

}  // namespace waypost::metrics
