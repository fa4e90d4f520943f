#include "mta/state_file.h"

#include <memory>
#include <span>

namespace waypost::mta {

Result<> replace_state(queue::Files& files, const std::string& name, std::string_view text) {
  const std::string beside = name + ".new";
  const Result<> removed = files.remove(beside);  // of a process that was killed
  (void)removed;                                  // mostly there is none; else create() says what is wrong
  {
    Result<std::unique_ptr<queue::File>> file = files.create(beside);
    if (!file) return fail(file.error());
    Result<> written = (*file)->append(text);
    if (written) written = (*file)->sync();
    if (!written) return written;
  }
  const Result<> renamed = files.rename(beside, name);
  return renamed ? files.sync_folder(".") : renamed;
}

Result<std::string> read_state(queue::Files& files, const std::string& name) {
  Result<std::unique_ptr<queue::File>> file = files.open(name);
  if (!file) return fail(file.error());
  std::string text;
  char piece[65536];
  while (true) {
    const Result<std::size_t> got = (*file)->read_at(text.size(), std::span(piece));
    if (!got) return fail(got.error());
    if (*got == 0) return text;
    text.append(piece, *got);
  }
}

}  // namespace waypost::mta
