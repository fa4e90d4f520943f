#include "delivery/mime_walk.h"

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace waypost::delivery {

namespace {

constexpr std::string_view kCrlf = "\r\n";
constexpr std::string_view kHyphens = "--";

bool may_be_delimiter(std::string_view line) {
  return line.size() <= smtp::kMaxTextLine && (line.starts_with(kHyphens) || kHyphens.starts_with(line));
}

}  // namespace

// A line ends with CRLF alone. A bare CR or LF ends none: in a part that has one it is encoded, so that no later hop
// makes a line end of it either.
void MimeWalk::feed(std::string_view chunk, MimeSink& sink) {
  while (!chunk.empty() && !over_limit_) {
    if (held_cr_) {
      held_cr_ = false;
      if (chunk.front() == '\n') {
        chunk.remove_prefix(1);
        end_line(true, sink);
        continue;
      }
      octets("\r", sink);
    }
    std::size_t end = chunk.find(kCrlf);
    bool crlf = end != std::string_view::npos;
    held_cr_ = !crlf && chunk.back() == '\r';
    std::string_view run = chunk.substr(0, crlf ? end : chunk.size() - (held_cr_ ? 1 : 0));
    octets(run, sink);
    if (!crlf) return;
    end_line(true, sink);
    chunk.remove_prefix(end + kCrlf.size());
  }
}

void MimeWalk::finish(MimeSink& sink) {
  if (std::exchange(held_cr_, false)) octets("\r", sink);
  bool has_line = in_header_ ? header_.size() > line_begin_ : !held_.empty();
  if (has_line) end_line(false, sink);
  if (in_header_ && !over_limit_) end_header(false, sink);
  if (std::exchange(held_crlf_, false)) sink.line_end();
}

void MimeWalk::octets(std::string_view run, MimeSink& sink) {
  if (run.empty() || over_limit_) return;
  if (in_header_) {
    over_limit_ = header_.size() + run.size() > kMaxHeader;
    if (!over_limit_) header_.append(run);
    return;
  }
  if (line_start_) hold(run, sink);
  if (!run.empty()) sink.text(run);
}

/// Takes off what may be a delimiter. All else of the line can be told of after it.
void MimeWalk::hold(std::string_view& run, MimeSink& sink) {
  if (held_.empty() && run.front() != kHyphens.front()) return release(sink);
  std::size_t taken = std::min(run.size(), smtp::kMaxTextLine + 1 - held_.size());
  held_.append(run.substr(0, taken));
  run.remove_prefix(taken);
  if (!may_be_delimiter(held_)) release(sink);
}

/// What was held is no delimiter.
void MimeWalk::release(MimeSink& sink) {
  if (std::exchange(held_crlf_, false)) sink.line_end();
  if (!held_.empty()) sink.text(held_);
  held_.clear();
  line_start_ = false;
}

void MimeWalk::end_line(bool crlf, MimeSink& sink) {
  if (over_limit_) return;
  if (in_header_)
    header_line(crlf, sink);
  else
    body_line(crlf, sink);
}

void MimeWalk::body_line(bool crlf, MimeSink& sink) {
  if (line_start_) {
    Delimiter found = find_delimiter(held_);
    if (found.level != kNone) return on_delimiter(found, std::exchange(held_, {}), crlf, sink);
    release(sink);
  }
  held_crlf_ = crlf;
  line_start_ = true;
}

void MimeWalk::header_line(bool crlf, MimeSink& sink) {
  std::string_view line = std::string_view(header_).substr(line_begin_);
  bool continues = line_begin_ > 0 && !line.empty() && is_space(line.front());
  bool is_field = continues || !field_name(line).empty();
  if (is_field && find_delimiter(line).level == kNone) {
    over_limit_ = header_.size() + kCrlf.size() > kMaxHeader;
    if (crlf) header_.append(kCrlf);
    line_begin_ = header_.size();
    return;
  }
  bool blank = line.empty() && crlf;
  std::string rest(line);
  header_.resize(line_begin_);
  end_header(blank, sink);
  if (blank || over_limit_) return;

  // The line is of the body, or a delimiter: of the entity's own boundary, perhaps, which is known only now.
  octets(rest, sink);
  end_line(crlf, sink);
}

void MimeWalk::begin_header(bool digest) {
  in_header_ = true;
  digest_default_ = digest;
  header_.clear();
  line_begin_ = 0;
}

void MimeWalk::end_header(bool blank_line, MimeSink& sink) {
  if (open_.size() >= kMaxDepth || entities_ >= kMaxEntities) {
    over_limit_ = true;
    return;
  }
  MimeHeader header =
      parse_mime_header(std::exchange(header_, {}), blank_line, digest_default_ ? "message/rfc822" : "text/plain");
  Open open;
  open.number = entities_++;
  open.boundary = header.boundary;
  open.multipart = header.kind == MimeHeader::Kind::multipart;
  open.digest = header.type == "multipart/digest";
  open_.push_back(std::move(open));

  in_header_ = false;
  sink.entity(header);
  if (header.kind == MimeHeader::Kind::message) begin_header(false);
}

/// From the inside out, so that parts with the boundary of what they are in are parts of the inner entity.
MimeWalk::Delimiter MimeWalk::find_delimiter(std::string_view line) const {
  if (!line.starts_with(kHyphens) || line.size() > smtp::kMaxTextLine) return {};
  line = trim_back(line.substr(kHyphens.size()));
  for (std::size_t level = open_.size(); level-- > 0;) {
    const Open& open = open_[level];
    if (!open.multipart || open.closed || !line.starts_with(open.boundary)) continue;
    std::string_view after = line.substr(open.boundary.size());
    if (after.empty() || after == kHyphens) return Delimiter{level, !after.empty()};
  }
  return {};
}

void MimeWalk::on_delimiter(Delimiter found, std::string_view line, bool crlf, MimeSink& sink) {
  open_.resize(found.level + 1);
  std::string raw;
  if (std::exchange(held_crlf_, false)) raw.append(kCrlf);
  raw.append(line);
  if (crlf) raw.append(kCrlf);
  sink.delimiter(raw);

  open_.back().closed = found.close;
  line_start_ = true;
  if (!found.close) begin_header(open_.back().digest);
}

}  // namespace waypost::delivery
