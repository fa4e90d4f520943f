#include "smtp/transparency.h"

#include <algorithm>
#include <cstring>

namespace waypost::smtp {
namespace {

constexpr std::string_view kCrlf = "\r\n";

const char* find(const char* from, const char* to, char c) {
  return static_cast<const char*>(std::memchr(from, c, static_cast<std::size_t>(to - from)));
}

/// Eight octets at a time; compilers make wider steps of it.
void note_octets(std::string_view run, BodyNotes& notes) {
  constexpr std::uint64_t kHigh = 0x8080808080808080;
  constexpr std::uint64_t kLow = 0x0101010101010101;
  std::uint64_t high = 0;
  std::uint64_t zero = 0;
  std::size_t i = 0;
  for (; i + 8 <= run.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, run.data() + i, 8);
    high |= word;
    zero |= (word - kLow) & ~word & kHigh;
  }
  for (; i < run.size(); ++i) {
    unsigned char octet = static_cast<unsigned char>(run[i]);
    high |= octet;
    if (octet == 0) zero = 1;
  }
  if ((high & kHigh) != 0) notes.eight_bit = true;
  if (zero != 0) notes.nul = true;
}

}  // namespace

// Appends octets of the body that need no change. Their lines are counted by the caller.
void BodyDecoder::keep(std::string_view run, std::string& out) {
  note_octets(run, notes_);
  notes_.octets += run.size();
  out.append(run);
}

// Appends the CRLF of a decoded line.
void BodyDecoder::end_line(std::string& out) {
  out.append(kCrlf);
  notes_.octets += kCrlf.size();
  notes_.longest_line = std::max(notes_.longest_line, line_octets_);
  line_octets_ = 0;
}

// One octet by the table of states: at chunk boundaries, around dots and around bare line ends.
void BodyDecoder::slow(char c, std::string& out) {
  switch (state_) {
    case State::line_start:
      if (c == '.' && framing_ == Framing::dot) {
        state_ = State::dot;
        return;
      }
      state_ = State::text;
      return slow(c, out);

    case State::dot:  // the first octet of a line after CRLF was a dot, which is not kept yet
      if (c == '\r') {
        state_ = State::dot_cr;
        return;
      }
      state_ = State::text;
      if (c == '\n') {  // CRLF . LF: a line of one dot
        slow('.', out);
      }
      return slow(c, out);

    case State::dot_cr:
      if (c == '\n') {
        notes_.longest_line = std::max(notes_.longest_line, line_octets_);
        state_ = State::end;
        return;
      }
      state_ = State::text;  // CRLF . CR: a line of one dot, too
      slow('.', out);
      state_ = State::cr;
      return slow(c, out);

    case State::cr:
      if (c == '\n') {
        end_line(out);
        state_ = State::line_start;
        return;
      }
      notes_.bare_line_end = true;
      end_line(out);
      state_ = State::text;
      return slow(c, out);

    case State::text:
      if (c == '\r') {
        state_ = State::cr;
        return;
      }
      if (c == '\n') {
        notes_.bare_line_end = true;
        end_line(out);
        return;
      }
      if (c == '.' && line_octets_ == 0) notes_.has_dot_lines = true;
      ++line_octets_;
      keep(std::string_view(&c, 1), out);
      return;

    case State::end:
      return;
  }
}

// What the octets would be as text is noted.
void BodyDecoder::take_binary(std::string_view chunk, std::string& out) {
  keep(chunk, out);
  for (const char c : chunk) {
    const bool after_cr = state_ == State::cr;
    if (after_cr != (c == '\n')) notes_.bare_line_end = true;
    if (c == '\n') {
      notes_.longest_line = std::max(notes_.longest_line, line_octets_);
      line_octets_ = 0;
    } else if (c != '\r') {
      if (c == '.' && line_octets_ == 0) notes_.has_dot_lines = true;
      ++line_octets_;
    }
    state_ = c == '\r' ? State::cr : State::text;
  }
}

BodyDecoder::Step BodyDecoder::feed(std::string_view chunk, std::string& out) {
  if (framing_ == Framing::binary && state_ != State::end) {
    take_binary(chunk, out);
    return Step{chunk.size(), false};
  }
  const char* const begin = chunk.data();
  const char* const end = begin + chunk.size();
  const bool counted = framing_ == Framing::counted;
  const char* at = begin;
  const char* lf =
      nullptr;  // the next LF at or after `at`, or `end`; found once, so that many CRs cost no second search

  while (at < end && state_ != State::end) {
    // Octets that go to the body as they are make one run over as many lines as possible.
    const char* const run = at;
    while (at < end && (state_ == State::text || (state_ == State::line_start && (*at != '.' || counted)))) {
      if ((state_ == State::text || counted) && line_octets_ == 0 && *at == '.') notes_.has_dot_lines = true;
      if (lf == nullptr || lf < at) lf = find(at, end, '\n');
      if (lf == nullptr) lf = end;
      const char* cr = find(at, lf, '\r');
      bool crlf = cr != nullptr && cr + 1 < end && cr + 1 == lf;
      if (!crlf) {
        const char* stop = cr != nullptr ? cr : lf;
        line_octets_ += static_cast<std::uint64_t>(stop - at);
        state_ = State::text;
        at = stop;
        break;
      }
      line_octets_ += static_cast<std::uint64_t>(cr - at);
      notes_.longest_line = std::max(notes_.longest_line, line_octets_);
      line_octets_ = 0;
      state_ = State::line_start;
      at = lf + 1;
    }
    if (at > run) keep(std::string_view(run, static_cast<std::size_t>(at - run)), out);
    if (at < end) slow(*at++, out);
  }
  return Step{static_cast<std::size_t>(at - begin), state_ == State::end};
}

void BodyDecoder::finish(std::string& out) {
  if (framing_ == Framing::binary) {
    if (state_ == State::cr || line_octets_ > 0) notes_.bare_line_end = true;  // as text it would have a line end more
    state_ = State::end;
    return;
  }
  if (state_ == State::cr) notes_.bare_line_end = true;
  if (state_ == State::cr || line_octets_ > 0) end_line(out);
  state_ = State::end;
}

void BodyEncoder::feed(std::string_view chunk, std::string& out) {
  if (chunk.empty()) return;
  const char* at = chunk.data();
  const char* const end = at + chunk.size();
  const char* lf = nullptr;  // as in BodyDecoder::feed()

  if (cr_) {
    cr_ = false;
    out.append(kCrlf);
    line_start_ = true;
    if (*at == '\n') ++at;
  }
  const char* run = at;
  while (at < end) {
    if (dots_ && line_start_ && *at == '.') {
      out.append(run, at).append(1, '.');
      run = at;
    }
    line_start_ = false;
    if (lf == nullptr || lf < at) lf = find(at, end, '\n');
    if (lf == nullptr) lf = end;
    const char* cr = find(at, lf, '\r');
    if (cr == nullptr && lf == end) break;

    if (cr != nullptr && cr + 1 == end) {
      out.append(run, cr);
      cr_ = true;
      return;
    }
    const char* stop = cr != nullptr ? cr : lf;
    if (cr != nullptr && cr + 1 == lf) {
      at = lf + 1;
    } else {
      out.append(run, stop).append(kCrlf);
      at = run = stop + 1;
    }
    line_start_ = true;
  }
  out.append(run, end);
}

void BodyEncoder::finish(std::string& out) {
  if (cr_ || !line_start_) out.append(kCrlf);
  cr_ = false;
  line_start_ = true;
  if (dots_) out.append(kEndOfData);
}

}  // namespace waypost::smtp
