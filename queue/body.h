// queue/body.h: the content of a message on its way in and out: in memory up to the inline limit, else a spool file.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/runtime.h"
#include "net/task.h"
#include "queue/files.h"
#include "queue/id.h"

namespace waypost::queue {

/// XXH3-128 of a body.
using Checksum = std::array<std::uint8_t, 16>;

/// What a reception learns of a body while it passes, so that sending scans nothing again.
struct BodyNotes {
  bool eight_bit = false;
  bool dot_lines = false;
};

/// Of a body that was composed here, in memory.
Checksum checksum_of(std::string_view body);
BodyNotes notes_of(std::string_view body);

/// A body on its way in. Memory is bounded: when full(), spill() before more is added. Belongs to one loop.
/// Destroyed without a commit it removes its file.
class Draft {
 public:
  Draft(net::Runtime& runtime, Files& files, Id id, std::uint64_t inline_limit);
  Draft(Draft&&) noexcept;
  Draft& operator=(Draft&&) noexcept;
  ~Draft();

  Id id() const;
  /// Append decoded octets here.
  std::string& buffer();
  /// True when the buffer has reached the inline limit.
  bool full() const;
  /// Moves the buffer to the spool file. Errors: full (disk), io.
  net::Task<Result<>> spill();
  /// Octets so far.
  std::uint64_t size() const;

  /// For the store: completes the body. A spool file is synced and renamed, and its folder synced, before this returns.
  net::Task<Result<>> finish();
  struct Finished;
  Finished take();  ///< after finish(): what the row names; the file is no longer removed here

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// After finish(): inline octets, or the name of a spool file.
struct Draft::Finished {
  std::string octets;    ///< inline
  bool in_file = false;  ///< then octets is empty
  std::uint64_t size = 0;
  Checksum checksum{};
};

/// A stored message's content. Immutable, any thread.
struct Content {
  std::string trace;
  std::string octets;    ///< the body, where it is inline
  bool in_file = false;  ///< else it is in the spool file of `id`
  Id id;
  std::uint64_t body_size = 0;
  Checksum checksum{};
};

/// Reads a body to its end, and holds it against its length and checksum. Blocks. Errors: as BodyReader.
Result<> verify_body(Files& files, const Content& content);

/// Reads a body in chunks for sending. Inline: one chunk. A file is read in pieces of 64 KiB, off the loop.
class BodyReader {
 public:
  BodyReader(net::Runtime& runtime, Files& files, std::shared_ptr<const Content> content);
  BodyReader(BodyReader&&) noexcept;
  ~BodyReader();
  /// The next piece, good until the next call; empty at the end.
  /// Errors: damaged (length or checksum do not hold: known only at the end, so that the final dot must wait for the
  /// empty piece), io, not_found.
  net::Task<Result<std::string_view>> next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A stored body from its beginning, for whoever may have to read it more than once.
using OpenBody = std::function<BodyReader()>;

}  // namespace waypost::queue
