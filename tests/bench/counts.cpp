// tests/bench/counts.cpp: a library that is preloaded into a program, and counts by thread what it allocates, what it
// copies by memcpy and memmove, and the statements that it asks of SQLite. The file WAYPOST_BENCH_COUNTS, which is there
// and large enough, is mapped before main() and read by tests/bench/stages.py while the program runs; no other file is
// touched, and no system call made but gettid, once a thread. calloc and aligned memory are not counted.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include <dlfcn.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <unistd.h>

namespace {

struct Thread {
  std::atomic<std::uint64_t> tid, allocations, allocated, copies, copied, statements;
  std::uint64_t unused[2];
};
struct Statement {
  std::atomic<std::uint64_t> hash, count;
  char text[240];
};
struct Counts {
  Thread threads[64];
  Statement statements[192];
};

std::atomic<Counts*> counts{nullptr};
__attribute__((tls_model("initial-exec"))) thread_local Thread* own = nullptr;

Thread* own_thread() {
  if (own != nullptr) return own;
  Counts* all = counts.load(std::memory_order_acquire);
  if (all == nullptr) return nullptr;
  const auto tid = static_cast<std::uint64_t>(gettid());
  for (Thread& thread : all->threads) {
    std::uint64_t free = 0;
    if (thread.tid.compare_exchange_strong(free, tid)) return own = &thread;
  }
  return nullptr;
}

void add(std::atomic<std::uint64_t>& count, std::uint64_t more) {
  count.store(count.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
}

void* allocated(void* memory, std::size_t size) {
  if (Thread* thread = own_thread()) {
    add(thread->allocations, 1);
    add(thread->allocated, size);
  }
  return memory;
}

void copied(std::size_t size) {
  if (Thread* thread = own_thread()) {
    add(thread->copies, 1);
    add(thread->copied, size);
  }
}

/// The function of that name that would have been called.
template <typename Function>
Function* next(std::atomic<Function*>& kept, const char* name) {
  Function* found = kept.load(std::memory_order_relaxed);
  if (found == nullptr) {
    found = reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
    kept.store(found, std::memory_order_relaxed);
  }
  return found;
}

int on_statement(unsigned, void*, void* statement, void* text) {
  // Within a trigger the text is a comment.
  if (std::strncmp(static_cast<const char*>(text), "--", 2) == 0) return 0;
  if (Thread* thread = own_thread()) add(thread->statements, 1);
  Counts* all = counts.load(std::memory_order_acquire);
  const char* sql = sqlite3_sql(static_cast<sqlite3_stmt*>(statement));
  if (all == nullptr || sql == nullptr) return 0;
  std::uint64_t hash = 14695981039346656037U;
  for (const char* at = sql; *at != '\0'; ++at) hash = (hash ^ static_cast<std::uint8_t>(*at)) * 1099511628211U;
  for (Statement& each : all->statements) {
    std::uint64_t free = 0;
    if (each.hash.compare_exchange_strong(free, hash)) {
      const std::size_t length = strnlen(sql, sizeof(each.text) - 1);
      for (std::size_t i = 0; i < length; ++i) each.text[i] = sql[i];
    } else if (free != hash) {
      continue;
    }
    each.count.fetch_add(1, std::memory_order_relaxed);
    return 0;
  }
  return 0;
}

__attribute__((constructor)) void map_counts() {
  const char* path = std::getenv("WAYPOST_BENCH_COUNTS");
  const int file = path == nullptr ? -1 : open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void* memory = mmap(nullptr, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory != MAP_FAILED) counts.store(static_cast<Counts*>(memory), std::memory_order_release);
}

}  // namespace

// The names that the linker finds here first. operator new stands beside malloc, since tcmalloc's does not go by it.
extern "C" {

void* malloc(std::size_t size) noexcept {
  static constinit std::atomic<void* (*)(std::size_t)> kept{nullptr};
  return allocated(next(kept, "malloc")(size), size);
}
void* realloc(void* old, std::size_t size) noexcept {
  static constinit std::atomic<void* (*)(void*, std::size_t)> kept{nullptr};
  return allocated(next(kept, "realloc")(old, size), size);
}
void* memcpy(void* to, const void* from, std::size_t size) noexcept {
  static constinit std::atomic<void* (*)(void*, const void*, std::size_t)> kept{nullptr};
  copied(size);
  return next(kept, "memcpy")(to, from, size);
}
void* memmove(void* to, const void* from, std::size_t size) noexcept {
  static constinit std::atomic<void* (*)(void*, const void*, std::size_t)> kept{nullptr};
  copied(size);
  return next(kept, "memmove")(to, from, size);
}
// What they are called where the size of the destination is known.
void* __memcpy_chk(void* to, const void* from, std::size_t size, std::size_t room) noexcept {
  static constinit std::atomic<void* (*)(void*, const void*, std::size_t, std::size_t)> kept{nullptr};
  copied(size);
  return next(kept, "__memcpy_chk")(to, from, size, room);
}
void* __memmove_chk(void* to, const void* from, std::size_t size, std::size_t room) noexcept {
  static constinit std::atomic<void* (*)(void*, const void*, std::size_t, std::size_t)> kept{nullptr};
  copied(size);
  return next(kept, "__memmove_chk")(to, from, size, room);
}
int sqlite3_open_v2(const char* file, sqlite3** db, int flags, const char* vfs) {
  static constinit std::atomic<int (*)(const char*, sqlite3**, int, const char*)> kept{nullptr};
  const int code = next(kept, "sqlite3_open_v2")(file, db, flags, vfs);
  if (code == SQLITE_OK) sqlite3_trace_v2(*db, SQLITE_TRACE_STMT, on_statement, nullptr);
  return code;
}

}  // extern "C"

void* operator new(std::size_t size) {
  static constinit std::atomic<void* (*)(std::size_t)> kept{nullptr};
  return allocated(next(kept, "_Znwm")(size), size);
}
void* operator new[](std::size_t size) {
  static constinit std::atomic<void* (*)(std::size_t)> kept{nullptr};
  return allocated(next(kept, "_Znam")(size), size);
}
