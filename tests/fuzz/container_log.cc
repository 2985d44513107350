// A log as a container's directory may hold it, read from every start: what a reader shows must not depend on
// it.
#include <fcntl.h>

#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "run/log_reader.h"

using namespace rayctl;
using namespace rayctl::run;

namespace {

std::vector<LogRecord> read_all(const std::string& directory, const LogQuery& query) {
  LogReader reader(directory, query);
  std::vector<LogRecord> all;
  for (auto some = reader.next(); !some.empty(); some = reader.next())
    for (LogRecord& record : some) all.push_back(std::move(record));
  return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static TempDir dir("/dev/shm");
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  size_t cut = text.size() * data[0] / 255;
  auto write = [&](const char* name, std::string_view bytes) {
    Fd fd = open_file(join(dir.path(), name), O_WRONLY | O_CREAT | O_TRUNC);
    write_fd(fd.get(), bytes, name);
  };
  write("log.1", text.substr(0, cut));
  write("log", text.substr(cut));
  auto all = read_all(dir.path(), {.follow = false});
  auto tail = read_all(dir.path(), {.tail = data[0] % 5, .follow = false});
  if (tail.size() > all.size()) std::abort();
  for (size_t i = 0; i < tail.size(); ++i)
    if (tail[tail.size() - 1 - i].text != all[all.size() - 1 - i].text) std::abort();
  read_all(dir.path(), {.since = LogTime{std::chrono::seconds(1'700'000'000)}, .follow = false});
  if (auto time = parse_time(text); time && parse_time(format_time(*time)) != time) std::abort();
  return 0;
}
