// delivery/wire_body.h: stored octets -> what follows 354 or BDAT on the wire, copied only where they must change.
// Pure.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "smtp/transparency.h"

namespace waypost::delivery {

/// Trace and body of a stored message pass through here on their way out. What reception stored is in wire form already
/// (CRLF alone), so that views of it go to the stream; but it is looked at all the same, since neither a bare CR or LF
/// nor a dot at the beginning of a line may go out whatever the store holds (RELIABILITY C3). From the first octet that
/// has to change on, smtp::BodyEncoder takes over.
class WireBody {
 public:
  /// `dots`: after DATA: dots are stuffed, and one ends it. `counted`: by BDAT, in which a dot is nothing. `binary`: by
  /// BDAT with BODY=BINARYMIME: whatever it holds goes as it is.
  enum class Framing : std::uint8_t { dots, counted, binary };

  /// `dot_lines`: a line begins with a dot, as noted at reception. False is not relied on.
  WireBody(Framing framing, bool dot_lines)
      : framing_(framing), encoder_(framing == Framing::dots), encoding_(framing == Framing::dots && dot_lines) {}

  /// The chunk outlives the next sent().
  void feed(std::string_view chunk);
  /// The end: a CRLF if there was no final one, then `.` CRLF after DATA. Of a binary one: nothing.
  void finish();

  /// What of all that was fed is to go out: views of the chunks and of this object, good until the next call of another
  /// function.
  const std::vector<std::string_view>& pieces();
  std::size_t octets();  ///< in these
  /// What goes out before them: a command. It outlives the next sent().
  void put_first(std::string_view command) { pieces_.insert(pieces_.begin(), command); }
  /// These have gone out.
  void sent();

 private:
  bool is_wire_form(std::string_view chunk) const;
  void begin_encoding();

  Framing framing_;
  smtp::BodyEncoder encoder_;
  std::vector<std::string_view> pieces_;  ///< what goes out as it is: all of it before `encoded_`
  std::string encoded_;
  bool encoding_;
  bool line_start_ = true;  ///< of what was fed so far; unused once encoding
  bool held_cr_ = false;    ///< the last octet fed was a CR, which goes out with the LF after it
};

}  // namespace waypost::delivery
