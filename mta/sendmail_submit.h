// mta/sendmail_submit.h: how sendmail hands a message over: to the daemon by its submit socket, or to the drop folder
// while that is away. Blocking; for programs, not for the daemon.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "smtp/envelope.h"
#include "smtp/reply.h"

namespace waypost::mta {

/// Hears each line of a dialogue: `>>> MAIL FROM:<a@b.example>`, `250 2.1.0 Sender OK`.
using Listening = std::function<void(std::string_view)>;

/// A dialogue of SMTP over a Unix socket.
class SubmitDialogue {
 public:
  /// Errors: unreachable (nobody is there, or it cannot be asked).
  static Result<SubmitDialogue> open(const std::string& socket, Listening listening);
  SubmitDialogue(SubmitDialogue&& other) noexcept;
  SubmitDialogue& operator=(SubmitDialogue&&) = delete;
  ~SubmitDialogue();

  /// Errors of all: closed, timed_out, protocol, io.
  Result<smtp::Reply> greeting();
  Result<smtp::Reply> command(const std::string& line);
  /// All of the file, which is in wire form up to its final dot, from its beginning on; the reply to the dot.
  Result<smtp::Reply> content(int file);
  /// The same by BDAT (RFC 3030) in place of DATA: of a file that has the content and nothing else.
  Result<smtp::Reply> counted(int file);

  int fd() const { return fd_; }

 private:
  SubmitDialogue(int fd, Listening listening) : fd_(fd), listening_(std::move(listening)) {}
  Result<> send(std::string_view octets);
  Result<smtp::Reply> reply(long seconds);

  int fd_;
  Listening listening_;
  std::string received_;
};

/// One message: the envelope, and a file with its content in wire form up to the final dot.
struct Submission {
  smtp::Envelope envelope;
  int content = -1;
  bool counted = false;  ///< the file has the content octet for octet, which goes by BDAT
};

/// MAIL and RCPT as they go over the wire, without line ends.
std::string mail_command(const smtp::Envelope& envelope);
std::string rcpt_command(const smtp::EnvelopeRecipient& recipient);

struct Refusal {
  std::string recipient;  ///< "": the message as a whole
  smtp::Reply reply;
};

/// What became of it: the daemon has it for all recipients that stand in neither list.
struct Submitted {
  std::vector<Refusal> refused;               ///< 5xx
  std::vector<smtp::EnvelopeRecipient> left;  ///< the daemon is away, or said 4xx
  std::string why_left;
  std::vector<smtp::EnvelopeRecipient> taken;  ///< those that the daemon has
  bool in_doubt = false;  ///< the end of the content went out, and no reply came: it may have some of `left`, too
};

/// In several transactions, where one may not have so many recipients.
Submitted submit(const std::string& socket, const Submission& submission, const Listening& listening);

/// Hands it to the helper program, which writes a file that the daemon takes when it is back; several for many
/// recipients. `folder`: the drop folder, "" for the one that the helper knows. Errors: busy (the helper said why on
/// standard error, or could not be run); some of several may be there then.
Result<> drop(const std::string& helper, const std::string& folder, const Submission& submission);

}  // namespace waypost::mta
