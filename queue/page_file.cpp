// queue/page_file.cpp
#include "queue/page_file.h"

#include <algorithm>
#include <bit>
#include <span>
#include <utility>

namespace waypost::queue {
namespace {

constexpr std::size_t kPage = PageFile::kPage;
constexpr std::uint32_t kLockPage = 0x40000000 / kPage + 1;
// A page of the map tells of the 819 pages behind it, five octets each.
constexpr std::uint32_t kMapped = kPage / 5;
// The tables of a new file stand one behind the other from here on, however it grows (auto_vacuum keeps roots there).
constexpr std::uint32_t kRoots = 16;
constexpr std::uint32_t kMostPages = std::uint32_t{1} << 31;

constexpr std::uint8_t kIndexInterior = 2, kTableInterior = 5, kIndexLeaf = 10, kTableLeaf = 13;
constexpr std::uint8_t kMapRoot = 1, kMapFree = 2, kMapOverflowFirst = 3, kMapOverflow = 4, kMapTree = 5;

std::uint64_t big_endian(std::string_view octets, std::size_t at, std::size_t count) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < count; ++i) value = value << 8 | static_cast<std::uint8_t>(octets[at + i]);
  return value;
}
std::uint32_t word(std::string_view octets, std::size_t at) {
  return static_cast<std::uint32_t>(big_endian(octets, at, 4));
}

/// False at the end of the octets.
bool take_varint(std::string_view octets, std::size_t& at, std::uint64_t& value) {
  value = 0;
  for (int i = 0; i < 9; ++i) {
    if (at >= octets.size()) return false;
    auto octet = static_cast<std::uint8_t>(octets[at++]);
    if (i == 8) {
      value = value << 8 | octet;
      return true;
    }
    value = value << 7 | (octet & 0x7f);
    if ((octet & 0x80) == 0) return true;
  }
  return true;
}

std::size_t header_at(std::uint32_t page) {
  return page == 1 ? 100 : 0;
}

bool is_interior(std::uint8_t type) {
  return type == kIndexInterior || type == kTableInterior;
}

/// The cells of a page: where each begins. False if the page is none of a tree, or is damaged. Cells outside the area
/// of content are none: those are left of rows that were removed.
bool cells_of(std::string_view octets, std::uint32_t page, std::vector<std::size_t>& cells) {
  std::size_t header = header_at(page);
  auto type = static_cast<std::uint8_t>(octets[header]);
  if (!is_interior(type) && type != kIndexLeaf && type != kTableLeaf) return false;
  std::size_t count = big_endian(octets, header + 3, 2);
  std::size_t content = big_endian(octets, header + 5, 2);
  if (content == 0) content = 65536;
  std::size_t first = header + (is_interior(type) ? 12 : 8);
  if (first + 2 * count > content || (content > kPage && count > 0)) return false;
  cells.clear();
  for (std::size_t i = 0; i < count; ++i) cells.push_back(big_endian(octets, first + 2 * i, 2));
  return true;
}

/// The octets of a value of this serial type.
std::uint64_t size_of(std::uint64_t type) {
  constexpr std::array<std::uint64_t, 12> kSizes = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0};
  return type < 12 ? kSizes[type] : (type - 12) / 2;
}

bool parse_record(std::string_view payload, std::vector<StoredValue>& values) {
  values.clear();
  std::size_t at = 0;
  std::uint64_t header = 0;
  if (!take_varint(payload, at, header) || header > payload.size()) return false;
  std::size_t body = header;
  while (at < header) {
    std::uint64_t type = 0;
    if (!take_varint(payload.substr(0, header), at, type)) return false;
    std::uint64_t size = size_of(type);
    if (type == 10 || type == 11 || size > payload.size() - body) return false;
    if (type == 0) {
      values.emplace_back();
    } else if (type == 7) {
      values.emplace_back(std::bit_cast<double>(big_endian(payload, body, 8)));
    } else if (type >= 12) {
      values.emplace_back(payload.substr(body, size));
    } else if (type == 8 || type == 9) {
      values.emplace_back(static_cast<std::int64_t>(type - 8));
    } else {
      std::uint64_t raw = big_endian(payload, body, size);
      auto shift = static_cast<int>(64 - 8 * size);
      values.emplace_back(static_cast<std::int64_t>(raw << shift) >> shift);
    }
    body += size;
  }
  return at == header && body == payload.size();
}

/// The running checksum of a WAL.
struct WalSum {
  std::uint32_t a = 0, b = 0;
  void add(std::string_view octets, bool big) {
    for (std::size_t i = 0; i + 8 <= octets.size(); i += 8) {
      a += value(octets, i, big) + b;
      b += value(octets, i + 4, big) + a;
    }
  }
  static std::uint32_t value(std::string_view octets, std::size_t at, bool big) {
    std::uint32_t out = word(octets, at);
    return big ? out : __builtin_bswap32(out);
  }
};

