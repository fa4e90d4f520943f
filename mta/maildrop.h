// mta/maildrop.h: mail that sendmail(1) left in the drop folder while the daemon was away. Each file is taken through a
// session like a client's, as the user who owns it, and removed after the 250. Of recipients that are refused the
// sender is told by a notification. A crash between the commit and the removal takes a file twice: mail is delivered at
// least once.
#pragma once
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "mta/drop_head.h"
#include "mta/server.h"
#include "net/runtime.h"
#include "net/scope.h"
#include "net/task.h"
#include "smtp/reply.h"

namespace waypost::mta {

/// What has a drop folder of ours. The installed helper program knows only that of the usual data folder: its files are
/// for the daemon with the usual configuration, wherever that has its data.
std::vector<std::string> drop_folders(const conf::Config& config);

/// Belongs to the loop of its context, which outlives it, as the server does. Destroyed only after drained().
class Maildrop {
 public:
  static constexpr net::Duration kEvery = std::chrono::seconds(3);   ///< looks for files
  static constexpr net::Duration kPause = std::chrono::seconds(60);  ///< after a 4xx
  static constexpr std::size_t kMostNames = 1000;                    ///< of one look
  static constexpr net::Duration kStale = std::chrono::hours(1);     ///< a file that was never finished is removed

  /// Files are taken from `folder`/maildrop. What cannot be, and nobody can be told of, is moved to `folder`/corrupt.
  Maildrop(ServerContext& context, Server& server, std::string folder);

  void start();
  void stop() { scope_.stop(); }
  net::Task<> drained() { return scope_.drained(); }
  /// Files in `folder`/corrupt. Any thread.
  std::uint64_t corrupt() const { return corrupt_; }

 private:
  enum class Verdict : std::uint8_t { taken, put_off, refused };
  struct File;
  struct Refused;
  struct Dialogue;

  net::Task<> watch();
  net::Task<bool> look();
  net::Task<std::vector<std::string>> list();
  net::Task<bool> take(std::string name);
  net::Task<Verdict> submit(File& file, std::string& why);
  net::Task<Result<smtp::Reply>> ask(Dialogue& dialogue, std::string line);
  net::Task<Result<smtp::Reply>> send_content(Dialogue& dialogue, File& file);
  net::Task<Result<>> bounce(File& file);
  std::optional<queue::Notification> refusal_report(const conf::Config& config, const File& file,
                                                    const std::string& header, queue::Id id, net::WallTime now) const;
  static void refuse_all(File& file, const smtp::Reply& reply);
  net::Task<bool> set_aside(std::string name, std::string why);

  ServerContext& context_;
  Server& server_;
  const std::string folder_;
  const conf::Listener listener_;
  net::Scope scope_;
  std::atomic<std::uint64_t> corrupt_{0};
  std::string last_;      ///< name that was looked at, where there are too many for one look
  bool failing_ = false;  ///< the folder cannot be read: said once
};

}  // namespace waypost::mta
