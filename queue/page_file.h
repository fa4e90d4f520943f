// queue/page_file.h: the pages of queue.db as they lie in the file and its WAL, read without SQLite: for what SQLite
// refuses to open. https://www.sqlite.org/fileformat2.html
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/result.h"
#include "queue/files.h"

namespace waypost::queue {

/// A value of a row. The text and the blob are views into the record.
using StoredValue = std::variant<std::monostate, std::int64_t, double, std::string_view>;

struct StoredRecord {
  std::uint32_t page = 0;
  bool in_index = false;  ///< of an index, or of a table WITHOUT ROWID
  std::int64_t rowid = 0;
  std::vector<StoredValue> values;
  bool is_number(std::size_t column) const { return std::holds_alternative<std::int64_t>(values[column]); }
  std::int64_t number(std::size_t column) const;    ///< 0 if it is none
  std::string_view text(std::size_t column) const;  ///< "" if it is none
};

/// Pages of 4,096 octets, as every queue.db has them.
class PageFile {
 public:
  static constexpr std::size_t kPage = 4096;

  /// `name` below `files`, and `name`-wal if it is there. Errors: not_found, denied, io.
  static Result<PageFile> open(Files& files, const std::string& name);

  /// As many as the file has, or as the last commit in the WAL says. Only those that are in the file or the WAL are
  /// looked at.
  std::uint32_t pages() const { return pages_; }
  /// Pages that are not there, or cannot be read.
  std::uint64_t unreadable() const { return unreadable_; }

  /// Where a page belongs, as the map of pages and the trees tell.
  enum class Use : std::uint8_t {
    tree,      ///< rows of a table or an index, that are in use
    other,     ///< free, overflow, or the map itself
    in_doubt,  ///< neither the map nor a tree tells: what looks like rows may have been removed
  };
  /// Every record of every page that is part of a tree or in doubt, page by page. What does not parse is left out, and
  /// counted in broken().
  void each_record(const std::function<void(const StoredRecord&, Use)>& visit);
  std::uint64_t broken() const { return broken_; }

 private:
  PageFile() = default;
  Result<> read_wal(Files& files, const std::string& name);
  std::size_t there() const { return in_file_ + behind_file_.size(); }
  std::uint32_t page_at(std::size_t index) const;
  std::optional<std::size_t> index_of(std::uint32_t page) const;
  bool read(std::uint32_t page, std::string& into);
  std::uint8_t map_entry(std::uint32_t page);
  Use use_of(std::uint32_t page);
  void walk_trees();
  void walk_page(std::uint32_t page, const std::function<void(const StoredRecord&, Use)>& visit);
  bool read_payload(std::string_view octets, std::size_t at, std::uint64_t size, bool in_index, std::string& into);

  std::unique_ptr<File> file_, wal_;
  std::uint32_t pages_ = 0;
  std::uint32_t in_file_ = 0;                                // the first of them
  std::unordered_map<std::uint32_t, std::uint64_t> in_wal_;  // page -> offset of its newest octets in the WAL
  std::vector<std::uint32_t> behind_file_;                   // those that only the WAL has, in order
  std::vector<bool> reached_;                                // from the roots of the trees, by index_of()
  std::uint32_t map_page_ = 0;
  std::string map_;
  std::uint64_t unreadable_ = 0, broken_ = 0;
};

}  // namespace waypost::queue
