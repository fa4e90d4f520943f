#include "delivery/local.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "delivery/disposition.h"
#include "delivery/maildir.h"
#include "delivery/stored_conversion.h"
#include "smtp/header_scan.h"
#include "smtp/trace.h"

namespace waypost::delivery {

namespace {

const std::string kHost = "maildir";
/// Gathered before a thread that may block is asked: a message that is kept inline is written in one go.
constexpr std::size_t kGatherOctets = 256 * 1024;

/// True if the header section tells of a delivery to this mailbox. What does not parse is nobody's.
bool was_delivered_to(const smtp::HeaderNotes& notes, const smtp::Mailbox& mailbox) {
  return std::any_of(notes.delivered_to.begin(), notes.delivered_to.end(), [&](const std::string& value) {
    Result<smtp::Mailbox> earlier = smtp::parse_mailbox(value, true);
    return earlier && *earlier == mailbox;
  });
}

/// The file, wherever it is touched off the loop. Created when first written to.
struct Writer {
  const queue::OpenFolder& open_folder;
  std::string maildir;
  std::string unique;
  std::optional<MaildirFile> file;
  Result<> done;

  Result<> write(std::string_view octets) {
    if (!file) {
      Result<MaildirFile> created = MaildirFile::create(open_folder, maildir, unique);
      if (!created) return fail(created.error());
      file = std::move(*created);
    }
    return file->write(octets);
  }

  Result<> finish(std::string_view octets) {
    Result<> written = write(octets);
    if (!written) return written;
    Result<std::string> path = file->commit();
    if (!path) return fail(path.error());
    return {};
  }
};

net::Task<Result<>> off_loop(net::Runtime& runtime, Writer& writer, const std::string& octets, bool last) {
  std::function<void()> work = [&writer, &octets, last] {
    writer.done = last ? writer.finish(octets) : writer.write(octets);
  };
  co_await runtime.offload(work);
  co_return writer.done;
}

/// Removes what is half written.
net::Task<> discard(net::Runtime& runtime, Writer& writer) {
  if (!writer.file) co_return;
  std::function<void()> work = [&writer] { writer.file.reset(); };
  co_await runtime.offload(work);
}

Outcome failed_here(const Error& error) {
  Outcome outcome = of_local_error(error);
  outcome.host = kHost;
  return outcome;
}

/// The message from its first octet to the last; committed, unless the outcome says otherwise.
net::Task<Outcome> write_message(net::Runtime& runtime, Writer& writer, std::string head, const smtp::Mailbox& mailbox,
                                 Converter& converter, bool converts, queue::BodyReader& body) {
  std::string gathered = std::move(head);
  std::string converted;
  smtp::HeaderScan scan;
  ReturnPathFilter filter;
  bool ended = false;
  while (!ended) {
    Result<std::string_view> piece = co_await body.next();
    if (!piece) co_return failed_here(piece.error());
    ended = piece->empty();
    std::string_view octets = *piece;
    if (converts) {
      converted.clear();
      if (ended) converter.finish(converted);
      if (!ended) converter.feed(*piece, converted);
      octets = converted;
    }
    scan.feed(octets);
    filter.feed(octets, gathered);
    if (gathered.size() < kGatherOctets) continue;
    Result<> written = co_await off_loop(runtime, writer, gathered, false);
    if (!written) co_return failed_here(written.error());
    gathered.clear();
  }
  filter.finish(gathered);
  scan.finish();
  if (was_delivered_to(scan.notes(), mailbox)) co_return delivery_loop(mailbox.text(), kHost);

  Result<> written = co_await off_loop(runtime, writer, gathered, true);
  if (!written) co_return failed_here(written.error());
  co_return delivered(kHost);
}

}  // namespace

net::Task<Outcome> deliver_to_maildir(net::Runtime& runtime, const queue::OpenFolder& open_folder,
                                      const std::string& path_template, const queue::MessageInfo& message,
                                      const queue::DueRecipient& recipient, const queue::Content& content,
                                      queue::OpenBody open_body, const std::string& hostname) {
  const smtp::Mailbox& mailbox = recipient.forward_path.mailbox;
  Conversion conversion;
  if (message.body == smtp::BodyType::binary_mime) {
    Result<Conversion> learnt = co_await learn_conversion(content, open_body);
    if (!learnt) co_return failed_here(learnt.error());
    conversion = *std::move(learnt);
  }
  Writer writer{open_folder, maildir_path(path_template, mailbox), maildir_unique_name(runtime.wall_now(), hostname)};

  std::string head = smtp::return_path_field(message.reverse_path);
  head += smtp::delivered_to_field(mailbox);
  Converter converter(conversion);
  const bool converts = conversion.verdict == Conversion::Verdict::convertible;
  converter.feed(content.trace, head);
  queue::BodyReader body = open_body();
  Outcome outcome = co_await write_message(runtime, writer, std::move(head), mailbox, converter, converts, body);
  co_await discard(runtime, writer);
  co_return outcome;
}

}  // namespace waypost::delivery
