#include "net/line_buffer.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

namespace waypost::net {

namespace {

constexpr std::size_t kMostSkipped = 4 << 20;
constexpr std::size_t kFirstRoom = 1024;

}  // namespace

LineBuffer::LineBuffer(Stream& stream, std::size_t capacity)
    : stream_(&stream),
      capacity_(capacity),
      room_(std::min(capacity, kFirstRoom)),
      buffer_(std::make_unique_for_overwrite<char[]>(room_)) {}

std::optional<std::size_t> LineBuffer::find_line_feed() const {
  const char* from = buffer_.get() + scanned_;
  const void* found = std::memchr(from, '\n', end_ - scanned_);
  if (found == nullptr) {
    scanned_ = end_;
    return std::nullopt;
  }
  return static_cast<std::size_t>(static_cast<const char*>(found) - buffer_.get());
}

bool LineBuffer::has_line() const {
  return find_line_feed().has_value();
}

void LineBuffer::consume(std::size_t octets) {
  assert(octets <= buffered());
  begin_ += octets;
  scanned_ = std::max(scanned_, begin_);
}

void LineBuffer::attach(Stream& stream) {
  assert(buffered() == 0 && skipping_ == 0);
  stream_ = &stream;
}

void LineBuffer::compact() {
  if (begin_ == 0) return;
  std::memmove(buffer_.get(), buffer_.get() + begin_, buffered());
  end_ -= begin_;
  scanned_ -= begin_;
  begin_ = 0;
}

void LineBuffer::grow() {
  auto larger = std::make_unique_for_overwrite<char[]>(capacity_);
  std::memcpy(larger.get(), buffer_.get(), end_);
  buffer_ = std::move(larger);
  room_ = capacity_;
}

Task<Result<>> LineBuffer::fill(TimePoint deadline) {
  // Few octets are left over when more are needed, so that moving them is cheaper than a read into a narrow gap.
  if (begin_ == end_ || room_ - end_ < room_ / 2) compact();
  if (room_ < capacity_ && (crowded_ || end_ == room_)) grow();
  assert(end_ < room_);
  std::span<char> gap(buffer_.get() + end_, room_ - end_);
  Result<std::size_t> got = co_await stream_->read(gap, deadline);
  if (!got) co_return fail(std::move(got.error()));
  if (*got == 0) co_return fail(Errc::closed, "read from " + stream_->remote().text() + ": end of stream");
  crowded_ = *got == gap.size();
  end_ += *got;
  co_return Result<>();
}

LineBuffer::Line LineBuffer::take_line(std::size_t line_feed, std::size_t max_octets) {
  std::string_view text(buffer_.get() + begin_, line_feed - begin_);
  begin_ = scanned_ = line_feed + 1;
  Line line;
  if (text.size() + 1 > max_octets) {
    line.text = text.substr(0, max_octets);
    line.end = End::too_long;
    return line;
  }
  if (text.ends_with('\r')) {
    text.remove_suffix(1);
  } else {
    line.end = End::lf;
  }
  line.text = text;
  return line;
}

Task<Result<LineBuffer::Line>> LineBuffer::read_line(std::size_t max_octets, TimePoint deadline) {
  assert(max_octets <= capacity_);
  if (skipping_ != 0) co_return co_await skip_line(deadline);
  for (;;) {
    std::optional<std::size_t> line_feed = find_line_feed();
    if (line_feed) co_return take_line(*line_feed, max_octets);
    if (buffered() >= max_octets) break;
    Result<> more = co_await fill(deadline);
    if (!more) co_return fail(std::move(more.error()));
  }
  // Half of the buffer stays free for the rest to pass through.
  skipping_ = std::max<std::size_t>(1, std::min(max_octets, capacity_ / 2));
  skipped_ = 0;
  co_return co_await skip_line(deadline);
}

Task<Result<LineBuffer::Line>> LineBuffer::skip_line(TimePoint deadline) {
  for (;;) {
    std::optional<std::size_t> line_feed = find_line_feed();
    if (line_feed) {
      Line line;
      line.text = std::string_view(buffer_.get() + begin_, skipping_);
      line.end = End::too_long;
      skipping_ = 0;
      begin_ = scanned_ = *line_feed + 1;
      co_return line;
    }
    skipped_ += end_ - begin_ - skipping_;
    if (skipped_ > kMostSkipped)
      co_return fail(Errc::protocol, "read from " + stream_->remote().text() + ": a line without an end");
    end_ = scanned_ = begin_ + skipping_;
    Result<> more = co_await fill(deadline);
    if (!more) co_return fail(std::move(more.error()));
  }
}

Task<Result<std::string_view>> LineBuffer::peek(TimePoint deadline) {
  if (buffered() == 0) {
    Result<> more = co_await fill(deadline);
    if (!more) co_return fail(std::move(more.error()));
  }
  co_return std::string_view(buffer_.get() + begin_, buffered());
}

}  // namespace waypost::net
