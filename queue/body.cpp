// queue/body.cpp
#include "queue/body.h"

#define XXH_STATIC_LINKING_ONLY
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include <xxhash.h>

#include "queue/disk_space.h"

namespace waypost::queue {
namespace {

constexpr std::size_t kPiece = 64 * 1024;

/// XXH3-128, piece by piece.
class Hash {
 public:
  Hash() { XXH3_128bits_reset(&state_); }
  void add(std::string_view octets) { XXH3_128bits_update(&state_, octets.data(), octets.size()); }
  Checksum value() const { return bytes(XXH3_128bits_digest(&state_)); }
  static Checksum of(std::string_view octets) { return bytes(XXH3_128bits(octets.data(), octets.size())); }

 private:
  static Checksum bytes(XXH128_hash_t hash) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    Checksum out;
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = canonical.digest[i];
    return out;
  }
  XXH3_state_t state_;
};

}  // namespace

struct Draft::State {
  State(net::Runtime& r, Files& f, Id i, std::uint64_t limit) : runtime(r), files(f), id(i), inline_limit(limit) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    file.reset();
    if (stands_at.empty()) return;
    // A reception that was broken off. What is left behind here is removed at the next start.
    Result<> removed = files.remove(stands_at);
    (void)removed;
  }

  /// Off the loop.
  Result<> append_buffer() {
    Result<> room = check_room(files, buffer.size());
    if (!room) return room;
    if (!file) {
      Result<> opened = open_file();
      if (!opened) return opened;
    }
    hash->add(buffer);
    return file->append(buffer);
  }

  Result<> open_file() {
    hash = std::make_unique<Hash>();
    std::string path = body_path(id.text());
    std::string folder = path.substr(0, path.rfind('/'));
    Result<std::unique_ptr<File>> made = files.create(path + ".tmp");
    if (!made && made.error().code == Errc::not_found) {
      for (const std::string& each : {std::string("body"), folder}) {
        Result<> there = files.make_folder(each);
        if (!there && there.error().code != Errc::io) return there;
        // It may be there, and not on disk: finish_file() tells, where somebody counts on it.
        if (!there && !unsynced) unsynced = there.error();
      }
      made = files.create(path + ".tmp");
    }
    if (!made) return fail(unsynced ? *unsynced : made.error());
    file = *std::move(made);
    stands_at = path + ".tmp";
    return {};
  }

  /// Off the loop. The order holds: octets, then the name, then the folders that have the names (and only then the
  /// row).
  Result<> finish_file() {
    Result<> appended = append_buffer();
    if (!appended) return appended;
    if (unsynced) return fail(*unsynced);
    Result<> synced = file->sync();
    if (!synced) return synced;
    file.reset();
    std::string path = body_path(id.text());
    std::string folder = path.substr(0, path.rfind('/'));
    Result<> renamed = files.rename(stands_at, path);
    if (!renamed) return renamed;
    stands_at = path;
    Result<> named = files.sync_folder(folder);
    if (!named) return named;
    return files.keep_folder(folder);
  }

  net::Runtime& runtime;
  Files& files;
  Id id;
  std::uint64_t inline_limit;
  std::string buffer;
  std::uint64_t spilled = 0;
  std::unique_ptr<Hash> hash;  // of what goes to the file
  std::unique_ptr<File> file;
  std::string stands_at;  // the file to remove when nobody wants it
  std::optional<Error> unsynced;
  Finished finished;
};

Draft::Draft(net::Runtime& runtime, Files& files, Id id, std::uint64_t inline_limit)
    : state_(std::make_unique<State>(runtime, files, id, inline_limit)) {}
Draft::Draft(Draft&&) noexcept = default;
Draft& Draft::operator=(Draft&&) noexcept = default;
Draft::~Draft() = default;

Id Draft::id() const {
  return state_->id;
}
std::string& Draft::buffer() {
  return state_->buffer;
}
bool Draft::full() const {
  return state_->buffer.size() >= state_->inline_limit;
}
std::uint64_t Draft::size() const {
  return state_->spilled + state_->buffer.size();
}

net::Task<Result<>> Draft::spill() {
  State* state = state_.get();
  Result<> done;
  std::function<void()> work = [state, &done] { done = state->append_buffer(); };
  co_await state->runtime.offload(std::move(work));
  if (!done) co_return done;
  state->spilled += state->buffer.size();
  state->buffer.clear();
  co_return Result<>();
}

