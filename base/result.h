// base/result.h: what a function returns that may not succeed. Every folder uses it.
#pragma once
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace waypost {

/// Why something did not happen. The caller's decision hangs on the code; a person reads Error::what.
enum class Errc {
  invalid,      ///< what was given does not parse, or makes no sense
  protocol,     ///< the peer broke the protocol
  closed,       ///< the peer closed or reset the connection, or the end of a file came too early
  cancelled,    ///< told to stop: the stream was closed here, the scope stops
  timed_out,    ///< the deadline passed
  refused,      ///< connection refused
  unreachable,  ///< no route, network or host down, no usable source address
  not_found,    ///< there is none
  exists,       ///< there is one already
  too_big,      ///< a limit of ours
  full,         ///< no space: disk, inodes, quota
  io,           ///< a read, write or sync failed: what is on disk is in doubt
  busy,         ///< in use by another, or out of descriptors, memory, slots: try again
  denied,       ///< no permission
  damaged,      ///< a checksum or a value that was stored does not hold
  unsupported,  ///< not in this version, or not in the other one
  internal,     ///< a bug
};

struct Error {
  Errc code = Errc::internal;
  std::string what;  ///< what was being done, to what, why not; no newline, no peer text that is not escaped
  Error(Errc c, std::string text) : code(c), what(std::move(text)) {}
};

/// A T, or why there is none. Test it on the next line.
template <class T = void>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
};

/// `return fail(Errc::closed, "...")` in a function that returns any Result.
inline tl::unexpected<Error> fail(Errc code, std::string what) {
  return tl::unexpected<Error>(Error(code, std::move(what)));
}
/// Hands another result's error on: `if (!sent) return fail(sent.error());`
inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

}  // namespace waypost
