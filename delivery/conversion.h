// delivery/conversion.h: conversion of a message to 7bit, for a host without 8BITMIME (RFC 6152 §3) or BINARYMIME (RFC
// 3030 §3). Pure, and in bounded memory: the message is read once to learn what each of its parts needs, and once more
// to convert it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "delivery/mime_walk.h"
#include "delivery/transfer_encoding.h"

namespace waypost::delivery {

/// What is to become of a message; made by ConversionScan, for any number of Converters.
struct Conversion {
  enum class Verdict : std::uint8_t {
    unneeded,     ///< a Converter would change nothing
    convertible,  ///< it would
    /// Part of what multipart/signed or multipart/encrypted (RFC 1847) holds would have to change, which breaks the
    /// signature. DKIM-Signature fields do not count: a DKIM signature that fails is as none (RFC 6376 §6.1), it is for
    /// hosts on the way and no proof to the reader, and its signer was to convert before (§5.3). To bounce the message
    /// for it would do more harm.
    signed_content,
    /// It would have to change where that is not allowed (message/partial, message/external-body) or not safe (a header
    /// section with a bare CR or LF); or it is over a limit of MimeWalk, and not known to the end.
    impossible,
  };
  Verdict verdict = Verdict::unneeded;

  /// A field, at the top or in a part, has octets over 127. They stay: what helps there is SMTPUTF8 (RFC 6531).
  bool eight_bit_header = false;
  /// There are octets that are not 7bit in parts that stay as they are: their declared encoding is quoted-printable,
  /// base64 or an unknown one, so that they are malformed, and no encoding on top of it would be understood; or they
  /// are multipart without a boundary or a delimiter, which cannot be encoded at all (RFC 2045 §6.4). Such mail is sent
  /// on as it is elsewhere, and readers cope; the rest of the message is converted all the same.
  bool octets_left = false;

  /// What becomes of one entity, by its number in MimeWalk.
  struct Entity {
    TransferEncoding label = TransferEncoding::none;  ///< the new Content-Transfer-Encoding; none: as it is
    bool encode = false;                              ///< the body, as `label` says
    bool clean_beside = false;                        ///< before the first and after the last part
    bool add_mime_version = false;
    bool add_unknown_charset = false;  ///< Content-Type, of a text of which nothing is known (RFC 1428 §3)
    bool add_blank_line = false;       ///< after the header section, which has none
    bool operator==(const Entity&) const = default;
  };
  std::vector<Entity> entities;  ///< empty unless convertible
};

/// The first reading. The chunks are the message as it is stored: trace, then body, cut anywhere.
class ConversionScan : private MimeSink {
 public:
  void feed(std::string_view chunk) { walk_.feed(chunk, *this); }
  /// The end. It is called once.
  Conversion finish();

 private:
  struct Seen {
    std::uint32_t parent = 0;  ///< of the first: itself
    MimeHeader::Kind kind = MimeHeader::Kind::text;
    TransferEncoding encoding = TransferEncoding::none;
    bool is_message = false;  ///< its fields are a message's
    bool sealed = false;      ///< inside of multipart/signed or multipart/encrypted
    bool seals = false;       ///< is one of them
    bool has_mime_version = false;
    bool has_content_type = false;
    bool blank_line = false;
    bool header_not_7bit = false;
    bool label_not_7bit = false;
    bool has_parts = false;
    bool eight_bit = false;  ///< in the body; of multipart: before or after the parts
    bool not_7bit = false;   ///< there, too: this, a NUL, a bare CR or LF, or a line over smtp::kMaxTextLine
    bool stays = false;      ///< something that is not 7bit, or is called so, is in it or in what it holds after all
    bool converted = false;  ///< it is encoded, or something that it holds is
  };

  void entity(const MimeHeader& header) override;
  void text(std::string_view run) override;
  void line_end() override { line_octets_ = 0; }
  void delimiter(std::string_view) override { line_octets_ = 0; }

  static void decide(Seen& seen, Conversion::Entity& entity, Conversion& out);
  static void decide_body(Seen& seen, Conversion::Entity& entity, Conversion& out);

  MimeWalk walk_;
  std::vector<Seen> seen_;
  std::uint64_t line_octets_ = 0;
  bool eight_bit_header_ = false;
  bool bare_line_end_ = false;  ///< in a header section
};

/// The second reading, of the same octets. A message that is not convertible goes through as it is.
class Converter : private MimeSink {
 public:
  /// `conversion` outlives it.
  explicit Converter(const Conversion& conversion) : conversion_(&conversion) {}

  /// Appends what is to be sent.
  void feed(std::string_view chunk, std::string& out);
  void finish(std::string& out);

  /// Octets appended so far. For SIZE: a Converter that is fed to the end, its output thrown away.
  std::uint64_t octets() const { return octets_; }

 private:
  void entity(const MimeHeader& header) override;
  void text(std::string_view run) override;
  void line_end() override;
  void delimiter(std::string_view raw) override;

  void clean(std::string_view run);
  void end_body();
  Conversion::Entity plan(std::size_t number) const;

  const Conversion* conversion_;
  MimeWalk walk_;
  std::size_t begun_ = 0;
  Conversion::Entity now_;  ///< of MimeWalk::current()
  QuotedPrintableEncoder quoted_printable_;
  Base64Encoder base64_;
  std::size_t line_octets_ = 0;
  std::string* out_ = nullptr;  ///< of the call that is under way
  std::uint64_t octets_ = 0;
};

}  // namespace waypost::delivery