net::Task<Result<>> Draft::finish() {
  State* state = state_.get();
  Finished& finished = state->finished;
  finished.size = size();
  if (state->spilled == 0 && state->buffer.size() <= state->inline_limit) {
    finished.checksum = Hash::of(state->buffer);
    finished.octets = std::move(state->buffer);
    co_return Result<>();
  }
  Result<> done;
  std::function<void()> work = [state, &done] { done = state->finish_file(); };
  co_await state->runtime.offload(std::move(work));
  if (!done) co_return done;
  finished.in_file = true;
  finished.checksum = state->hash->value();
  co_return Result<>();
}

Draft::Finished Draft::take() {
  state_->stands_at.clear();
  return std::move(state_->finished);
}

Checksum checksum_of(std::string_view body) {
  return Hash::of(body);
}

BodyNotes notes_of(std::string_view body) {
  BodyNotes notes;
  for (char c : body) notes.eight_bit = notes.eight_bit || static_cast<unsigned char>(c) > 127;
  notes.dot_lines = body.starts_with('.') || body.find("\n.") != std::string_view::npos;
  return notes;
}

namespace {

/// A body on its way out.
struct Reading {
  Reading(Files& f, const Content& c) : files(f), content(&c) {}

  tl::unexpected<Error> damaged(std::string_view why) const {
    return fail(Errc::damaged, "body of " + content->id.text() + ": " + std::string(why));
  }

  Result<std::string_view> next_inline() {
    if (offset > 0) return std::string_view();
    if (content->octets.size() != content->body_size) return damaged("its length does not hold");
    if (Hash::of(content->octets) != content->checksum) return damaged("its checksum does not hold");
    offset = content->octets.size();
    return std::string_view(content->octets);
  }

  /// Of a file; off the loop.
  Result<std::size_t> read_piece() {
    if (!file) {
      Result<std::unique_ptr<File>> opened = files.open(body_path(content->id.text()));
      if (!opened) return fail(opened.error());
      file = *std::move(opened);
      piece.resize(kPiece);
    }
    Result<std::size_t> got = file->read_at(offset, std::span<char>(piece));
    if (!got) return got;
    hash.add(std::string_view(piece).substr(0, *got));
    return got;
  }

  Result<std::string_view> piece_of(std::size_t got) {
    offset += got;
    if (offset > content->body_size) return damaged("its file is longer than it was");
    if (got > 0) return std::string_view(piece).substr(0, got);
    if (offset < content->body_size) return damaged("its file is shorter than it was");
    if (hash.value() != content->checksum) return damaged("its checksum does not hold");
    return std::string_view();
  }

  Files& files;
  const Content* content;
  std::uint64_t offset = 0;
  std::unique_ptr<File> file;
  std::string piece;
  Hash hash;
};

}  // namespace

Result<> verify_body(Files& files, const Content& content) {
  Reading reading(files, content);
  while (true) {
    Result<std::string_view> piece;
    if (content.in_file) {
      Result<std::size_t> got = reading.read_piece();
      if (!got) return fail(got.error());
      piece = reading.piece_of(*got);
    } else {
      piece = reading.next_inline();
    }
    if (!piece) return fail(piece.error());
    if (piece->empty()) return {};
  }
}

struct BodyReader::State : Reading {
  State(net::Runtime& r, Files& f, std::shared_ptr<const Content> c) : Reading(f, *c), runtime(r), held(std::move(c)) {}
  net::Runtime& runtime;
  std::shared_ptr<const Content> held;
};

BodyReader::BodyReader(net::Runtime& runtime, Files& files, std::shared_ptr<const Content> content)
    : state_(std::make_unique<State>(runtime, files, std::move(content))) {}
BodyReader::BodyReader(BodyReader&&) noexcept = default;
BodyReader::~BodyReader() = default;

net::Task<Result<std::string_view>> BodyReader::next() {
  State* state = state_.get();
  if (!state->content->in_file) co_return state->next_inline();
  Result<std::size_t> got = 0;
  std::function<void()> work = [state, &got] { got = state->read_piece(); };
  co_await state->runtime.offload(std::move(work));
  if (!got) co_return fail(got.error());
  co_return state->piece_of(*got);
}

}  // namespace waypost::queue
