#include "delivery/wire_body.h"

#include <algorithm>
#include <cstring>

namespace waypost::delivery {

namespace {

constexpr std::string_view kCr = "\r";

}  // namespace

/// True if every line feed has its CR, every CR its line feed (but one at the end), and no line begins with a dot that
/// would have to be stuffed.
bool WireBody::is_wire_form(std::string_view chunk) const {
  if (held_cr_ && chunk.front() != '\n') return false;
  const bool dots = framing_ == Framing::dots;
  if (dots && line_start_ && chunk.front() == '.') return false;

  std::size_t line_feeds = 0;
  const char* const begin = chunk.data();
  const char* const end = begin + chunk.size();
  for (const char* at = begin; at < end; ++line_feeds) {
    const void* found = std::memchr(at, '\n', static_cast<std::size_t>(end - at));
    if (found == nullptr) break;
    const char* line_feed = static_cast<const char*>(found);
    bool has_cr = line_feed > begin ? line_feed[-1] == '\r' : held_cr_;
    if (!has_cr) return false;
    at = line_feed + 1;
    if (dots && at < end && *at == '.') return false;
  }
  std::size_t crs = static_cast<std::size_t>(std::count(begin, end, '\r')) + (held_cr_ ? 1 : 0);
  return crs == line_feeds + (chunk.back() == '\r' ? 1 : 0);
}

/// The encoder is told where in a line we are. What is fed to it for that has gone out.
void WireBody::begin_encoding() {
  std::string gone;
  if (!line_start_) encoder_.feed("x", gone);
  if (held_cr_) encoder_.feed(kCr, gone);
  encoding_ = true;
}

void WireBody::feed(std::string_view chunk) {
  if (chunk.empty()) return;
  if (framing_ == Framing::binary) {
    pieces_.push_back(chunk);
    return;
  }
  if (!encoding_ && !is_wire_form(chunk)) begin_encoding();
  if (encoding_) {
    encoder_.feed(chunk, encoded_);
    return;
  }
  if (held_cr_) pieces_.push_back(kCr);
  held_cr_ = chunk.back() == '\r';
  line_start_ = chunk.back() == '\n';
  if (held_cr_) chunk.remove_suffix(1);
  if (!chunk.empty()) pieces_.push_back(chunk);
}

void WireBody::finish() {
  if (framing_ == Framing::binary) return;
  if (!encoding_) begin_encoding();
  encoder_.finish(encoded_);
}

const std::vector<std::string_view>& WireBody::pieces() {
  if (!encoded_.empty() && (pieces_.empty() || pieces_.back().data() != encoded_.data())) pieces_.push_back(encoded_);
  return pieces_;
}

std::size_t WireBody::octets() {
  std::size_t octets = 0;
  for (const std::string_view piece : pieces()) octets += piece.size();
  return octets;
}

void WireBody::sent() {
  pieces_.clear();
  encoded_.clear();
}

}  // namespace waypost::delivery
