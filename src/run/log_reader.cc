#include "run/log_reader.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/file.h"

namespace rayctl::run {

namespace {

constexpr size_t block = 64 << 10;
// Records are at most 16 KiB of text; a longer line isn't one of ours.
constexpr size_t longest_line = 32 << 10;
constexpr unsigned most_files = 10'000;

bool is_full_line(std::string_view line) {
  auto record = parse_log_record(line);
  return !record || !record->partial;  // what isn't a record is shown as a line of its own
}

// Readable after a change; where the user has too many inotify instances (128 by default), five times a
// second.
Fd watch_directory(const std::string& directory) {
  Fd watch{inotify_init1(IN_CLOEXEC | IN_NONBLOCK)};
  if (watch) {
    check(inotify_add_watch(watch.get(), directory.c_str(), IN_MODIFY | IN_MOVED_TO | IN_CREATE),
          "cannot watch '{}'", directory);
    return watch;
  }
  watch = Fd{check(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), "cannot make a timer")};
  itimerspec often{.it_interval = {0, 200'000'000}, .it_value = {0, 200'000'000}};
  check(timerfd_settime(watch.get(), 0, &often, nullptr), "cannot set a timer");
  return watch;
}

}  // namespace

off_t tail_offset(int fd, uint64_t& lines) {
  struct stat info;
  check(fstat(fd, &info), "cannot stat a log");
  off_t position = info.st_size;  // `held` begins here and ends where the lines that were counted begin
  std::string held, buffer(block, '\0');
  for (;;) {
    size_t before = held.size() < 2 ? std::string::npos : held.rfind('\n', held.size() - 2);
    if (before == std::string::npos && position > 0 && held.size() <= longest_line) {
      size_t size = static_cast<size_t>(std::min<off_t>(position, block));
      position -= static_cast<off_t>(size);
      ssize_t n = check(pread(fd, buffer.data(), size, position), "cannot read a log");
      if (static_cast<size_t>(n) != size) return position;  // cut off meanwhile
      held.insert(0, buffer, 0, size);
      continue;
    }
    if (held.empty()) return 0;
    size_t start = before == std::string::npos ? 0 : before + 1;
    std::string_view line = std::string_view(held).substr(start);
    if (line.back() == '\n') line.remove_suffix(1);
    if (is_full_line(line)) {
      if (lines == 0) return position + static_cast<off_t>(held.size());
      --lines;
    }
    held.resize(start);
  }
}

LogReader::LogReader(std::string directory, const LogQuery& query)
    : directory_(std::move(directory)), since_(query.since) {
  if (query.follow) watch_ = watch_directory(directory_);
  for (File& file : open_newer()) files_.push_back(std::move(file));
  if (query.tail) start_at_tail(*query.tail);
  if (since_) {
    // A file whose last change is older has nothing to show.
    while (files_.size() > 1) {
      struct stat info;
      check(fstat(files_.front().fd.get(), &info), "cannot stat a log");
      LogTime changed{std::chrono::seconds(info.st_mtim.tv_sec) +
                      std::chrono::nanoseconds(info.st_mtim.tv_nsec)};
      // File times come from a clock that ticks coarsely.
      if (changed + std::chrono::seconds(1) >= *since_) break;
      files_.pop_front();
    }
  }
}

// The files after the one that is read last, oldest first. Names shift while it looks: files are told by
// their inodes.
std::vector<LogReader::File> LogReader::open_newer() {
  for (int tries = 0;; ++tries) {
    std::vector<File> found;
    bool complete = files_.empty();
    for (unsigned number = 0; number < most_files; ++number) {
      std::string path = join(directory_, log_name);
      if (number) path += fmt::format(".{}", number);
      Fd fd{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
      if (!fd) {
        if (errno != ENOENT) throw SysError(errno, "cannot open '{}'", path);
        if (number == 0) continue;  // between the two steps of a rotation
        break;
      }
      struct stat info;
      check(fstat(fd.get(), &info), "cannot stat '{}'", path);
      if (!files_.empty() && info.st_ino == files_.back().inode) {
        complete = true;
        break;
      }
      bool seen =
          std::any_of(found.begin(), found.end(), [&](const File& f) { return f.inode == info.st_ino; });
      if (!seen) found.push_back({std::move(fd), info.st_ino});
    }
    if (!complete && tries < 3) continue;  // a number is missing for a moment within a rotation
    gap_ = gap_ || !complete;
    std::reverse(found.begin(), found.end());
    return found;
  }
}

void LogReader::start_at_tail(uint64_t lines) {
  for (size_t i = files_.size(); i-- > 0;) {
    off_t offset = tail_offset(files_[i].fd.get(), lines);
    files_[i].offset = offset;
    if (offset > 0) {
      files_.erase(files_.begin(), files_.begin() + static_cast<ptrdiff_t>(i));
      return;
    }
  }
}

// Reads on into rest_; false at the end of what is written.
bool LogReader::fill() {
  bool moved_on = false;
  for (;;) {
    if (files_.empty()) {
      for (File& file : open_newer()) files_.push_back(std::move(file));
      if (files_.empty()) return false;
    }
    File& file = files_.front();
    size_t held = rest_.size();
    rest_.resize(held + block);
    ssize_t n = pread(file.fd.get(), rest_.data() + held, block, file.offset);
    rest_.resize(held + static_cast<size_t>(std::max<ssize_t>(n, 0)));
    check(n, "cannot read the log in '{}'", directory_);
    if (n > 0) {
      file.offset += n;
      return true;
    }
    if (files_.size() == 1) {
      for (File& newer : open_newer()) files_.push_back(std::move(newer));
      if (files_.size() == 1) return false;
      // The writer may have added to this file between our read and its rotation: read again before leaving
      // it.
      moved_on = false;
    }
    if (!moved_on) {
      moved_on = true;
      continue;
    }
    moved_on = false;
    files_.pop_front();
    if (!rest_.empty()) {  // the writer was killed within a record
      rest_ += '\n';
      return true;
    }
  }
}

std::vector<LogRecord> LogReader::next() {
  char events[4096];
  while (watch_ && read(watch_.get(), events, sizeof events) > 0) {
  }
  std::vector<LogRecord> records;
  while (records.empty() && fill()) {
    if (gap_) {
      gap_ = false;
      records.push_back({.time = {},
                         .stream = Stream::rayctl,
                         .text = "lines are missing here: the log was rotated faster than it was read"});
    }
    size_t start = 0;
    for (;;) {
      size_t end = rest_.find('\n', start);
      if (end == std::string::npos && rest_.size() - start <= longest_line) break;
      if (end == std::string::npos) end = rest_.size();
      std::string_view line = std::string_view(rest_).substr(start, end - start);
      auto record = parse_log_record(line);
      if (record) {
        if (!since_ || record->time >= *since_) records.push_back(std::move(*record));
      } else if (!line.empty() && !since_) {
        records.push_back({.time = {}, .stream = Stream::out, .text = std::string(line)});
      }
      start = std::min(end + 1, rest_.size());
    }
    rest_.erase(0, start);
  }
  return records;
}

}  // namespace rayctl::run
