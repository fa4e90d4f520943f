#include "smtp/header_scan.h"

#include <algorithm>

#include "base/text.h"

namespace waypost::smtp {
namespace {

constexpr std::size_t kMaxDeliveredToOctets = 320;

bool is_ftext(char c) {
  return c > ' ' && c < 0x7F && c != ':';
}  // RFC 5322 §3.6.8

/// True if the BY clause of a Received value names `host`. Comments are passed over: a peer's HELO may stand in them.
bool is_by(std::string_view received, std::string_view host) {
  int depth = 0;
  bool by = false;
  while (true) {
    std::string_view word = take_word(received);
    if (word.empty()) return false;
    bool outside = depth == 0 && word.front() != '(';
    for (char c : word) depth += c == '(' ? 1 : c == ')' && depth > 0 ? -1 : 0;
    if (!outside) continue;
    std::string_view name = word.substr(0, word.find_first_of(";("));
    if (by && equals_no_case(name, host)) return true;
    by = equals_no_case(word, "by");
  }
}

}  // namespace

void HeaderScan::begin_value() {
  in_field_ = true;
  first_line_ = false;
  ++notes_.fields;
  value_.clear();
  field_ = Field::other;
  if (equals_no_case(name_, "Received")) {
    field_ = Field::received;
    ++notes_.hops;
  } else if (equals_no_case(name_, "Delivered-To")) {
    field_ = Field::delivered_to;
  } else if (equals_no_case(name_, "Message-ID")) {
    if (!notes_.has_message_id) field_ = Field::message_id;
    notes_.has_message_id = true;
  } else if (equals_no_case(name_, "Date")) {
    notes_.has_date = true;
  } else if (equals_no_case(name_, "From")) {
    notes_.has_from = true;
  }
  state_ = State::value;
}

// The field before a line that does not continue it is whole.
void HeaderScan::end_field() {
  if (!in_field_) return;
  in_field_ = false;
  std::string_view value = trim(value_);
  if (field_ == Field::received && !own_host_.empty() && is_by(value, own_host_)) ++notes_.own_hops;
  if (field_ == Field::message_id) notes_.message_id = value;
  if (field_ == Field::delivered_to && notes_.delivered_to.size() < kMaxDeliveredTo)
    notes_.delivered_to.emplace_back(value.substr(0, kMaxDeliveredToOctets));
}

void HeaderScan::stop() {
  end_field();
  state_ = State::end;
}

void HeaderScan::no_field() {
  notes_.cut_short = true;
  stop();
}

void HeaderScan::on_char(char c) {
  ++line_octets_;
  switch (state_) {
    case State::line_start:
      line_octets_ = 1;
      if (is_space(c) && in_field_) {
        state_ = State::value;
        if (value_.size() < kMaxValue) value_ += ' ';
        return;
      }
      if (c == '\r' || c == '\n') return stop();
      if (!is_ftext(c)) return no_field();
      end_field();
      name_.assign(1, c);
      state_ = State::name;
      return;

    case State::name:
      if (c == ':') return begin_value();
      if (is_space(c)) {
        state_ = State::after_name;
        return;
      }
      if (!is_ftext(c)) return no_field();
      if (name_.size() <= kMaxName) name_ += c;
      return;

    case State::after_name:  // `Received : ` (RFC 5322 §4.5.8)
      if (c == ':') return begin_value();
      if (is_space(c)) return;
      if (!first_line_ || (name_ != "From" && name_ != ">From")) return no_field();
      state_ = State::passed_over;
      [[fallthrough]];

    case State::passed_over:
      if (c != '\n') return;
      first_line_ = false;
      state_ = State::line_start;
      return;

    case State::value:  // feed() takes all of a line but its LF
      notes_.octets += line_octets_;
      if (value_.ends_with('\r')) value_.pop_back();
      state_ = State::line_start;
      return;

    case State::end:
      return;
  }
}

/// Of a value: up to its LF, if it ends within the chunk.
void HeaderScan::look_at(std::string_view part, bool line_ends) {
  if (!is_ascii(part)) notes_.non_ascii = true;
  const bool goes_on_after_cr = after_cr_ && !part.empty();
  after_cr_ = part.empty() ? after_cr_ : part.back() == '\r';
  if (after_cr_ && !part.empty()) part.remove_suffix(1);
  constexpr std::string_view kNone("\r\0", 2);
  if (goes_on_after_cr || (line_ends && !after_cr_) || part.find_first_of(kNone) != std::string_view::npos)
    notes_.not_text = true;
  if (line_ends) after_cr_ = false;
}

bool HeaderScan::feed(std::string_view chunk) {
  while (!chunk.empty() && state_ != State::end) {
    if (state_ == State::value) {
      std::size_t lf = std::min(chunk.find('\n'), chunk.size());
      if (field_ != Field::other) value_.append(chunk.substr(0, std::min(lf, kMaxValue - value_.size())));
      look_at(chunk.substr(0, lf), lf < chunk.size());
      line_octets_ += lf;
      chunk.remove_prefix(lf);
      if (chunk.empty()) break;
    }
    on_char(chunk.front());
    chunk.remove_prefix(1);
  }
  return state_ == State::end;
}

void HeaderScan::finish() {
  if (state_ == State::value) notes_.octets += line_octets_;
  if (state_ != State::end) stop();
}

}  // namespace waypost::smtp
