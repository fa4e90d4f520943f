// tests/fuzz/page_file.cpp: the pages of a queue.db, read without SQLite. What SQLite wrote is read as the same, from
// the file and from a WAL; what anybody else wrote ends, stays within the file, and reads the same again.
//
// The first octet says how: bit 0 rows that SQLite writes, else pages that are damaged; bit 1 from a WAL (of rows), or
// sums of the WAL that are made right (of pages); bit 2 numbers of the WAL big end first; bit 3 pages that begin empty.
// The rest are steps, each of an octet and its operands; see below. Covers: queue/page_file.cpp
#include "queue/page_file.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <sqlite3.h>

#include "tests/fuzz/input.h"
#include "tests/support/fake_files.h"

using namespace waypost;
using queue::PageFile;
using queue::StoredRecord;

namespace {

constexpr std::size_t kPage = PageFile::kPage;

/// SQLite alone, without the queue's code.
class Reference {
 public:
  Reference() {
    fuzz::check(sqlite3_open(":memory:", &db_) == SQLITE_OK, "a database in memory opens");
    run("PRAGMA page_size=4096");
    run("PRAGMA auto_vacuum=INCREMENTAL");
    run("CREATE TABLE rows (a, b)");
    run("CREATE TABLE keys (a, b, c, PRIMARY KEY (a, b)) WITHOUT ROWID");
  }
  ~Reference() { sqlite3_close(db_); }
  Reference(const Reference&) = delete;
  Reference& operator=(const Reference&) = delete;

  void run(const char* sql) { fuzz::check(sqlite3_exec(db_, sql, nullptr, nullptr, nullptr) == SQLITE_OK, sql); }

  /// A failure is that of a key which is there already.
  void write(const char* sql, std::int64_t key, std::string_view input) {
    sqlite3_stmt* statement = nullptr;
    fuzz::check(sqlite3_prepare_v2(db_, sql, -1, &statement, nullptr) == SQLITE_OK, sql);
    sqlite3_bind_int64(statement, 1, key);
    for (int i = 2; i <= sqlite3_bind_parameter_count(statement); ++i) bind(statement, i, input);
    sqlite3_step(statement);
    sqlite3_finalize(statement);
  }

  std::string octets() {
    sqlite3_int64 size = 0;
    unsigned char* all = sqlite3_serialize(db_, "main", &size, 0);
    std::string out(reinterpret_cast<char*>(all), static_cast<std::size_t>(size));
    sqlite3_free(all);
    return out;
  }

  /// Each row as text, by type and value.
  std::multiset<std::string> all(const char* sql) {
    std::multiset<std::string> out;
    sqlite3_stmt* statement = nullptr;
    fuzz::check(sqlite3_prepare_v2(db_, sql, -1, &statement, nullptr) == SQLITE_OK, sql);
    while (sqlite3_step(statement) == SQLITE_ROW) {
      std::string row;
      for (int i = 0; i < sqlite3_column_count(statement); ++i) {
        switch (sqlite3_column_type(statement, i)) {
          case SQLITE_NULL:
            row += "null ";
            break;
          case SQLITE_INTEGER:
            row += std::to_string(sqlite3_column_int64(statement, i)) + ' ';
            break;
          case SQLITE_FLOAT:
            row += 'd' + std::to_string(std::bit_cast<std::uint64_t>(sqlite3_column_double(statement, i))) + ' ';
            break;
          default:
            row.append(1, '\'').append(static_cast<const char*>(sqlite3_column_blob(statement, i)),
                                       static_cast<std::size_t>(sqlite3_column_bytes(statement, i)));
            row += "' ";
        }
      }
      out.insert(row);
    }
    sqlite3_finalize(statement);
    return out;
  }

 private:
  static void bind(sqlite3_stmt* statement, int at, std::string_view& input) {
    const std::uint8_t kind = fuzz::take_octet(input);
    std::uint64_t number = 0;
    for (int i = 0; i < (kind >> 3 & 7) + 1; ++i) number = number << 8 | fuzz::take_octet(input);
    switch (kind & 7) {
      case 0:
        sqlite3_bind_null(statement, at);
        break;
      case 1:
      case 2:
        sqlite3_bind_int64(statement, at, static_cast<std::int64_t>((kind & 7) == 1 ? number : ~number));
        break;
      case 3:
        sqlite3_bind_double(statement, at, std::bit_cast<double>(number));
        break;
      default:
        const std::string text(number % 20000, static_cast<char>('a' + kind % 26));
        (kind & 7) < 6 ? sqlite3_bind_text(statement, at, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT)
                       : sqlite3_bind_blob(statement, at, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
    }
  }

  sqlite3* db_ = nullptr;
};

void put(std::string& octets, std::size_t at, std::uint32_t value) {
  for (std::size_t i = 0; i < 4; ++i) octets[at + i] = static_cast<char>(value >> (24 - 8 * i));
}
std::uint32_t get(std::string_view octets, std::size_t at, bool big) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i)
    value |= std::uint32_t{static_cast<std::uint8_t>(octets[at + i])} << (big ? 24 - 8 * i : 8 * i);
  return value;
}

