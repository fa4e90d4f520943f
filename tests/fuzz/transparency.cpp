// tests/fuzz/transparency.cpp: the body, in and out, cut into chunks anywhere, beside the plain reference.
// Covers: smtp/transparency.cpp
#include "smtp/transparency.h"

#include "tests/fuzz/input.h"
#include "tests/smtp/reference_body.h"

using namespace waypost;

namespace {

smtp::reference::Decoded decode(std::string_view wire, std::size_t chunk, bool after_crlf = true) {
  smtp::reference::Decoded out;
  smtp::BodyDecoder decoder(smtp::BodyDecoder::Framing::dot, after_crlf);
  for (std::size_t at = 0; at < wire.size() && !out.ended; at += chunk) {
    smtp::BodyDecoder::Step step = decoder.feed(wire.substr(at, chunk), out.body);
    out.consumed += step.consumed;
    out.ended = step.ended;
  }
  out.notes = decoder.notes();
  return out;
}

std::string encode(std::string_view body, std::size_t chunk) {
  std::string out;
  smtp::BodyEncoder encoder;
  for (std::size_t at = 0; at < body.size(); at += chunk) encoder.feed(body.substr(at, chunk), out);
  encoder.finish(out);
  return out;
}

void check_same(const smtp::reference::Decoded& got, const smtp::reference::Decoded& want) {
  fuzz::check(got.body == want.body, "the body is the reference's");
  fuzz::check(got.ended == want.ended && got.consumed == want.consumed, "it ends where the reference does");
  fuzz::check(got.notes == want.notes, "the notes are the reference's");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  std::size_t chunk = fuzz::take_octet(input) + std::size_t{1};

  smtp::reference::Decoded want = smtp::reference::decode(input);
  check_same(decode(input, chunk), want);
  check_same(decode(input, input.size() + 1), want);
  check_same(decode(input, chunk, false), smtp::reference::decode(input, false));

  smtp::reference::Decoded counted;
  smtp::BodyDecoder decoder(smtp::BodyDecoder::Framing::counted);
  for (std::size_t at = 0; at < input.size(); at += chunk)
    counted.consumed += decoder.feed(input.substr(at, chunk), counted.body).consumed;
  decoder.finish(counted.body);
  counted.ended = decoder.ended();
  counted.notes = decoder.notes();
  check_same(counted, smtp::reference::decode_counted(input));

  std::string sent = encode(want.body, chunk);
  fuzz::check(sent == smtp::reference::encode(want.body), "what is sent is the reference's");
  fuzz::check(encode(input, chunk) == smtp::reference::encode(input), "of any octets");
  smtp::reference::Decoded again = decode(sent, chunk);
  fuzz::check(again.ended && again.consumed == sent.size(), "what is sent ends where it should, and not before");
  fuzz::check(!again.notes.bare_line_end, "CRLF alone ends lines on the wire");
  bool whole = want.body.empty() || want.body.ends_with("\r\n");
  fuzz::check(again.body == want.body + (whole ? "" : "\r\n"), "and arrives as it was");
  return 0;
}
