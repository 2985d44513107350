#include "run/log.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "base/error.h"
#include "base/file.h"
#include "run/log_reader.h"

using namespace rayctl;
using namespace rayctl::run;

namespace {

std::string text_of(const std::vector<LogRecord>& records) {
  std::string text;
  for (const LogRecord& r : records) text += r.text + (r.partial ? "" : "\n");
  return text;
}

std::string all(LogReader& reader) {
  std::string text;
  for (auto records = reader.next(); !records.empty(); records = reader.next()) text += text_of(records);
  return text;
}

std::string read_all(const std::string& directory, const LogQuery& query = {}) {
  LogReader reader(directory, query);
  return all(reader);
}

std::string numbers(int from, int to) {
  std::string text;
  for (int i = from; i <= to; ++i) text += fmt::format("{:099}\n", i);
  return text;
}

}  // namespace

TEST_CASE("times are written and read with nanoseconds", "[log]") {
  auto time = parse_time("2026-11-24T10:00:00.123456789Z");
  REQUIRE(time);
  CHECK(format_time(*time) == "2026-11-24T10:00:00.123456789Z");
  CHECK(parse_time("2026-11-24T12:30:00.123456789+02:30") == time);
  CHECK(format_time(*parse_time("2024-02-29T00:00:00Z")) == "2024-02-29T00:00:00.000000000Z");
  CHECK(format_time(*parse_time("2024-02-29 23:59:59.5-00:01")) == "2024-03-01T00:00:59.500000000Z");
  for (const char* bad :
       {"", "2026", "2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00",
        "2026-01-01T00:00:00Zx", "1600-01-01T00:00:00Z", "2026-01-01T00:00:00.Z", "9999-01-01T00:00:00Z"})
    CHECK_FALSE(parse_time(bad));
}

TEST_CASE("records", "[log]") {
  auto r = parse_log_record("2026-11-24T10:00:00.000000001Z stderr P half  a line");
  REQUIRE(r);
  CHECK(r->stream == Stream::err);
  CHECK(r->partial);
  CHECK(r->text == "half  a line");
  CHECK(parse_log_record("2026-11-24T10:00:00Z stdout F ")->text.empty());
  for (const char* bad : {"", "x", "2026-11-24T10:00:00Z stdout F", "2026-11-24T10:00:00Z stdin F x",
                          "2026-11-24T10:00:00Z stdout X x", "2026-11-24T10:00:00Z  stdout F x"})
    CHECK_FALSE(parse_log_record(bad));
}

TEST_CASE("lines, parts and two streams come back as they were", "[log]") {
  TempDir dir;
  LogWriter log(dir.path(), {});
  log.write(Stream::out, "one\ntw");
  log.write(Stream::err, "oops\n");
  log.write(Stream::out, "o\n\nthree");
  LogReader reader(dir.path(), {});
  auto records = reader.next();
  REQUIRE(records.size() == 6);
  CHECK(records[1].partial);
  CHECK(records[2].stream == Stream::err);
  CHECK(records[5].partial);
  CHECK(text_of(records) == "one\ntwoops\no\n\nthree");
  log.write(Stream::out, "!\n");
  CHECK(all(reader) == "!\n");
  CHECK(reader.next().empty());

  std::string line(100'000, 'x');  // longer than a record: cut, but nothing is lost
  log.write(Stream::out, line + "\n");
  CHECK(all(reader) == line + "\n");
}

TEST_CASE("rotation loses nothing and keeps as many files as asked", "[log]") {
  TempDir dir;
  LogWriter log(dir.path(), {.max_size = 64 << 10, .max_files = 3});
  LogReader follower(dir.path(), {});
  std::string seen;
  for (int i = 0; i < 5000; i += 100) {
    log.write(Stream::out, numbers(i, i + 99));
    seen += all(follower);
  }
  CHECK(seen == numbers(0, 4999));
  CHECK(list_directory(dir.path()) == std::vector<std::string>{"log", "log.1", "log.2"});
  for (const char* name : {"log", "log.1", "log.2"})
    CHECK(status(join(dir.path(), name))->st_size <= 64 << 10);
  std::string kept = read_all(dir.path());
  CHECK(kept.size() > 64 << 10);
  CHECK(numbers(0, 4999).substr(5000 * 100 - kept.size()) == kept);
}

TEST_CASE("a reader that is overtaken says so and goes on", "[log]") {
  TempDir dir;
  LogWriter log(dir.path(), {.max_size = 64 << 10, .max_files = 2});
  log.write(Stream::out, "first\n");
  LogReader reader(dir.path(), {});
  CHECK(all(reader) == "first\n");
  for (int i = 0; i < 3000; i += 100) log.write(Stream::out, numbers(i, i + 99));
  std::string text = all(reader);
  CHECK(text.find("lines are missing here: the log was rotated faster than it was read\n") !=
        std::string::npos);
  CHECK(text.substr(text.size() - 100) == numbers(2999, 2999));
}

TEST_CASE("the last lines, across files", "[log]") {
  TempDir dir;
  CHECK(read_all(dir.path(), {.tail = 5}).empty());
  LogWriter log(dir.path(), {.max_size = 64 << 10, .max_files = 4});
  for (int i = 0; i < 1000; i += 10) log.write(Stream::out, numbers(i, i + 9));
  for (uint64_t n : {0, 1, 2, 10, 499, 700})
    CHECK(read_all(dir.path(), {.tail = n}) == numbers(1000 - static_cast<int>(n), 999));
  CHECK(read_all(dir.path(), {.tail = 100'000}) == read_all(dir.path()));
  log.write(Stream::out, "unfinished");
  CHECK(read_all(dir.path(), {.tail = 1}) == numbers(999, 999) + "unfinished");
  log.write(Stream::out, " business\n");
  CHECK(read_all(dir.path(), {.tail = 1}) == "unfinished business\n");
}

TEST_CASE("nothing older than asked for", "[log]") {
  TempDir dir;
  replace_file(
      join(dir.path(), "log"),
      "2026-01-01T00:00:01Z stdout F a\n2026-01-01T00:00:02Z stdout F b\n2026-01-01T00:00:03Z stdout F c\n");
  CHECK(read_all(dir.path(), {.since = parse_time("2026-01-01T00:00:02Z")}) == "b\nc\n");
  CHECK(read_all(dir.path(), {.since = parse_time("2027-01-01T00:00:02Z")}).empty());
}

TEST_CASE("a record that a dying writer left unfinished harms no other", "[log]") {
  TempDir dir;
  replace_file(join(dir.path(), "log"), "2026-01-01T00:00:01Z stdout F a\n2026-01-01T00:0");
  LogWriter log(dir.path(), {});
  log.write(Stream::out, "b\n");
  CHECK(read_all(dir.path()) == "a\n2026-01-01T00:0\nb\n");
}

TEST_CASE("a symbolic link in the log's place is not followed", "[log]") {
  TempDir dir, other;
  std::string path = join(dir.path(), "log");
  REQUIRE(symlink(join(other.path(), "victim").c_str(), path.c_str()) == 0);
  CHECK_THROWS_WITH(LogWriter(dir.path(), {}),
                    "cannot open '" + path + "': Too many levels of symbolic links");
  CHECK_FALSE(exists(join(other.path(), "victim")));
}
