// tests/support/fake_files.h: queue::Files in memory, with faults on demand. Any thread.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "queue/files.h"

namespace waypost::tests {

/// Folders exist once they were made; `fault` is asked before each call and may answer for it.
class FakeFiles : public queue::Files {
 public:
  /// `call`: "create", "open", "append", "read", "sync", "rename", "remove", "make_folder", "sync_folder", "list".
  std::function<Result<>(const std::string& call, const std::string& path)> fault;
  /// Calls so far, as "sync body/00/ID.tmp".
  std::vector<std::string> calls;
  std::map<std::string, std::shared_ptr<std::string>> files;
  std::set<std::string> folders = {"."};

  Result<std::unique_ptr<queue::File>> create(const std::string& path) override {
    std::lock_guard lock(mutex_);
    Result<> may = begin("create", path);
    if (!may) return fail(may.error());
    if (!folders.contains(above(path))) return fail(Errc::not_found, "no folder for " + path);
    auto [entry, is_new] = files.emplace(path, std::make_shared<std::string>());
    if (!is_new) return fail(Errc::exists, path + " is there already");
    return std::make_unique<Open>(*this, path, entry->second);
  }

  Result<std::unique_ptr<queue::File>> open(const std::string& path) override {
    std::lock_guard lock(mutex_);
    Result<> may = begin("open", path);
    if (!may) return fail(may.error());
    auto found = files.find(path);
    if (found == files.end()) return fail(Errc::not_found, path + " is not there");
    return std::make_unique<Open>(*this, path, found->second);
  }

  Result<> rename(const std::string& from, const std::string& to) override {
    std::lock_guard lock(mutex_);
    Result<> may = begin("rename", from);
    if (!may) return may;
    auto found = files.find(from);
    if (found == files.end()) return fail(Errc::not_found, from + " is not there");
    files[to] = std::exchange(found->second, nullptr);
    files.erase(from);
    return {};
  }

  Result<> remove(const std::string& path) override {
    std::lock_guard lock(mutex_);
    Result<> may = begin("remove", path);
    if (!may) return may;
    if (files.erase(path) == 0) return fail(Errc::not_found, path + " is not there");
    return {};
  }

  Result<> make_folder(const std::string& path) override {
    std::lock_guard lock(mutex_);
    Result<> may = begin("make_folder", path);
    if (may) folders.insert(path);
    return may;
  }

  Result<> sync_folder(const std::string& path) override {
    std::lock_guard lock(mutex_);
    return begin("sync_folder", path);
  }

  Result<std::vector<std::string>> list(const std::string& folder) override {
    std::lock_guard lock(mutex_);
    Result<> may = begin("list", folder);
    if (!may) return fail(may.error());
    if (!folders.contains(folder)) return fail(Errc::not_found, folder + " is not there");
    std::vector<std::string> names;
    for (const auto& [path, octets] : files)
      if (above(path) == folder) names.push_back(path.substr(folder.size() + 1));
    for (const std::string& path : folders)
      if (path != "." && above(path) == folder) names.push_back(path.substr(folder.size() + 1));
    return names;
  }

 private:
  class Open : public queue::File {
   public:
    Open(FakeFiles& files, std::string path, std::shared_ptr<std::string> octets)
        : files_(files), path_(std::move(path)), octets_(std::move(octets)) {}
    Result<> append(std::string_view more) override {
      std::lock_guard lock(files_.mutex_);
      Result<> may = files_.begin("append", path_);
      if (may) *octets_ += more;
      return may;
    }
    Result<std::size_t> read_at(std::uint64_t offset, std::span<char> into) override {
      std::lock_guard lock(files_.mutex_);
      Result<> may = files_.begin("read", path_);
      if (!may) return fail(may.error());
      if (offset >= octets_->size()) return std::size_t{0};
      return octets_->copy(into.data(), into.size(), offset);
    }
    Result<> sync() override {
      std::lock_guard lock(files_.mutex_);
      return files_.begin("sync", path_);
    }

   private:
    FakeFiles& files_;
    std::string path_;
    std::shared_ptr<std::string> octets_;
  };

  static std::string above(const std::string& path) {
    std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "." : path.substr(0, slash);
  }

  Result<> begin(const std::string& call, const std::string& path) {
    calls.push_back(call + " " + path);
    return fault ? fault(call, path) : Result<>();
  }

  std::mutex mutex_;
};

}  // namespace waypost::tests
