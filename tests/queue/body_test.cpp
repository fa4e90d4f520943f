#include "queue/body.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <doctest/doctest.h>
#include <unistd.h>

#include "tests/queue/queue_fixture.h"
#include "tests/support/fake_files.h"

using namespace waypost;
using namespace waypost::queue;
using namespace waypost::tests;

TEST_SUITE("queue/body") {
  TEST_CASE("a draft that nobody commits leaves nothing behind (F1)") {
    VirtualRuntime runtime;
    FakeFiles files;
    {
      Draft draft(runtime, files, Id{12345}, 100);
      draft.buffer() = std::string(150, 'x');
      CHECK(draft.full());
      REQUIRE(runtime.complete(draft.spill()));
      CHECK(draft.buffer().empty());
      CHECK(draft.size() == 150);
      CHECK(files.files.contains(body_path(draft.id().text()) + ".tmp"));
    }
    CHECK(files.files.empty());
    {
      Draft draft(runtime, files, Id{12345}, 100);
      draft.buffer() = std::string(150, 'x');
      REQUIRE(runtime.complete(draft.finish()));
      CHECK(files.files.contains(body_path(draft.id().text())));
      Draft moved = std::move(draft);
      draft = Draft(runtime, files, Id{12346}, 100);
    }
    CHECK(files.files.empty());
  }

  TEST_CASE("taken, the file stays, and has its octets, size and checksum") {
    VirtualRuntime runtime;
    FakeFiles files;
    std::string body;
    auto content = std::make_shared<Content>();
    {
      Draft draft(runtime, files, Id{12345}, 100);
      for (int i = 0; i < 10; ++i) {
        std::string piece(static_cast<std::size_t>(60 + i), static_cast<char>('a' + i));
        body += piece;
        draft.buffer() += piece;
        if (!draft.full()) continue;
        REQUIRE(runtime.complete(draft.spill()));
      }
      REQUIRE(runtime.complete(draft.finish()));
      Draft::Finished finished = draft.take();
      CHECK(finished.in_file);
      CHECK(finished.octets.empty());
      CHECK(finished.size == body.size());
      CHECK(finished.checksum == checksum_of(body));
      content->id = draft.id();
      content->in_file = true;
      content->body_size = finished.size;
      content->checksum = finished.checksum;
    }
    REQUIRE(files.files.size() == 1);
    CHECK(*files.files.begin()->second == body);
    BodyReader reader(runtime, files, content);
    Result<std::string_view> piece = runtime.complete(reader.next());
    REQUIRE(piece);
    CHECK(*piece == body);
    piece = runtime.complete(reader.next());
    REQUIRE(piece);
    CHECK(piece->empty());
  }

  TEST_CASE("errors of the disk are told by the call that met them, and leave no file") {
    for (const char* failing : {"create", "append", "sync", "rename", "sync_folder", "make_folder"}) {
      CAPTURE(failing);
      VirtualRuntime runtime;
      FakeFiles files;
      {
        Draft draft(runtime, files, Id{12345}, 100);
        draft.buffer() = std::string(150, 'x');
        files.fault = [failing](const std::string& call, const std::string&) -> Result<> {
          if (call == failing) return fail(Errc::io, "told to");
          return {};
        };
        Result<> done = runtime.complete(draft.finish());
        REQUIRE_FALSE(done);
        CHECK(done.error().code == Errc::io);
      }
      CHECK(files.files.empty());
    }
  }

  TEST_CASE("a folder whose name could not be synced is an error of who counts on it, not of what goes before") {
    VirtualRuntime runtime;
    FakeFiles files;
    files.fault = [&files](const std::string& call, const std::string& path) -> Result<> {
      if (call != "make_folder") return {};
      files.folders.insert(path);
      return fail(Errc::io, "told to");
    };
    Draft draft(runtime, files, Id{12345}, 100);
    draft.buffer() = std::string(150, 'x');
    REQUIRE(runtime.complete(draft.spill()));
    const Result<> done = runtime.complete(draft.finish());
    REQUIRE_FALSE(done);
    CHECK(done.error().code == Errc::io);
  }

  TEST_CASE("a folder that is there already counts as lasting only when this process has synced what names it") {
    VirtualRuntime runtime;
    FakeFiles files;
    files.folders = {".", "body",
                     "body/" + Id{12345}.text().substr(Id{12345}.text().size() - 2)};  // a kill came before
    const auto finish = [&] {
      files.calls.clear();
      Draft draft(runtime, files, Id{12345}, 100);
      draft.buffer() = std::string(150, 'x');
      return runtime.complete(draft.finish());
    };
    const auto synced = [&](const std::string& path) {
      return std::count(files.calls.begin(), files.calls.end(), "sync_folder " + path);
    };
    files.fault = [](const std::string& call, const std::string& path) -> Result<> {
      if (call == "sync_folder" && path == "body") return fail(Errc::io, "told to");
      return {};
    };
    Result<> done = finish();
    REQUIRE_FALSE(done);
    CHECK(done.error().code == Errc::io);
    files.fault = nullptr;
    REQUIRE(finish());
    CHECK(synced("body") == 1);
    CHECK(synced(".") == 1);
    REQUIRE(finish());
    CHECK(synced("body") == 0);
    CHECK(synced(".") == 0);
  }

  TEST_CASE("what is known of a body that was composed here") {
    struct {
      const char* body;
      bool eight_bit, dot_lines;
    } const table[] = {{"", false, false},         {"a\r\n", false, false},   {".\r\n", false, true},
                       {"a\r\n.b", false, true},   {"a.b\r\n", false, false}, {"\xc3\xa4", true, false},
                       {"\x7f\r\n", false, false}, {"\x80", true, false}};
    for (const auto& row : table) {
      BodyNotes notes = notes_of(row.body);
      CHECK(notes.eight_bit == row.eight_bit);
      CHECK(notes.dot_lines == row.dot_lines);
    }
  }
}

