// net/stream.h: bytes both ways, with a deadline on every await. TCP, TLS and in-memory streams are Streams.
#pragma once
#include <cstddef>
#include <span>
#include <string_view>

#include "base/result.h"
#include "net/address.h"
#include "net/clock.h"
#include "net/task.h"

namespace waypost::net {

/// One connection. Belongs to the loop that made it. At most one read and one write are awaited at a time.
class Stream {
 public:
  Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  /// Closes. Not while an await on it is pending: close() first, and let the awaits return.
  virtual ~Stream() = default;

  /// Some bytes, at least one; 0 at the end of the peer's stream. `into` outlives the await.
  /// Errors: timed_out, closed (reset), cancelled (close() here).
  virtual Task<Result<std::size_t>> read(std::span<char> into, TimePoint deadline) = 0;

  /// All of the pieces, in their order, as one write where the system can. The views and what they see outlive the
  /// await. Errors: as read. After an error it is not known what went out; a write that timed out has closed the
  /// stream.
  virtual Task<Result<>> write(std::span<const std::string_view> pieces, TimePoint deadline) = 0;

  /// Of the octets, as many as go without waiting; the rest is dropped, and nobody is told. For last words before
  /// close(). Without effect while a write is awaited, and on a stream that does not know how.
  virtual void try_write(std::string_view octets) { (void)octets; }

  /// Ends both directions; what was written goes out first as far as the system has taken it. Pending awaits return
  /// cancelled on a later turn of the loop, never inside this call. Idempotent.
  virtual void close() = 0;

  virtual const Address& local() const = 0;
  virtual const Address& remote() const = 0;

  /// One piece.
  Task<Result<>> write(std::string_view data, TimePoint deadline) {
    co_return co_await write(std::span<const std::string_view>(&data, 1), deadline);
  }
};

}  // namespace waypost::net
