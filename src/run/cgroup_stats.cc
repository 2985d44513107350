#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#include <charconv>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "run/cgroup.h"

namespace rayctl::run {

namespace {

using Version = Hierarchy::Version;

std::optional<uint64_t> parse_number(std::string_view text) {
  text = trim(text);
  uint64_t value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The cgroup may vanish between two reads: then it has no number.
std::optional<std::string> read_counter(const std::string& directory, const char* file) {
  try {
    return read_file_if_exists(join(directory, file));
  } catch (const SysError& e) {
    if (e.code() == ENODEV || e.code() == EOPNOTSUPP) return std::nullopt;
    throw;
  }
}

std::optional<uint64_t> number_in(const std::string& directory, const char* file) {
  auto text = read_counter(directory, file);
  return text ? parse_number(*text) : std::nullopt;
}

// "key value" lines, as memory.stat has them.
std::optional<uint64_t> field_in(const std::string& directory, const char* file, std::string_view key) {
  auto text = read_counter(directory, file);
  if (!text) return std::nullopt;
  for (const std::string& line : split(*text, '\n')) {
    size_t space = line.find(' ');
    if (space != std::string::npos && std::string_view(line).substr(0, space) == key)
      return parse_number(std::string_view(line).substr(space + 1));
  }
  return std::nullopt;
}

}  // namespace

CgroupStats Cgroup::stats() const {
  CgroupStats found;
  if (const Place* p = place("memory")) {
    const std::string& d = p->directory;
    if (p->hierarchy.version == Version::v2) {
      found.memory_current = number_in(d, "memory.current");
      found.memory_peak = number_in(d, "memory.peak");
      found.memory_limit = number_in(d, "memory.max");  // "max" is no number
      found.memory_inactive_file = field_in(d, "memory.stat", "inactive_file");
      found.oom_kills = field_in(d, "memory.events", "oom_kill").value_or(0);
      found.memory_limit_hits = field_in(d, "memory.events", "max").value_or(0);
    } else {
      found.memory_current = number_in(d, "memory.usage_in_bytes");
      found.memory_peak = number_in(d, "memory.max_usage_in_bytes");
      found.memory_limit = number_in(d, "memory.limit_in_bytes");
      if (found.memory_limit && *found.memory_limit >= uint64_t{1} << 62) found.memory_limit.reset();
      found.memory_inactive_file = field_in(d, "memory.stat", "total_inactive_file");
      found.oom_kills = field_in(d, "memory.oom_control", "oom_kill").value_or(0);
      found.memory_limit_hits = number_in(d, "memory.failcnt").value_or(0);
    }
  }
  if (const Place* p = place("cpuacct")) {
    if (auto nanoseconds = number_in(p->directory, "cpuacct.usage"))
      found.cpu = std::chrono::microseconds(*nanoseconds / 1000);
  } else if (const Place* v2 = unified()) {
    if (auto microseconds = field_in(v2->directory, "cpu.stat", "usage_usec"))
      found.cpu = std::chrono::microseconds(*microseconds);
  }
  if (const Place* p = place("pids")) found.pids = number_in(p->directory, "pids.current");
  return found;
}

OomWatch::OomWatch(const Cgroup& cgroup) {
  std::string directory = cgroup.directory("memory");
  if (directory.empty()) return;
  if (exists(join(directory, "memory.events"))) {
    fd_ = Fd{check(inotify_init1(IN_CLOEXEC | IN_NONBLOCK), "cannot watch for OOM kills")};
    std::string events = join(directory, "memory.events");
    check(inotify_add_watch(fd_.get(), events.c_str(), IN_MODIFY), "cannot watch '{}'", events);
  } else if (exists(join(directory, "cgroup.event_control"))) {
    fd_ = Fd{check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "cannot watch for OOM kills")};
    source_ = open_file(join(directory, "memory.oom_control"), O_RDONLY);
    write_existing(join(directory, "cgroup.event_control"), fmt::format("{} {}", fd_.get(), source_.get()));
  }
}

void OomWatch::drain() {
  char buffer[4096];
  while (fd_ && read(fd_.get(), buffer, sizeof buffer) > 0 && !source_) {
  }
}

}  // namespace rayctl::run
