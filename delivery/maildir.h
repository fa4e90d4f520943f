// delivery/maildir.h: final delivery into a Maildir: tmp, fsync, new, unique names. Blocks: run it off the loop.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/clock.h"
#include "queue/files.h"
#include "smtp/address.h"

namespace waypost::delivery {

/// `/var/mail/{domain}/{local}` for one mailbox: each part lower-cased (the domain; the local part stays) and
/// percent-encoded outside A-Za-z0-9_+=@-. and at a leading dot, so that no address names another path. An empty part
/// (the local part of `""@b.example`) is `%`.
std::string maildir_path(const std::string& path_template, const smtp::Mailbox& mailbox);

/// A name that no other message gets on this host: `1716400000.M000123P789_12.relay.example` of time, process, a count
/// and the hostname, in which `/` and `:` are `\057` and `\072`.
std::string maildir_unique_name(net::WallTime now, const std::string& hostname);

/// One file on its way into a Maildir. Destroyed without commit() it leaves nothing behind.
class MaildirFile {
 public:
  /// Makes the folders that are missing (0700) and a file in tmp/. `unique` is the name that it will have in new/:
  /// nothing else may ever have it. Errors of all: full, io, denied, busy, exists.
  static Result<MaildirFile> create(const queue::OpenFolder& open_folder, const std::string& maildir,
                                    const std::string& unique);
  MaildirFile(MaildirFile&&) noexcept;
  MaildirFile& operator=(MaildirFile&&) noexcept;
  ~MaildirFile();

  /// Octets in wire form; line ends become LF, as mail readers expect in a Maildir. A CRLF may be split between calls.
  Result<> write(std::string_view octets);
  /// Syncs the file, renames it into new/, syncs that folder. Returns its path.
  Result<std::string> commit();

 private:
  struct State;
  explicit MaildirFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Drops the Return-Path fields from the header section of a body that passes in pieces (RFC 5321 §4.4). The section
/// ends at the first line that is neither a field nor a continuation of one. Pure, bounded.
class ReturnPathFilter {
 public:
  /// Appends to `out` what of `octets` goes on.
  void feed(std::string_view octets, std::string& out);
  void finish(std::string& out);  ///< what is still held back

 private:
  enum class State : std::uint8_t { line_start, name, after_name, kept, dropped, body };
  std::size_t take(std::string_view octets, std::string& out);
  void on_name(char c, std::string& out);

  State state_ = State::line_start;
  bool dropping_ = false;  ///< the field that this line may continue is dropped
  std::string held_;       ///< the beginning of a line, as long as it may be a Return-Path field
  bool holding_ = false;
  bool in_field_ = false;  ///< a line that begins with a space continues one
};

}  // namespace waypost::delivery
