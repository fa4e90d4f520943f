// net/line_buffer.h: lines and chunks out of a Stream, in bounded memory. For both roles of SMTP.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/stream.h"

namespace waypost::net {

/// Reads ahead from a stream. What it hands out are views into its buffer, good until the next call.
class LineBuffer {
 public:
  /// `capacity` octets are the most it holds; at least as many as the longest line asked for.
  explicit LineBuffer(Stream& stream, std::size_t capacity = 16384);

  enum class End { crlf, lf, too_long };
  struct Line {
    std::string_view text;  ///< without its line end; of one that is too long, its beginning
    End end = End::crlf;    ///< lf: a line feed alone ended it; too_long: it was discarded up to its line feed
  };
  /// The next line. One of more than `max_octets` (line end included) is read to its end and thrown away: too_long.
  /// Errors: those of Stream::read; closed at the end of the stream (a last line without an end is dropped).
  Task<Result<Line>> read_line(std::size_t max_octets, TimePoint deadline);

  /// What is buffered, or if nothing is, what the next read brings; at least one octet, and stays buffered until
  /// consume(). Errors: as read_line.
  Task<Result<std::string_view>> peek(TimePoint deadline);
  void consume(std::size_t octets);

  /// True if a whole line is there to be read without waiting: the peer has pipelined.
  bool has_line() const;
  std::size_t buffered() const { return end_ - begin_; }
  void discard_all() { begin_ = end_ = 0; }

 private:
  Task<Result<std::size_t>> fill(TimePoint deadline);
  Stream& stream_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace waypost::net