Result<bool> read_all(File& file, std::uint64_t offset, std::string& into, std::size_t size) {
  into.resize(size);
  for (std::size_t filled = 0; filled < size;) {
    Result<std::size_t> got = file.read_at(offset + filled, std::span(into).subspan(filled));
    if (!got) return fail(got.error());
    if (*got == 0) return false;
    filled += *got;
  }
  return true;
}

std::uint64_t size_of_file(File& file) {
  // By halves, since File tells no size.
  std::uint64_t low = 0, high = 1;
  char octet = 0;
  auto there = [&](std::uint64_t at) {
    Result<std::size_t> got = file.read_at(at, std::span(&octet, 1));
    return !got || *got > 0;
  };
  while (high < (std::uint64_t{1} << 46) && there(high - 1)) high *= 2;
  while (low < high) {
    std::uint64_t middle = low + (high - low) / 2;
    if (there(middle))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

}  // namespace

std::int64_t StoredRecord::number(std::size_t column) const {
  const auto* value = std::get_if<std::int64_t>(&values[column]);
  return value ? *value : 0;
}
std::string_view StoredRecord::text(std::size_t column) const {
  const auto* value = std::get_if<std::string_view>(&values[column]);
  return value ? *value : std::string_view();
}

Result<PageFile> PageFile::open(Files& files, const std::string& name) {
  PageFile out;
  Result<std::unique_ptr<File>> file = files.open(name);
  if (!file) return fail(file.error());
  out.file_ = *std::move(file);
  const std::uint64_t whole = (size_of_file(*out.file_) + kPage - 1) / kPage;
  out.in_file_ = out.pages_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(whole, kMostPages));
  Result<> wal = out.read_wal(files, name + "-wal");
  if (!wal) return fail(wal.error());
  // A WAL may say of itself what it will: what is walked is what is there.
  out.in_file_ = std::min(out.in_file_, out.pages_);
  for (const auto& [page, at] : out.in_wal_)
    if (page > out.in_file_ && page <= out.pages_) out.behind_file_.push_back(page);
  std::sort(out.behind_file_.begin(), out.behind_file_.end());
  out.reached_.assign(out.there(), false);
  out.walk_trees();
  return out;
}

/// The frames up to the last commit whose checksum holds: what SQLite would see.
Result<> PageFile::read_wal(Files& files, const std::string& name) {
  Result<std::unique_ptr<File>> file = files.open(name);
  if (!file && file.error().code == Errc::not_found) return {};
  if (!file) return fail(file.error());
  wal_ = *std::move(file);
  std::string header, frame;
  Result<bool> read = read_all(*wal_, 0, header, 32);
  if (!read || !*read) return {};
  std::uint32_t magic = word(header, 0);
  if ((magic | 1U) != 0x377f0683 || word(header, 8) != kPage) return {};
  bool big = (magic & 1U) != 0;
  WalSum sum;
  sum.add(std::string_view(header).substr(0, 24), big);
  if (sum.a != word(header, 24) || sum.b != word(header, 28)) return {};

  std::unordered_map<std::uint32_t, std::uint64_t> since_commit;
  for (std::uint64_t offset = 32;; offset += 24 + kPage) {
    read = read_all(*wal_, offset, frame, 24 + kPage);
    if (!read || !*read) return {};
    std::string_view view = frame;
    if (view.substr(8, 8) != std::string_view(header).substr(16, 8)) return {};
    sum.add(view.substr(0, 8), big);
    sum.add(view.substr(24), big);
    if (sum.a != word(view, 16) || sum.b != word(view, 20)) return {};
    since_commit[word(view, 0)] = offset + 24;
    if (word(view, 4) == 0) continue;
    for (const auto& [page, at] : since_commit) in_wal_[page] = at;
    since_commit.clear();
    pages_ = std::min(word(view, 4), kMostPages);
  }
}

/// Of those that are there, from 0 on, in the order of their numbers.
std::uint32_t PageFile::page_at(std::size_t index) const {
  return index < in_file_ ? static_cast<std::uint32_t>(index + 1) : behind_file_[index - in_file_];
}

std::optional<std::size_t> PageFile::index_of(std::uint32_t page) const {
  if (page == 0) return std::nullopt;
  if (page <= in_file_) return page - 1;
  const auto found = std::lower_bound(behind_file_.begin(), behind_file_.end(), page);
  if (found == behind_file_.end() || *found != page) return std::nullopt;
  return in_file_ + static_cast<std::size_t>(found - behind_file_.begin());
}

bool PageFile::read(std::uint32_t page, std::string& into) {
  if (page == 0 || page > pages_) return false;
  auto newest = in_wal_.find(page);
  Result<bool> got = newest == in_wal_.end() ? read_all(*file_, std::uint64_t{page - 1} * kPage, into, kPage)
                                             : read_all(*wal_, newest->second, into, kPage);
  return got && *got;
}