TEST_SUITE("queue/files") {
  TEST_CASE("files are made, read, renamed, listed and removed below the folder") {
    TemporaryFolder folder;
    auto opened = open_files(folder.path() + "/data");
    REQUIRE(opened);
    Files& files = **opened;
    CHECK((std::filesystem::status(folder.path() + "/data").permissions() & std::filesystem::perms::all) ==
          std::filesystem::perms::owner_all);
    REQUIRE(files.make_folder("body"));
    REQUIRE(files.make_folder("body"));
    REQUIRE(files.make_folder("body/7F"));
    {
      auto file = files.create("body/7F/x.tmp");
      REQUIRE(file);
      REQUIRE((*file)->append("hello "));
      REQUIRE((*file)->append("world"));
      REQUIRE((*file)->sync());
    }
    CHECK(files.create("body/7F/x.tmp").error().code == Errc::exists);
    REQUIRE(files.rename("body/7F/x.tmp", "body/7F/x"));
    REQUIRE(files.sync_folder("body/7F"));
    CHECK(files.list("body/7F") == std::vector<std::string>{"x"});
    auto file = files.open("body/7F/x");
    REQUIRE(file);
    char octets[20];
    CHECK((*file)->read_at(6, octets) == 5);
    CHECK(std::string(octets, 5) == "world");
    CHECK((*file)->read_at(11, octets) == 0);
    REQUIRE(files.remove("body/7F/x"));
    CHECK(files.remove("body/7F/x").error().code == Errc::not_found);
    CHECK(files.open("body/7F/x").error().code == Errc::not_found);
    CHECK(files.create("body/00/x").error().code == Errc::not_found);
  }

  TEST_CASE("a file that is written once more is the same [F12]") {
    TemporaryFolder folder;
    auto opened = open_files(folder.path());
    REQUIRE(opened);
    Files& files = **opened;
    std::string octets;
    for (int i = 0; octets.size() <= (2 << 20); ++i) octets += std::to_string(i);
    const std::string path = folder.path() + "/a";
    std::ofstream(path) << octets;
    const auto long_ago = std::filesystem::last_write_time(path) - std::chrono::hours(1);
    std::filesystem::last_write_time(path, long_ago);
    REQUIRE(files.rewrite("a"));
    CHECK(std::filesystem::last_write_time(path) > long_ago);
    std::ifstream in(path);
    CHECK(std::string(std::istreambuf_iterator<char>(in), {}) == octets);
    CHECK(files.rewrite("b").error().code == Errc::not_found);
  }

  TEST_CASE("no link and no way up is followed (C10)") {
    TemporaryFolder folder;
    auto opened = open_files(folder.path());
    REQUIRE(opened);
    Files& files = **opened;
    REQUIRE(files.make_folder("body"));
    REQUIRE(::symlink("/etc/passwd", (folder.path() + "/body/link").c_str()) == 0);
    REQUIRE(::symlink("/etc", (folder.path() + "/way").c_str()) == 0);
    CHECK(files.open("body/link").error().code == Errc::denied);
    CHECK_FALSE(files.open("way/passwd"));
    CHECK_FALSE(files.open("../../etc/passwd"));
    CHECK_FALSE(files.open("/etc/passwd"));
    CHECK_FALSE(files.list("way"));
    CHECK_FALSE(files.open("body"));
    CHECK_FALSE(files.create("body/link"));
  }

  TEST_CASE("where a body stands") {
    CHECK(body_path("01JD8Q2M3X7F") == "body/7F/01JD8Q2M3X7F");
  }
}
