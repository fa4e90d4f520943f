// delivery/mime_walk.h: a message in chunks -> its MIME entities, in order (RFC 2045, 2046). Pure.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "delivery/mime_header.h"

namespace waypost::delivery {

/// What a walk tells of. All octets of the message are in it once, in order.
class MimeSink {
 public:
  virtual ~MimeSink() = default;

  /// An entity began, and its header section is whole. Entities are numbered in this order, from 0.
  virtual void entity(const MimeHeader& header) = 0;
  /// Octets of a line of the body of MimeWalk::current(), without its CRLF. A CR or LF in them is bare. Of a line that
  /// begins with two hyphens the first smtp::kMaxTextLine octets, or all if there are fewer, come in one piece.
  virtual void text(std::string_view run) = 0;
  /// The CRLF of a line of that body. The one before a delimiter is none: it belongs to the delimiter (RFC 2046
  /// §5.1.1).
  virtual void line_end() = 0;
  /// A delimiter line, all of it, with the CRLF before it. It ended the entities inside of the one that it belongs to,
  /// which is MimeWalk::current() now.
  virtual void delimiter(std::string_view raw) = 0;

 protected:
  MimeSink() = default;
  MimeSink(const MimeSink&) = default;
  MimeSink& operator=(const MimeSink&) = default;
};

/// Finds header sections and delimiter lines as receivers do: a delimiter is a whole line (LWSP may follow it), also
/// inside a header section; one of an outer entity ends the inner ones; without a close delimiter an entity ends with
/// what it is in; two open entities with one boundary are told apart from the inside. A header section ends at the
/// first line that is no field, also if it is not blank. Memory is bounded: what is over a limit ends the walk.
class MimeWalk {
 public:
  static constexpr std::size_t kMaxHeader = 256 * 1024;  ///< octets of one header section
  static constexpr std::size_t kMaxDepth = 50;           ///< entities inside of each other
  static constexpr std::size_t kMaxEntities = 10'000;
  static constexpr std::size_t kNone = SIZE_MAX;

  void feed(std::string_view chunk, MimeSink& sink);
  void finish(MimeSink& sink);

  /// A limit was hit: nothing more is told. It comes at the same octet however the message is cut.
  bool over_limit() const { return over_limit_; }

  /// The innermost entity that is open, and the one around it (kNone: there is none).
  std::size_t current() const { return open_.empty() ? kNone : open_.back().number; }
  std::size_t parent() const { return open_.size() < 2 ? kNone : open_[open_.size() - 2].number; }

 private:
  struct Open {
    std::size_t number = 0;
    std::string boundary;
    bool multipart = false;
    bool digest = false;
    bool closed = false;  ///< its close delimiter was seen
  };
  struct Delimiter {
    std::size_t level = kNone;  ///< in open_
    bool close = false;
  };

  void octets(std::string_view run, MimeSink& sink);
  void end_line(bool crlf, MimeSink& sink);
  void header_line(bool crlf, MimeSink& sink);
  void body_line(bool crlf, MimeSink& sink);
  void hold(std::string_view& run, MimeSink& sink);
  void release(MimeSink& sink);
  void begin_header(bool digest);
  void end_header(bool blank_line, MimeSink& sink);
  Delimiter find_delimiter(std::string_view line) const;
  void on_delimiter(Delimiter found, std::string_view line, bool crlf, MimeSink& sink);

  std::vector<Open> open_;
  std::size_t entities_ = 0;
  bool over_limit_ = false;
  bool held_cr_ = false;  ///< the last octet fed was a CR: what follows says what it is

  bool in_header_ = true;
  bool digest_default_ = false;  ///< an entity without Content-Type is a message (RFC 2046 §5.1.5)
  std::string header_;           ///< what came of the header section
  std::size_t line_begin_ = 0;   ///< its last line in header_

  bool line_start_ = true;  ///< in a body: nothing of this line was told of
  std::string held_;        ///< what came of it, which may be a delimiter
  bool held_crlf_ = false;  ///< the CRLF before it, which is a delimiter's if one follows
};

}  // namespace waypost::delivery
