#include "cluster/journal.h"

#include <catch2/catch.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

using namespace rayctl;
using namespace rayctl::cluster;
using Catch::Contains;

namespace {

struct Opened {
  std::string snapshot = {};
  std::vector<std::string> records = {};
  std::unique_ptr<Journal> journal = {};
  explicit Opened(const std::string& directory) {
    journal = std::make_unique<Journal>(
        directory, [this](std::string_view text) { snapshot = text; },
        [this](std::string_view text) { records.emplace_back(text); });
  }
};

using Records = std::vector<std::string>;

}  // namespace

TEST_CASE("a journal gives back what was committed", "[journal]") {
  TempDir dir;
  {
    Opened first(dir.path());
    CHECK(first.records.empty());
    first.journal->append("one");
    first.journal->append("two");
    CHECK(first.journal->dirty());
    first.journal->commit();
    CHECK_FALSE(first.journal->dirty());
    first.journal->append("never committed");
  }
  {
    Opened second(dir.path());
    CHECK(second.records == Records{"one", "two"});
    second.journal->append("three");
    second.journal->compact("everything so far");
    second.journal->append("four");
    second.journal->commit();
  }
  Opened third(dir.path());
  CHECK(third.snapshot == "everything so far");
  CHECK(third.records == Records{"four"});
  CHECK(list_directory(dir.path()) == Records{"journal.1", "snapshot"});
}

TEST_CASE("a crash at any byte loses only what was never promised", "[journal]") {
  set_log({.level = Level::error});
  TempDir dir;
  std::string file = join(dir.path(), "journal.0");
  {
    Opened journal(dir.path());
    for (const char* record : {"first", "second", "third"}) journal.journal->append(record);
    journal.journal->commit();
  }
  const std::string whole = read_file(file);
  for (size_t size = 0; size <= whole.size(); ++size) {
    replace_file(file, whole.substr(0, size), 0600);
    Opened cut(dir.path());
    size_t complete = size >= whole.size() ? 3 : size >= whole.size() - 13 ? 2 : size >= 8 + 13 ? 1 : 0;
    REQUIRE(cut.records.size() == complete);
    // And it goes on from there.
    cut.journal->append("after");
    cut.journal->commit();
    cut.journal.reset();
    Opened again(dir.path());
    REQUIRE(again.records.size() == complete + 1);
    REQUIRE(again.records.back() == "after");
  }
  // A block of zeros that never got its content.
  for (size_t size : {size_t{0}, whole.size() - 13}) {
    replace_file(file, whole.substr(0, size) + std::string(4096, '\0'), 0600);
    CHECK(Opened(dir.path()).records.size() == (size == 0 ? 0 : 2));
  }
  set_log({});
}

TEST_CASE("damage that no crash makes is not passed over", "[journal]") {
  TempDir dir;
  std::string file = join(dir.path(), "journal.0");
  {
    Opened journal(dir.path());
    for (const char* record : {"first", "second", "third"}) journal.journal->append(record);
    journal.journal->commit();
  }
  std::string bytes = read_file(file);
  bytes[8 + 8 + 2] ^= 1;  // within the first record
  replace_file(file, bytes, 0600);
  CHECK_THROWS_WITH(Opened(dir.path()),
                    Contains("the record at byte 8 is damaged, and others follow it (restore the directory"));
  replace_file(file, "something else entirely", 0600);
  CHECK_THROWS_WITH(Opened(dir.path()), Contains("it isn't a journal"));
  replace_file(join(dir.path(), "snapshot"), "rctljnl1\0\0", 0600);
  CHECK_THROWS_WITH(Opened(dir.path()), Contains("snapshot': it is damaged"));
}

TEST_CASE("a crash between the steps of a compaction leaves one valid state", "[journal]") {
  TempDir dir;
  {
    Opened journal(dir.path());
    journal.journal->append("one");
    journal.journal->commit();
    // The new log was made, the snapshot not yet renamed.
    replace_file(join(dir.path(), "journal.1"), "rctljnl1", 0600);
  }
  CHECK(Opened(dir.path()).records == Records{"one"});
  CHECK_FALSE(exists(join(dir.path(), "journal.1")));
  {
    Opened journal(dir.path());
    journal.journal->compact("s");
    // The snapshot is there, the old log not yet removed.
    replace_file(join(dir.path(), "journal.0"), "rctljnl1", 0600);
  }
  Opened after(dir.path());
  CHECK(after.snapshot == "s");
  CHECK(after.records.empty());
  CHECK_FALSE(exists(join(dir.path(), "journal.0")));
}

TEST_CASE("the log asks for a compaction before it grows without end", "[journal]") {
  TempDir dir;
  Opened journal(dir.path());
  std::string record(10000, 'x');
  for (int i = 0; i < 110; ++i) journal.journal->append(record);
  CHECK_FALSE(journal.journal->wants_compaction());
  journal.journal->commit();
  CHECK(journal.journal->wants_compaction());
  journal.journal->compact("small");
  CHECK_FALSE(journal.journal->wants_compaction());
  CHECK_THROWS_WITH(journal.journal->append(""), Contains("0 bytes"));
}