/// A WAL as https://www.sqlite.org/fileformat2.html#the_write_ahead_log has it.
struct Wal {
  struct Frame {
    std::uint32_t page = 0, commit = 0;  // pages of the database after it; 0: no commit
    std::string octets;
  };
  std::vector<Frame> frames;

  std::string text(bool big, bool right_sums) const {
    std::string out(32, '\0');
    put(out, 0, big ? 0x377f0683 : 0x377f0682);
    put(out, 4, 3007000);
    put(out, 8, kPage);
    put(out, 16, 0x12345678);
    put(out, 20, 0x9abcdef0);
    std::uint32_t a = 0, b = 0;
    auto add = [&](std::size_t at, std::size_t size) {
      for (std::size_t i = at; i < at + size; i += 8) {
        a += get(out, i, big) + b;
        b += get(out, i + 4, big) + a;
      }
    };
    add(0, 24);
    put(out, 24, a);
    put(out, 28, b);
    for (const Frame& frame : frames) {
      const std::size_t at = out.size();
      out.append(24, '\0');
      put(out, at, frame.page);
      put(out, at + 4, frame.commit);
      put(out, at + 8, 0x12345678);
      put(out, at + 12, 0x9abcdef0);
      out += frame.octets;
      add(at, 8);
      add(at + 24, kPage);
      put(out, at + 16, right_sums ? a : 0);
      put(out, at + 20, right_sums ? b : 0);
    }
    return out;
  }
};

PageFile open(tests::FakeFiles& files, std::string octets, std::optional<std::string> wal) {
  files.files["queue.db"] = std::make_shared<std::string>(std::move(octets));
  if (wal) files.files["queue.db-wal"] = std::make_shared<std::string>(*std::move(wal));
  Result<PageFile> out = PageFile::open(files, "queue.db");
  fuzz::check(out.has_value(), "what can be read is opened, whatever it is");
  return *std::move(out);
}

std::string text_of(const StoredRecord& record) {
  std::string out;
  for (const queue::StoredValue& value : record.values) {
    if (std::holds_alternative<std::monostate>(value)) {
      out += "null ";
    } else if (const auto* number = std::get_if<std::int64_t>(&value)) {
      out += std::to_string(*number) + ' ';
    } else if (const auto* real = std::get_if<double>(&value)) {
      out += 'd' + std::to_string(std::bit_cast<std::uint64_t>(*real)) + ' ';
    } else {
      out.append(1, '\'').append(std::get<std::string_view>(value)) += "' ";
    }
  }
  return out;
}

/// Steps: insert a row, or take one out, of either table.
void write_and_read(std::uint8_t how, std::string_view input) {
  Reference reference;
  reference.run("BEGIN");
  for (int steps = 0; !input.empty() && steps < 100; ++steps) {
    const std::uint8_t step = fuzz::take_octet(input);
    std::int64_t key = static_cast<std::int8_t>(fuzz::take_octet(input));
    if ((step & 8) != 0) key *= std::int64_t{1} << (step >> 4) * 3;
    const char* const sql[] = {"INSERT INTO rows (rowid, a, b) VALUES (?, ?, ?)", "DELETE FROM rows WHERE rowid = ?",
                               "INSERT INTO keys (a, b, c) VALUES (?, ?, ?)", "DELETE FROM keys WHERE a = ?"};
    const bool inserts = (step & 1) == 0;
    reference.write(sql[step & 3], key, inserts ? input : "");
    if (inserts) input.remove_prefix(std::min<std::size_t>(input.size(), 8));
  }
  reference.run("COMMIT");

  std::string octets = reference.octets();
  std::optional<std::string> wal;
  if ((how & 2) != 0) {
    Wal frames;
    for (std::size_t at = 0; at < octets.size(); at += kPage)
      frames.frames.push_back({static_cast<std::uint32_t>(at / kPage + 1), 0, octets.substr(at, kPage)});
    frames.frames.back().commit = static_cast<std::uint32_t>(octets.size() / kPage);
    // What is behind the last commit does not count.
    frames.frames.push_back({1, 0, std::string(kPage, '\xff')});
    wal = frames.text((how & 4) != 0, true);
    octets.assign(octets.size() / 2, '\xff');
  }
  tests::FakeFiles files;
  PageFile pages = open(files, std::move(octets), std::move(wal));
  std::multiset<std::string> rows, keys;
  pages.each_record([&](const StoredRecord& record, PageFile::Use use) {
    fuzz::check(use == PageFile::Use::tree, "nothing is in doubt where nothing is damaged");
    // The schema has five columns.
    if (record.in_index && record.values.size() == 3) keys.insert(text_of(record));
    if (!record.in_index && record.values.size() == 2)
      rows.insert(std::to_string(record.rowid) + ' ' + text_of(record));
  });
  fuzz::check(pages.broken() == 0 && pages.unreadable() == 0, "nothing is broken there");
  fuzz::check(rows == reference.all("SELECT rowid, a, b FROM rows"), "the rows are SQLite's");
  fuzz::check(keys == reference.all("SELECT a, b, c FROM keys"), "those without a rowid, too");
}

