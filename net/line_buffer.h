// net/line_buffer.h: lines and chunks out of a Stream, in bounded memory. For both roles of SMTP.
#pragma once
#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "net/stream.h"

namespace waypost::net {

/// Reads ahead from a stream. What it hands out are views into its buffer, good until the next call.
class LineBuffer {
 public:
  /// `capacity` octets are the most it holds; at least as many as the longest line asked for. It takes a
  /// kilobyte until a peer sends more at once: many clients do little but wait.
  explicit LineBuffer(Stream& stream, std::size_t capacity = 16384);

  enum class End { crlf, lf, too_long };
  struct Line {
    std::string_view text;  ///< without its line end; of one that is too long, its beginning
    End end = End::crlf;    ///< lf: a line feed alone ended it; too_long: it was discarded up to its line feed
  };
  /// The next line. One of more than `max_octets` (line end included) is read to its end and thrown away: too_long.
  /// Errors: those of Stream::read; closed at the end of the stream (a last line without an end is dropped); protocol,
  /// of a line that has no end after 4 MiB: that the peer is busy gives it no right to keep us so.
  Task<Result<Line>> read_line(std::size_t max_octets, TimePoint deadline);

  /// What is buffered, or if nothing is, what the next read brings; at least one octet, and stays buffered until
  /// consume(). Errors: as read_line.
  Task<Result<std::string_view>> peek(TimePoint deadline);
  void consume(std::size_t octets);

  /// True if a whole line is there to be read without waiting: the peer has pipelined.
  bool has_line() const;
  std::size_t buffered() const { return end_ - begin_; }
  /// Reads from another stream from now on: what was buffered is consumed or discarded before.
  void attach(Stream& stream);
  void discard_all() { begin_ = end_ = scanned_ = skipping_ = 0; }

 private:
  Task<Result<>> fill(TimePoint deadline);
  Task<Result<Line>> skip_line(TimePoint deadline);
  std::optional<std::size_t> find_line_feed() const;
  void compact();
  void grow();
  Line take_line(std::size_t line_feed, std::size_t max_octets);

  Stream* stream_;
  std::size_t capacity_;
  std::size_t room_;                ///< of the buffer, as it is
  bool crowded_ = false;            ///< the last read left none: there may be more where that came from
  std::unique_ptr<char[]> buffer_;  ///< not zeroed: it is per session
  std::size_t begin_ = 0;           ///< what is buffered is [begin_, end_)
  std::size_t end_ = 0;
  mutable std::size_t scanned_ =
      0;                      ///< no line feed in [begin_, scanned_): a line that comes octet by octet is scanned once
  std::size_t skipped_ = 0;   ///< of that line, so far
  std::size_t skipping_ = 0;  ///< inside a line that is too long: how many octets of its beginning are kept
};

}  // namespace waypost::net
