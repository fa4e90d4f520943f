// queue/replacement.cpp
#include "queue/replacement.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include <sys/stat.h>
#include <unistd.h>

#include "base/escape.h"

namespace waypost::queue {
namespace {

constexpr std::string_view kIncoming = "incoming.";

bool is_there(const std::string& path) {
  struct stat facts {};
  return ::lstat(path.c_str(), &facts) == 0;
}

/// That there is nothing to be moved is no error.
Result<> move(const std::string& from, const std::string& to) {
  int why = rename_new(from, to);
  if (why == 0 || why == ENOENT) return {};
  Errc errc = why == EACCES || why == EPERM || why == EROFS ? Errc::denied : Errc::io;
  return fail(errc, "renaming " + escape(from) + ": " + std::strerror(why));
}

/// Each step may be the last before a power cut, hence each tells by what is there whether it was made. The new
/// queue.db comes last: whatever stands at its place before is the old one.
Result<> finish(const std::string& data_dir, const std::string& suffix) {
  std::string incoming = data_dir + "/" + std::string(kIncoming) + suffix;
  std::string queue = data_dir + "/queue.db", body = data_dir + "/body";
  if (is_there(incoming + "/queue.db")) {
    Result<> moved = move(queue, queue + "." + suffix);
    if (moved) moved = move(queue + "-wal", queue + "." + suffix + "-wal");
    if (moved && is_there(incoming + "/body")) {
      moved = move(body, body + "." + suffix);
      if (moved) moved = move(incoming + "/body", body);
    }
    if (moved) moved = sync_path(data_dir);
    if (moved) moved = move(incoming + "/queue.db", queue);
    if (moved) moved = sync_path(data_dir);
    if (!moved) return moved;
  }
  ::rmdir(incoming.c_str());
  return sync_path(data_dir);
}

}  // namespace

Result<NewFolder> make_replacement(const std::string& data_dir, const std::string& wanted) {
  std::string suffix = wanted;
  auto taken = [&data_dir, &suffix](const char* name) { return is_there(data_dir + "/" + name + suffix); };
  for (int number = 2; taken("queue.db.") || taken("body.") || taken("incoming."); ++number)
    suffix = wanted + "-" + std::to_string(number);
  Result<NewFolder> folder = NewFolder::make(data_dir + "/" + std::string(kIncoming) + suffix);
  // Also without spool files, so that the old ones are put aside.
  if (folder) {
    Result<> made = folder->files().make_folder("body");
    if (!made) return fail(made.error());
  }
  return folder;
}

Result<std::string> replace_queue(const std::string& data_dir, NewFolder replacement) {
  std::string path = replacement.final_path();
  std::string suffix = path.substr(path.rfind('/') + 1 + kIncoming.size());
  Result<> done = replacement.done(data_dir);
  if (done) done = finish(data_dir, suffix);
  if (!done) return fail(done.error());
  std::string kept = data_dir + "/queue.db." + suffix;
  return is_there(kept) ? kept : std::string();
}

Result<> finish_replacements(const std::string& data_dir) {
  Result<std::unique_ptr<Files>> files = open_files(data_dir);
  if (!files) return fail(files.error());
  Result<std::vector<std::string>> names = (*files)->list(".");
  if (!names) return fail(names.error());
  std::error_code failed;
  for (const std::string& name : *names) {
    bool is_copy = name.starts_with("queue.db.check");
    if (!name.starts_with(kIncoming) && !is_copy) continue;
    if (is_copy || name.ends_with(".partial")) {
      std::filesystem::remove_all(data_dir + "/" + name, failed);  // that it fails harms nothing
      continue;
    }
    Result<> finished = finish(data_dir, name.substr(kIncoming.size()));
    if (!finished) return finished;
  }
  return {};
}

}  // namespace waypost::queue
