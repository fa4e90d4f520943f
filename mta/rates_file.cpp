#include "mta/rates_file.h"

#include <memory>
#include <span>

namespace waypost::mta {
namespace {

constexpr const char* kFile = "rates";
constexpr const char* kBeside = "rates.new";

}  // namespace

Result<> save_rates(queue::Files& files, std::string_view text) {
  const Result<> removed = files.remove(kBeside);  // of a process that was killed
  (void)removed;                                   // mostly there is none; else create() says what is wrong
  {
    Result<std::unique_ptr<queue::File>> file = files.create(kBeside);
    if (!file) return fail(file.error());
    Result<> written = (*file)->append(text);
    if (written) written = (*file)->sync();
    if (!written) return written;
  }
  const Result<> renamed = files.rename(kBeside, kFile);
  return renamed ? files.sync_folder(".") : renamed;
}

Result<std::string> load_rates(queue::Files& files) {
  Result<std::unique_ptr<queue::File>> file = files.open(kFile);
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
