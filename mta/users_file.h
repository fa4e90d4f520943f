// mta/users_file.h: the users file on disk: read when it changed, replaced whole. Blocks, so never on a loop.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <sys/types.h>

#include "base/result.h"

namespace waypost::mta {

/// Differs once the file was written or replaced.
struct FileStamp {
  std::uint64_t device = 0, inode = 0, octets = 0;
  std::int64_t written = 0, changed = 0;  ///< nanoseconds
  bool operator==(const FileStamp&) const = default;
};
/// Errors: not_found, denied, io.
Result<FileStamp> file_stamp(const std::string& path);

constexpr std::size_t kMostUsersOctets = 64 * 1024 * 1024;

/// The text of the file, and what it was the text of. Errors: not_found, denied, io, too_big.
struct UsersText {
  std::string text;
  FileStamp stamp;
};
Result<UsersText> read_users(const std::string& path);

/// Replaces the file by what `edit` makes of its text ("" where there is none): another file beside it, synced, takes
/// its name. Mode and owner stay; a new file has 0640 and `group` if given. No two of these overlap. An error of `edit`
/// leaves the file as it is. Errors: those, not_found (the folder), denied, full, io.
Result<> change_users(const std::string& path, std::optional<gid_t> group,
                      const std::function<Result<std::string>(std::string_view)>& edit);

}  // namespace waypost::mta