/// 0 where the map does not tell.
std::uint8_t PageFile::map_entry(std::uint32_t page) {
  if (page < 3) return page == 1 ? kMapRoot : kMapFree;
  std::uint32_t map = (page - 2) / (kMapped + 1) * (kMapped + 1) + 2;
  if (map == kLockPage) map += 1;
  if (page == map || page == kLockPage) return kMapFree;
  if (map != map_page_) {
    map_page_ = map;
    if (!read(map, map_)) map_.assign(kPage, '\0');
  }
  std::size_t at = std::size_t{5} * (page - map - 1);
  if (at + 5 > kPage) return 0;
  auto type = static_cast<std::uint8_t>(map_[at]);
  std::uint32_t parent = word(map_, at + 1);
  bool has_parent = type == kMapTree || type == kMapOverflowFirst || type == kMapOverflow;
  bool valid = has_parent ? parent > 0 && parent <= pages_ : (type == kMapRoot || type == kMapFree) && parent == 0;
  return valid ? type : 0;
}

/// The map names what is in use where a tree is cut, and the trees where the map is damaged.
PageFile::Use PageFile::use_of(std::uint32_t page) {
  if (reached_[*index_of(page)]) return Use::tree;
  std::uint8_t entry = map_entry(page);
  if (entry == kMapRoot || entry == kMapTree) return Use::tree;
  return entry == 0 ? Use::in_doubt : Use::other;
}

void PageFile::walk_trees() {
  std::vector<std::uint32_t> todo;
  for (std::uint32_t page = 1; page <= std::min(kRoots, pages_); ++page)
    if (page == 1 || map_entry(page) == kMapRoot) todo.push_back(page);
  for (std::size_t i = 0; i < there(); ++i)
    if (map_entry(page_at(i)) == kMapTree) todo.push_back(page_at(i));
  std::string octets;
  std::vector<std::size_t> cells;
  while (!todo.empty()) {
    std::uint32_t page = todo.back();
    todo.pop_back();
    const std::optional<std::size_t> index = index_of(page);
    if (!index || reached_[*index]) continue;
    reached_[*index] = true;
    if (!read(page, octets) || !cells_of(octets, page, cells)) continue;
    std::size_t header = header_at(page);
    if (!is_interior(static_cast<std::uint8_t>(octets[header]))) continue;
    todo.push_back(word(octets, header + 8));
    for (std::size_t cell : cells)
      if (cell + 4 <= kPage) todo.push_back(word(octets, cell));
  }
}

void PageFile::each_record(const std::function<void(const StoredRecord&, Use)>& visit) {
  broken_ = 0;
  unreadable_ = pages_ - there();
  // Which is never written.
  if (pages_ >= kLockPage && !index_of(kLockPage)) unreadable_ -= 1;
  for (std::size_t i = 0; i < there(); ++i) walk_page(page_at(i), visit);
}

void PageFile::walk_page(std::uint32_t page, const std::function<void(const StoredRecord&, Use)>& visit) {
  Use use = use_of(page);
  if (use == Use::other) return;
  std::string octets;
  if (!read(page, octets)) {
    unreadable_ += 1;
    return;
  }
  std::vector<std::size_t> cells;
  if (!cells_of(octets, page, cells)) {
    // In doubt, and no tree: an overflow page, most likely.
    if (use == Use::tree) broken_ += 1;
    return;
  }
  std::size_t header = header_at(page);
  auto type = static_cast<std::uint8_t>(octets[header]);
  if (type == kTableInterior) return;  // keys alone
  std::size_t content = big_endian(octets, header + 5, 2);
  std::string payload;
  StoredRecord record;
  record.page = page;
  record.in_index = type != kTableLeaf;
  for (std::size_t cell : cells) {
    std::size_t at = cell + (type == kIndexInterior ? 4 : 0);
    std::uint64_t size = 0, rowid = 0;
    bool whole = cell >= content && take_varint(octets, at, size);
    if (whole && !record.in_index) whole = take_varint(octets, at, rowid);
    record.rowid = static_cast<std::int64_t>(rowid);
    whole = whole && read_payload(octets, at, size, record.in_index, payload) && parse_record(payload, record.values);
    if (whole)
      visit(record, use);
    else
      broken_ += 1;
  }
}

/// What of a row does not fit into its page stands in a chain of overflow pages.
bool PageFile::read_payload(std::string_view octets, std::size_t at, std::uint64_t size, bool in_index,
                            std::string& into) {
  constexpr std::uint64_t kLeast = (kPage - 12) * 32 / 255 - 23;
  const std::uint64_t most = in_index ? (kPage - 12) * 64 / 255 - 23 : kPage - 35;
  // More than there is would have a chain that goes round.
  if (size > std::min(std::uint64_t{256} << 20, std::uint64_t{there()} * kPage)) return false;
  std::uint64_t local = size;
  if (size > most) {
    local = kLeast + (size - kLeast) % (kPage - 4);
    if (local > most) local = kLeast;
  }
  std::size_t end = at + local + (local < size ? 4 : 0);
  if (end > octets.size()) return false;
  into.assign(octets.substr(at, local));
  std::uint32_t next = local < size ? word(octets, at + local) : 0;
  std::string overflow;
  while (into.size() < size) {
    if (!read(next, overflow)) return false;
    next = word(overflow, 0);
    into.append(overflow, 4, std::min<std::uint64_t>(size - into.size(), kPage - 4));
  }
  return true;
}

}  // namespace waypost::queue
