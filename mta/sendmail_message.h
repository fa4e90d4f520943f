// mta/sendmail_message.h: a message as programs write it -> as it goes over the wire. Pure.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "smtp/address.h"
#include "smtp/transparency.h"

namespace waypost::mta {

/// The values of fields that are added where the message has none.
struct MissingFields {
  std::string from;        ///< `"Ann Example" <ann@b.example>`
  std::string date;        ///< as smtp::rfc5322_date()
  std::string message_id;  ///< `<1@b.example>`
};

/// `"Ann Example" <ann@b.example>`, the name in quotes or as an encoded word (RFC 2047) where it needs that.
std::string from_value(std::string_view name, std::string_view address);

/// Lines with whatever ends, in chunks as they come -> what follows 354: CRLF, dots stuffed, fields added, Bcc and
/// Return-Path taken away. NULs are dropped, a CR alone ends a line. A first line `From ` of a mailbox file goes; what
/// begins without a field is all body. Memory is bounded by kMaxHeader.
class SendmailMessage {
 public:
  static constexpr std::size_t kMaxHeader = 1 << 20;  ///< octets of a header section

  /// `dot_ends`: a line of one dot is the end. `take_recipients`: of -t.
  SendmailMessage(MissingFields missing, bool dot_ends, bool take_recipients)
      : missing_(std::move(missing)), dot_ends_(dot_ends), take_recipients_(take_recipients) {}

  /// Appends to `out`. Errors: too_big (the header section), invalid (a field of recipients is none: which, and why).
  /// After an error nothing of the message is of use.
  Result<> feed(std::string_view chunk, std::string& out);
  /// The end of the input: appends the rest and the final dot.
  Result<> finish(std::string& out);

  /// The lone dot was read: what follows it is not of the message.
  bool ended() const { return ended_; }
  bool eight_bit() const { return eight_bit_; }
  /// After finish(): those of To, Cc and Bcc with -t, or where the message was sent again (RFC 5322 §3.6.6) of
  /// Resent-To, Resent-Cc and Resent-Bcc alone.
  const std::vector<smtp::Mailbox>& recipients() const { return recipients_; }

 private:
  struct Field {
    std::string name;  // lower case
    std::string text;  // whole, with its name and line ends
  };

  void take(char c);
  void put(char c);
  void end_line();
  void end_header_line();
  void end_header();
  Result<> take_addresses(bool resent);

  MissingFields missing_;
  const bool dot_ends_, take_recipients_;
  bool ended_ = false, eight_bit_ = false;
  bool after_cr_ = false;   // a line feed belongs to the line end before it
  bool line_start_ = true;  // nothing of the line has come
  bool dot_ = false;        // only a dot of the line has come, and it was not put yet
  bool in_header_ = true;
  std::string line_;  // of the header section, so far
  std::size_t header_octets_ = 0;
  std::vector<Field> fields_;
  std::string text_;  // for the encoder, of one call
  smtp::BodyEncoder encoder_;
  std::optional<Error> error_;
  std::vector<smtp::Mailbox> recipients_;
};

}  // namespace waypost::mta
