#include "smtp/transparency.h"

#include <array>
#include <vector>

#include <doctest/doctest.h>

#include "tests/smtp/reference_body.h"

using namespace waypost::smtp;

namespace {

struct Decoded {
  std::string body;
  BodyNotes notes;
  bool ended = false;
  std::size_t consumed = 0;
};

/// Fed in the pieces that the ends in `cuts` make.
Decoded decode(std::string_view wire, const std::vector<std::size_t>& cuts = {}) {
  Decoded out;
  BodyDecoder decoder;
  std::size_t at = 0;
  for (std::size_t i = 0; i <= cuts.size() && !out.ended; ++i) {
    std::size_t end = i < cuts.size() ? cuts[i] : wire.size();
    BodyDecoder::Step step = decoder.feed(wire.substr(at, end - at), out.body);
    out.consumed += step.consumed;
    out.ended = step.ended;
    if (!step.ended) CHECK(step.consumed == end - at);
    at = end;
  }
  CHECK(decoder.ended() == out.ended);
  out.notes = decoder.notes();
  return out;
}

std::string encode(std::string_view body, std::size_t cut = 0) {
  BodyEncoder encoder;
  std::string out;
  encoder.feed(body.substr(0, cut), out);
  encoder.feed(body.substr(cut), out);
  encoder.finish(out);
  return out;
}

bool has_bare_line_end(std::string_view wire) {
  for (std::size_t i = 0; i < wire.size(); ++i) {
    if (wire[i] == '\r' && (i + 1 == wire.size() || wire[i + 1] != '\n')) return true;
    if (wire[i] == '\n' && (i == 0 || wire[i - 1] != '\r')) return true;
  }
  return false;
}

void check_same(const Decoded& got, const reference::Decoded& want) {
  CHECK(got.body == want.body);
  CHECK(got.ended == want.ended);
  CHECK(got.consumed == want.consumed);
  CHECK(got.notes == want.notes);
}

/// Octets that matter, by the digits of `number`.
std::string mix(unsigned number, std::size_t length) {
  static constexpr std::array<char, 5> kOctets = {'\r', '\n', '.', '\0', 'x'};
  std::string out;
  for (std::size_t i = 0; i < length; ++i, number /= 5) out += kOctets[number % 5];
  return out;
}

const std::vector<std::string_view> kCorpus = {
    ".\r\n",
    "Subject: x\r\n\r\ntext\r\n.\r\n",
    "..\r\n.\r\n",
    "...x\r\n..\r\n.y\r\n.\r\nQUIT\r\n",
    "a\nb\r\n.\r\n",
    "a\rb\r\n.\r\n",
    "a\n.\r\nb\r\n.\r\n",
    "a\r\n.\nb\r\n.\r\n",
    "a\n.\nb\r\n.\r\n",
    "a\r.\r\nb\r\n.\r\n",
    "a\r\n.\rb\r\n.\r\n",
    "a\r.\rb\r\n.\r\n",
    "a\r\r\n.\r\n",
    "a\r\n\r\n.\r\n",
    "\r\n.\r\n",
    ".\n.\r\n.\r\n",
    ".\r.\r\n.\r\n",
    ".\r\r\n.\r\n",
    ".x\r\n\xC3\xA4\r\n.\r\nMAIL FROM:<a@b>\r\n",
    "no end\r\n",
    "no end\r",
    "no end\r\n.",
    "no end\r\n.\r",
    "",
};

}  // namespace

