// queue/new_folder.h: a folder that appears whole, or not at all: for backups and salvaged queues. Calls block.
#pragma once
#include <memory>
#include <string>

#include "base/result.h"
#include "queue/files.h"

namespace waypost::queue {

/// Made as `PATH.partial`, and renamed when it is done. Destroyed before that it removes what it made.
class NewFolder {
 public:
  /// `path` is absolute, and the folder above it exists. Errors: exists (also what an earlier one left when it was cut
  /// off: the text says so), invalid, denied, not_found, io.
  static Result<NewFolder> make(const std::string& path);
  NewFolder(NewFolder&& other) noexcept;
  NewFolder& operator=(NewFolder&&) = delete;
  ~NewFolder();

  const std::string& path() const { return partial_; }  ///< while it is being filled
  const std::string& final_path() const { return path_; }
  Files& files() { return *files_; }

  /// Syncs all that is in it, gives it to the owner of `like` if we are root, and renames it. Errors: exists, io, full.
  Result<> done(const std::string& like);

 private:
  NewFolder(std::string path, std::unique_ptr<Files> files);
  std::string path_, partial_;
  std::unique_ptr<Files> files_;
};

/// Gives `path`, and what is in it, to the owner of `like` if we are root. Errors: denied, not_found.
Result<> give_to_owner_of(const std::string& like, const std::string& path);

/// Syncs a file or a folder that stands at `path`. Errors: not_found, denied, io.
Result<> sync_path(const std::string& path);

/// Renames, and replaces nothing; where the file system cannot promise that (NFS), what is there is looked for before.
/// Returns 0 or an errno: EEXIST.
int rename_new(const std::string& from, const std::string& to);

/// The folder that has `path`: "/srv/b" for "/srv/b/x".
std::string folder_of(const std::string& path);

/// Puts the spool file of a message into another folder: by a link where both are on one file system (nothing ever
/// writes into such a file), else as a copy, which is synced with the folder. Errors: not_found, full, io.
enum class Taken { linked, copied };
Result<Taken> take_spool_file(const std::string& from_folder, Files& from, NewFolder& to, const std::string& path);

}  // namespace waypost::queue
