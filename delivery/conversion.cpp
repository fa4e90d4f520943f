#include "delivery/conversion.h"

#include <algorithm>

#include "base/text.h"

namespace waypost::delivery {

namespace {

using Kind = MimeHeader::Kind;
using Verdict = Conversion::Verdict;

constexpr std::string_view kCrlf = "\r\n";

bool is_wide(TransferEncoding encoding) {
  return encoding == TransferEncoding::eight_bit || encoding == TransferEncoding::binary;
}

/// The octets of the body are the content itself (RFC 2045 §6.2).
bool is_identity(TransferEncoding encoding) {
  return encoding == TransferEncoding::none || encoding == TransferEncoding::seven_bit || is_wide(encoding);
}

std::string_view name_of(TransferEncoding encoding) {
  switch (encoding) {
    case TransferEncoding::quoted_printable:
      return "quoted-printable";
    case TransferEncoding::base64:
      return "base64";
    default:
      return "7bit";
  }
}

void raise(Verdict& verdict, Verdict to) {
  verdict = std::max(verdict, to);
}

}  // namespace

void ConversionScan::entity(const MimeHeader& header) {
  Seen seen;
  if (walk_.parent() != MimeWalk::kNone) {
    seen.parent = static_cast<std::uint32_t>(walk_.parent());
    Seen& parent = seen_[seen.parent];
    parent.has_parts = true;
    seen.sealed = parent.sealed || parent.seals;
    seen.is_message = parent.kind == Kind::message;
  } else {
    seen.is_message = true;
  }
  seen.kind = header.kind;
  seen.encoding = header.encoding;
  seen.seals = header.type == "multipart/signed" || header.type == "multipart/encrypted";
  seen.has_mime_version = header.has_mime_version;
  seen.has_content_type = header.has_content_type;
  seen.blank_line = header.blank_line;
  seen.header_not_7bit = header.not_7bit;
  seen.label_not_7bit = header.label_not_7bit;
  seen_.push_back(seen);
  if (header.eight_bit) eight_bit_header_ = true;
  if (header.bare_line_end) bare_line_end_ = true;
}

void ConversionScan::text(std::string_view run) {
  Seen& seen = seen_[walk_.current()];
  OctetNotes notes = note_octets(run);
  line_octets_ += run.size();
  if (notes.eight_bit) seen.eight_bit = true;
  if (!notes.plain() || line_octets_ > smtp::kMaxTextLine) seen.not_7bit = true;
}

Conversion ConversionScan::finish() {
  walk_.finish(*this);
  Conversion out;
  out.eight_bit_header = eight_bit_header_;
  out.entities.resize(seen_.size());
  // What an entity holds comes after it.
  for (std::size_t i = seen_.size(); i-- > 0;) {
    decide(seen_[i], out.entities[i], out);
    Seen& parent = seen_[seen_[i].parent];
    bool label_stays = seen_[i].label_not_7bit && out.entities[i].label == TransferEncoding::none;
    if (seen_[i].stays || seen_[i].header_not_7bit || label_stays) parent.stays = true;
    if (seen_[i].converted) parent.converted = true;
  }
  bool changes = std::any_of(out.entities.begin(), out.entities.end(),
                             [](const Conversion::Entity& entity) { return entity != Conversion::Entity(); });
  if (changes) raise(out.verdict, Verdict::convertible);
  // What follows a bare CR or LF may be a field to a host that makes CRLF of it: nothing is sure then.
  bool unsafe = changes && bare_line_end_;
  if (unsafe || walk_.over_limit()) out.verdict = Verdict::impossible;
  if (out.verdict != Verdict::convertible) out.entities.clear();
  return out;
}

void ConversionScan::decide(Seen& seen, Conversion::Entity& entity, Conversion& out) {
  if (seen.not_7bit) decide_body(seen, entity, out);
  entity.add_mime_version = seen.converted && seen.is_message && !seen.has_mime_version;
  // A first line of the body that is no field may look like one once it is changed, or stand after fields of a part.
  entity.add_blank_line = !seen.blank_line && (seen.converted || entity.clean_beside);
  if (entity.encode) {
    entity.add_unknown_charset = entity.add_mime_version && !seen.has_content_type && seen.eight_bit;
  } else if (is_wide(seen.encoding)) {
    bool can_change = !seen.stays && !seen.sealed;
    if (can_change) entity.label = TransferEncoding::seven_bit;
    if (!can_change) seen.stays = true;
  }
}

/// The body holds what is not 7bit; of a multipart entity: what stands before or after its parts does.
void ConversionScan::decide_body(Seen& seen, Conversion::Entity& entity, Conversion& out) {
  bool no_parts = seen.kind == Kind::broken || (seen.kind == Kind::multipart && !seen.has_parts);
  bool encoded = seen.kind != Kind::multipart && !is_identity(seen.encoding);
  if (no_parts || encoded) {
    seen.stays = true;
    out.octets_left = true;
  } else if (seen.kind == Kind::seven_bit) {
    raise(out.verdict, Verdict::impossible);
  } else if (seen.sealed) {
    raise(out.verdict, Verdict::signed_content);
  } else if (seen.kind == Kind::multipart) {
    entity.clean_beside = true;
  } else {
    entity.encode = true;
    entity.label = seen.kind == Kind::text ? TransferEncoding::quoted_printable : TransferEncoding::base64;
    seen.converted = true;
  }
}

void Converter::feed(std::string_view chunk, std::string& out) {
  std::size_t before = out.size();
  if (conversion_->verdict == Verdict::convertible) {
    out_ = &out;
    walk_.feed(chunk, *this);
  } else {
    out.append(chunk);
  }
  octets_ += out.size() - before;
}

void Converter::finish(std::string& out) {
  if (conversion_->verdict != Verdict::convertible) return;
  std::size_t before = out.size();
  out_ = &out;
  walk_.finish(*this);
  end_body();
  // The last line of base64 is a line of the message.
  if (now_.encode && now_.label == TransferEncoding::base64) out.append(kCrlf);
  octets_ += out.size() - before;
}

Conversion::Entity Converter::plan(std::size_t number) const {
  return number < conversion_->entities.size() ? conversion_->entities[number] : Conversion::Entity();
}

void Converter::entity(const MimeHeader& header) {
  now_ = plan(begun_++);
  quoted_printable_ = {};
  base64_ = {};

  std::string label;
  if (now_.label != TransferEncoding::none)
    label = "Content-Transfer-Encoding: " + std::string(name_of(now_.label)) + "\r\n";
  std::string_view fields = header.section;
  while (!fields.empty()) {
    const MimeField field = take_field(fields);
    bool replaced = now_.label != TransferEncoding::none && equals_no_case(field.name, "Content-Transfer-Encoding");
    out_->append(replaced ? label : field.raw);
    if (replaced) label.clear();  // there is one in the end
  }
  if (now_.add_mime_version) out_->append("MIME-Version: 1.0\r\n");
  if (now_.add_unknown_charset) out_->append("Content-Type: text/plain; charset=unknown-8bit\r\n");
  out_->append(label);
  if (header.blank_line || now_.add_blank_line) out_->append(kCrlf);
}

void Converter::text(std::string_view run) {
  if (now_.clean_beside)
    clean(run);
  else if (!now_.encode)
    out_->append(run);
  else if (now_.label == TransferEncoding::base64)
    base64_.feed(run, *out_);
  else
    quoted_printable_.text(run, *out_);
}

void Converter::line_end() {
  line_octets_ = 0;
  if (!now_.encode)
    out_->append(kCrlf);
  else if (now_.label == TransferEncoding::base64)
    base64_.feed(kCrlf, *out_);
  else
    quoted_printable_.line_end(*out_);
}

void Converter::delimiter(std::string_view raw) {
  end_body();
  out_->append(raw);
  now_ = plan(walk_.current());
  line_octets_ = 0;
}

void Converter::end_body() {
  if (!now_.encode) return;
  if (now_.label == TransferEncoding::base64)
    base64_.finish(*out_);
  else
    quoted_printable_.finish(*out_);
}

/// A line that no reader shows: what is not 7bit becomes `?`, and what is over smtp::kMaxTextLine is left out. A line
/// that began like a delimiter and was none could become one by that, so its first hyphen goes, too.
void Converter::clean(std::string_view run) {
  bool line_start = line_octets_ == 0;
  bool whole = note_octets(run).plain() && run.size() <= smtp::kMaxTextLine;
  std::size_t begin = out_->size();
  out_->append(run.substr(0, smtp::kMaxTextLine - std::min(smtp::kMaxTextLine, line_octets_)));
  line_octets_ += run.size();
  if (whole) return;
  for (std::size_t i = begin; i < out_->size(); ++i)
    if (!note_octets(std::string_view(*out_).substr(i, 1)).plain()) (*out_)[i] = '?';
  if (line_start && run.starts_with("--")) (*out_)[begin] = '?';
}

}  // namespace waypost::delivery