TEST_SUITE("smtp/transparency") {
  TEST_CASE("the body between 354 and the dot [RFC 5321 4.5.2]") {
    struct {
      std::string_view wire, body;
    } cases[] = {
        {".\r\n", ""},
        {"a\r\n.\r\n", "a\r\n"},
        {"\r\n.\r\n", "\r\n"},
        {"..\r\n.\r\n", ".\r\n"},
        {"..a\r\n.b\r\n...\r\n.\r\n", ".a\r\nb\r\n..\r\n"},
        {"a.\r\n.\r\n", "a.\r\n"},
    };
    for (const auto& c : cases) {
      Decoded got = decode(c.wire);
      CHECK(got.ended);
      CHECK(got.body == c.body);
      CHECK(got.consumed == c.wire.size());
      CHECK_FALSE(got.notes.bare_line_end);
    }
  }

  TEST_CASE("only CRLF.CRLF is the end; a dot by a bare CR or LF is content [RFC 5321 4.1.1.4]") {
    struct {
      std::string_view middle, body;
    } cases[] = {
        {"\n.\r\n", "a\r\n.\r\nb\r\n"}, {"\r\n.\n", "a\r\n.\r\nb\r\n"}, {"\n.\n", "a\r\n.\r\nb\r\n"},
        {"\r.\r\n", "a\r\n.\r\nb\r\n"}, {"\r\n.\r", "a\r\n.\r\nb\r\n"}, {"\r.\r", "a\r\n.\r\nb\r\n"},
        {"\n.\r", "a\r\n.\r\nb\r\n"},   {"\r.\n", "a\r\n.\r\nb\r\n"},
    };
    for (const auto& c : cases) {
      CAPTURE(c.middle);
      Decoded got = decode("a" + std::string(c.middle) + "b\r\n.\r\nQUIT\r\n");
      CHECK(got.ended);
      CHECK(got.body == c.body);
      CHECK(got.notes.bare_line_end);
      CHECK(got.notes.has_dot_lines);
      CHECK(encode(got.body) == "a\r\n..\r\nb\r\n.\r\n");
    }
  }

  TEST_CASE("what follows the end is left for the next command [RFC 2920]") {
    Decoded got = decode("a\r\n.\r\nMAIL FROM:<\x80>\r\n");
    CHECK(got.ended);
    CHECK(got.consumed == 6);
    CHECK_FALSE(got.notes.eight_bit);
    BodyDecoder decoder;
    std::string body;
    CHECK(decoder.feed(".\r\n", body).ended);
    CHECK(decoder.feed("more", body).consumed == 0);
    CHECK(body.empty());
  }

  TEST_CASE("behind a DATA that a line feed alone ended a dot ends nothing [RFC 5321 4.1.1.4]") {
    struct {
      std::string_view wire, body;
      std::size_t consumed;
    } cases[] = {
        {".\r\nQUIT\r\n.\r\n", ".\r\nQUIT\r\n", 12},
        {"..\r\n.\r\n", "..\r\n", 7},
        {"a\r\n.\r\n", "a\r\n", 6},
        {"\r\n.\r\n", "\r\n", 5},
    };
    for (const auto& c : cases) {
      CAPTURE(c.wire);
      BodyDecoder decoder(BodyDecoder::Framing::dot, false);
      std::string body;
      CHECK(decoder.feed(c.wire, body).consumed == c.consumed);
      CHECK(decoder.ended());
      CHECK(body == c.body);
      CHECK(decoder.notes().has_dot_lines == c.body.starts_with('.'));
    }
  }

  TEST_CASE("notes about the body") {
    BodyNotes notes = decode("abc\r\n\r\nabcdef\r\n.\r\n").notes;
    CHECK(notes == BodyNotes{.octets = 15, .longest_line = 6});
    CHECK(decode("..\r\n.\r\n").notes.has_dot_lines);
    CHECK_FALSE(decode(".a\r\n.\r\n").notes.has_dot_lines);
    CHECK(decode("x\n.y\r\n.\r\n").notes.has_dot_lines);
    CHECK(decode("0123456789\xE4zzzzzz\r\n.\r\n").notes.eight_bit);
    CHECK(decode("\xE4\r\n.\r\n").notes.eight_bit);
    std::string nul = "0123456789";
    for (std::size_t i = 0; i < nul.size(); ++i) {
      std::string wire = nul + "\r\n.\r\n";
      wire[i] = '\0';
      Decoded got = decode(wire);
      CHECK(got.notes.nul);
      CHECK(got.body[i] == '\0');
    }
    CHECK_FALSE(decode("\x01\x7F plain\r\n.\r\n").notes.nul);
    CHECK_FALSE(decode("\x01\x7F plain\r\n.\r\n").notes.eight_bit);
  }

  TEST_CASE("every split of a corpus decodes as the whole does") {
    for (std::string_view wire : kCorpus) {
      CAPTURE(wire);
      reference::Decoded want = reference::decode(wire);
      check_same(decode(wire), want);
      for (std::size_t first = 0; first <= wire.size(); ++first)
        for (std::size_t second = first; second <= wire.size(); ++second)
          check_same(decode(wire, {first, second}), want);
      std::vector<std::size_t> each;
      for (std::size_t i = 1; i < wire.size(); ++i) each.push_back(i);
      check_same(decode(wire, each), want);
    }
  }

  TEST_CASE("all mixes of CR, LF, dot, NUL and x, alone and after a line, as the reference; in, out and in again") {
    for (unsigned number = 0; number < 3125; ++number) {
      for (std::string_view before : {"", "x\r\n", "x"}) {
        std::string wire = std::string(before) + mix(number, 5) + "z\r\n.\r\nQUIT\r\n";
        CAPTURE(number);
        reference::Decoded want = reference::decode(wire);
        Decoded got = decode(wire);
        check_same(got, want);
        std::vector<std::size_t> each;
        for (std::size_t i = 1; i < wire.size(); ++i) each.push_back(i);
        check_same(decode(wire, each), want);

        // A relay that sends it on puts nothing on the wire that any peer could take for another end.
        std::string sent = encode(got.body);
        CHECK_FALSE(has_bare_line_end(sent));
        Decoded again = decode(sent);
        CHECK(again.ended);
        CHECK(again.consumed == sent.size());
        CHECK(again.body == got.body);
        CHECK_FALSE(again.notes.bare_line_end);
        if (!got.notes.has_dot_lines) CHECK(sent == got.body + std::string(kEndOfData));
      }
    }
  }

  TEST_CASE("by BDAT no dot means anything: all mixes, in chunks of any size, as the reference [RFC 3030 2]") {
    constexpr std::string_view kOctets("\r\n.\0x\xff", 6);
    for (std::size_t size = 0; size <= 5; ++size) {
      std::size_t mixes = 1;
      for (std::size_t i = 0; i < size; ++i) mixes *= kOctets.size();
      for (std::size_t mix = 0; mix < mixes; ++mix) {
        std::string octets;
        for (std::size_t rest = mix, i = 0; i < size; ++i, rest /= kOctets.size())
          octets += kOctets[rest % kOctets.size()];
        const reference::Decoded want = reference::decode_counted(octets);
        for (std::size_t cut = 0; cut <= size; ++cut) {
          Decoded got;
          BodyDecoder decoder(BodyDecoder::Framing::counted);
          got.consumed = decoder.feed(std::string_view(octets).substr(0, cut), got.body).consumed;
          got.consumed += decoder.feed(std::string_view(octets).substr(cut), got.body).consumed;
          if (decoder.ended()) FAIL("it ended by itself");
          decoder.finish(got.body);
          got.ended = decoder.ended();
          got.notes = decoder.notes();
          const bool same = got.body == want.body && got.notes == want.notes && got.consumed == size && got.ended;
          if (!same) check_same(got, want);
        }
      }
    }
    CHECK(reference::decode_counted(".\r\n.\r\nx").body == ".\r\n.\r\nx\r\n");
  }

  TEST_CASE("binary content is kept as it is; what it would be as text is noted [RFC 3030 3]") {
    const std::string octets_of_all("\r\n.\0x\xe4", 6);
    for (std::size_t size = 0; size <= 5; ++size) {
      std::size_t mixes = 1;
      for (std::size_t i = 0; i < size; ++i) mixes *= octets_of_all.size();
      for (std::size_t mix = 0; mix < mixes; ++mix) {
        std::string octets;
        for (std::size_t rest = mix, i = 0; i < size; ++i, rest /= octets_of_all.size())
          octets += octets_of_all[rest % octets_of_all.size()];
        const reference::Decoded text = reference::decode_counted(octets);
        for (std::size_t cut = 0; cut <= size; ++cut) {
          std::string body;
          BodyDecoder decoder(BodyDecoder::Framing::binary);
          decoder.feed(std::string_view(octets).substr(0, cut), body);
          decoder.feed(std::string_view(octets).substr(cut), body);
          if (decoder.ended()) FAIL("it ended by itself");
          decoder.finish(body);
          const bool same = body == octets && decoder.ended() && decoder.notes().octets == size &&
                            decoder.notes().nul == text.notes.nul &&
                            decoder.notes().eight_bit == text.notes.eight_bit &&
                            decoder.notes().is_text() == (text.body == octets && !text.notes.nul) &&
                            (!decoder.notes().is_text() || decoder.notes() == text.notes);
          if (!same) FAIL_CHECK("mix " << mix << " of " << size << " cut at " << cut);
        }
      }
    }
    std::string body;
    BodyDecoder decoder(BodyDecoder::Framing::binary);
    decoder.feed(std::string(999, 'x') + "\r\n", body);
    decoder.finish(body);
    CHECK_FALSE(decoder.notes().is_text());
  }

  TEST_CASE("all mixes go out stuffed and with CRLF alone, however the chunks are cut") {
    for (unsigned number = 0; number < 3125; ++number) {
      std::string body = mix(number, 5);
      CAPTURE(number);
      std::string want = reference::encode(body);
      CHECK_FALSE(has_bare_line_end(want));
      for (std::size_t cut = 0; cut <= body.size(); ++cut) CHECK(encode(body, cut) == want);
    }
  }

  TEST_CASE("a body without a final line end gets one; an empty body none") {
    CHECK(encode("") == ".\r\n");
    CHECK(encode("a") == "a\r\n.\r\n");
    CHECK(encode("a\r") == "a\r\n.\r\n");
    CHECK(encode("a\r\n") == "a\r\n.\r\n");
    CHECK(encode(".") == "..\r\n.\r\n");
  }

  TEST_CASE("long lines, many lines and many bare CRs take time by their length alone") {
    for (std::string_view unit : {"x", "\r", "\n", "\r\n", ".\r\n", "..", "\r\r\n", "text of a usual line\r\n"}) {
      std::string wire;
      while (wire.size() < 2'000'000) wire += unit;
      wire = "x" + wire;
      std::string body;
      BodyDecoder decoder;
      for (std::size_t at = 0; at < wire.size() && !decoder.ended(); at += 65536)
        decoder.feed(std::string_view(wire).substr(at, 65536), body);
      BodyEncoder encoder;
      std::string sent;
      encoder.feed(body, sent);
      encoder.finish(sent);
      CHECK(sent.ends_with("\r\n.\r\n"));
    }
    CHECK(decode(std::string(100'000, 'x') + "\r\n.\r\n").notes.longest_line == 100'000);
  }
}
