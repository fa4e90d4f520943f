#include "delivery/transfer_encoding.h"

#include <algorithm>

#include "base/base64.h"
#include "base/text.h"

namespace waypost::delivery {

namespace {

constexpr std::string_view kCrlf = "\r\n";
constexpr std::size_t kLine = 76;
constexpr std::size_t kLineOctets = kLine / 4 * 3;

bool is_literal(char c) {
  return c > ' ' && c < 0x7F && c != '=';
}

}  // namespace

/// Octets between soft line breaks: one more of the line's 76 is the `=` of the break.
void QuotedPrintableEncoder::put(char octet, bool encoded, std::string& out) {
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  if (column_ + (encoded ? 3 : 1) > kLine - 1) {
    out.append("=\r\n");
    column_ = 0;
  }
  if (column_ == 0 && octet == '-') encoded = true;
  if (!encoded) {
    out += octet;
    ++column_;
    return;
  }
  unsigned char value = static_cast<unsigned char>(octet);
  out += '=';
  out += kHex[value >> 4];
  out += kHex[value & 15];
  column_ += 3;
}

void QuotedPrintableEncoder::put_space(bool encoded, std::string& out) {
  if (space_ != 0) put(space_, encoded, out);
  space_ = 0;
}

void QuotedPrintableEncoder::text(std::string_view run, std::string& out) {
  for (char c : run) {
    put_space(false, out);
    if (is_space(c))
      space_ = c;
    else
      put(c, !is_literal(c), out);
  }
}

void QuotedPrintableEncoder::line_end(std::string& out) {
  put_space(true, out);
  out.append(kCrlf);
  column_ = 0;
}

void QuotedPrintableEncoder::finish(std::string& out) {
  put_space(true, out);
  column_ = 0;
}

void Base64Encoder::put_line(std::string& out) {
  if (written_) out.append(kCrlf);
  out.append(base64_encode(line_));
  line_.clear();
  written_ = true;
}

void Base64Encoder::feed(std::string_view run, std::string& out) {
  while (!run.empty()) {
    std::size_t taken = std::min(run.size(), kLineOctets - line_.size());
    line_.append(run.substr(0, taken));
    run.remove_prefix(taken);
    if (line_.size() == kLineOctets) put_line(out);
  }
}

void Base64Encoder::finish(std::string& out) {
  if (!line_.empty()) put_line(out);
}

}  // namespace waypost::delivery