/// Two tables with rows of all sizes: leaves, interior pages, overflow, free pages.
const std::string& usual_database() {
  static const std::string octets = [] {
    Reference reference;
    for (int i = 0; i < 40; ++i) {
      const std::string value{static_cast<char>(i % 4 == 0 ? 0x0c : i % 8), static_cast<char>(i * 5), '\x40', '\x14'};
      reference.write("INSERT INTO rows (rowid, a, b) VALUES (?, ?, ?)", i * 1000, value);
      reference.write("INSERT INTO keys (a, b, c) VALUES (?, ?, ?)", -i, value);
    }
    reference.run("DELETE FROM rows WHERE rowid BETWEEN 5000 AND 9000");
    return reference.octets();
  }();
  return octets;
}

struct Read {
  std::vector<std::string> records;
  std::uint64_t broken = 0, unreadable = 0;
  bool operator==(const Read&) const = default;
};

Read read_all(PageFile& pages, std::size_t octets) {
  Read out;
  const std::size_t most = octets + kPage;
  pages.each_record([&](const StoredRecord& record, PageFile::Use use) {
    fuzz::check(use != PageFile::Use::other, "what is free is not shown");
    fuzz::check(record.page >= 1 && record.page <= pages.pages(), "a record is of a page");
    std::size_t size = 0;
    for (std::size_t i = 0; i < record.values.size(); ++i) {
      size += record.text(i).size();
      fuzz::check(record.is_number(i) || record.number(i) == 0, "what is no number is none");
    }
    fuzz::check(size <= most, "no record is larger than what it is read from");
    if (out.records.size() < 100) out.records.push_back(text_of(record).substr(0, 100));
  });
  out.broken = pages.broken();
  out.unreadable = pages.unreadable();
  fuzz::check(out.unreadable <= pages.pages(), "a page is unreadable once");
  fuzz::check(out.broken <= std::uint64_t{pages.pages()} * (kPage / 2), "no more is broken than fits");
  return out;
}

/// Steps: write over a page, put one into the WAL, write over that, cut the end off.
void damage_and_read(std::uint8_t how, std::string_view input) {
  std::string octets = (how & 8) != 0 ? std::string(8 * kPage, '\0') : usual_database();
  Wal wal;
  auto take_place = [&input] { return std::size_t{fuzz::take_octet(input)} << 8 | fuzz::take_octet(input); };
  auto write_over = [&](std::string& page, std::size_t begin, std::size_t size) {
    const std::size_t at = take_place() % kPage;
    const std::size_t count = std::min<std::size_t>({fuzz::take_octet(input) % 64U, input.size(), size - at});
    std::copy_n(input.begin(), count, page.begin() + static_cast<std::ptrdiff_t>(begin + at));
    input.remove_prefix(count);
  };
  while (!input.empty()) {
    const std::uint8_t step = fuzz::take_octet(input);
    const std::size_t page = octets.empty() ? 0 : fuzz::take_octet(input) % (octets.size() / kPage + 1);
    switch (step & 3) {
      case 0:
        if ((page + 1) * kPage <= octets.size()) write_over(octets, page * kPage, kPage);
        break;
      case 1:
        if (wal.frames.size() == 16) break;
        // Bits 3 and 4: a page, and an end, that are far away.
        wal.frames.push_back(
            {static_cast<std::uint32_t>(page + 1) << ((step & 8) != 0 ? 24 : 0),
             (step & 4) != 0 ? std::uint32_t{fuzz::take_octet(input)} << ((step & 16) != 0 ? 24 : 0) : 0,
             (page + 1) * kPage <= octets.size() ? octets.substr(page * kPage, kPage) : std::string(kPage, '\0')});
        break;
      case 2:
        if (!wal.frames.empty()) write_over(wal.frames.back().octets, 0, kPage);
        break;
      default:
        if ((step & 4) != 0) octets.resize(page * kPage + take_place() % kPage);
    }
    if (octets.size() > 64 * kPage) octets.resize(64 * kPage);
  }
  std::optional<std::string> text;
  if (!wal.frames.empty()) text = wal.text((how & 4) != 0, (how & 2) != 0);
  const std::size_t all = octets.size() + (text ? text->size() : 0) + 256 * kPage;

  tests::FakeFiles files;
  PageFile pages = open(files, std::move(octets), std::move(text));
  const Read once = read_all(pages, all);
  fuzz::check(once == read_all(pages, all), "it reads the same again");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input = fuzz::view(data, size);
  const std::uint8_t how = fuzz::take_octet(input);
  if ((how & 1) != 0)
    write_and_read(how, input);
  else
    damage_and_read(how, input);
  return 0;
}
