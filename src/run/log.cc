#include "run/log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "base/error.h"
#include "base/file.h"

namespace rayctl::run {

namespace {

// Longer lines are cut into parts: a reader never needs more memory than this for one record.
constexpr size_t max_text = 16 << 10;
constexpr size_t longest_record = max_text + 64;
constexpr size_t flush_size = 32 << 10;
constexpr uint64_t smallest_file = 64 << 10;

const char* word(Stream stream) {
  switch (stream) {
    case Stream::out:
      return "stdout";
    case Stream::err:
      return "stderr";
    case Stream::rayctl:
      return "rayctl";
  }
  return "rayctl";
}

// The number of exactly `count` digits at the front of `text`, which is removed; -1 when they aren't there.
int64_t take_digits(std::string_view& text, size_t count) {
  if (text.size() < count) return -1;
  int64_t value = 0;
  for (size_t i = 0; i < count; ++i) {
    if (text[i] < '0' || text[i] > '9') return -1;
    value = value * 10 + (text[i] - '0');
  }
  text.remove_prefix(count);
  return value;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text[0] != c) return false;
  text.remove_prefix(1);
  return true;
}

LogTime now() {
  return std::chrono::time_point_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now());
}

}  // namespace

std::string format_time(LogTime time) {
  auto days = std::chrono::floor<std::chrono::days>(time);
  std::chrono::year_month_day date{days};
  std::chrono::hh_mm_ss clock{time - days};
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                     clock.subseconds().count());
}

std::optional<LogTime> parse_time(std::string_view text) {
  int64_t year = take_digits(text, 4);
  if (year < 1970 || year > 2261 || !take(text, '-'))
    return std::nullopt;  // what nanoseconds in 64 bits can hold
  int64_t month = take_digits(text, 2);
  if (!take(text, '-')) return std::nullopt;
  int64_t day = take_digits(text, 2);
  if (!take(text, 'T') && !take(text, 't') && !take(text, ' ')) return std::nullopt;
  int64_t hour = take_digits(text, 2);
  if (!take(text, ':')) return std::nullopt;
  int64_t minute = take_digits(text, 2);
  if (!take(text, ':')) return std::nullopt;
  int64_t second = take_digits(text, 2);
  std::chrono::year_month_day date{std::chrono::year(static_cast<int>(year)),
                                   std::chrono::month(static_cast<unsigned>(month)),
                                   std::chrono::day(static_cast<unsigned>(day))};
  if (month < 0 || day < 0 || !date.ok() || hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
      second < 0 || second > 60)
    return std::nullopt;
  int64_t nanoseconds = 0;
  if (take(text, '.')) {
    size_t digits = 0;
    for (; digits < text.size() && text[digits] >= '0' && text[digits] <= '9'; ++digits)
      if (digits < 9) nanoseconds = nanoseconds * 10 + (text[digits] - '0');
    if (digits == 0) return std::nullopt;
    for (size_t i = digits; i < 9; ++i) nanoseconds *= 10;
    text.remove_prefix(digits);
  }
  std::chrono::minutes offset{0};
  if (!take(text, 'Z') && !take(text, 'z')) {
    int sign = take(text, '+') ? 1 : take(text, '-') ? -1 : 0;
    int64_t hours = sign ? take_digits(text, 2) : -1;
    int64_t minutes = hours >= 0 && take(text, ':') ? take_digits(text, 2) : -1;
    if (hours > 23 || minutes < 0 || minutes > 59) return std::nullopt;
    offset = std::chrono::minutes(sign * (hours * 60 + minutes));
  }
  if (!text.empty()) return std::nullopt;
  return std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) - offset +
         std::chrono::seconds(second) + std::chrono::nanoseconds(nanoseconds);
}

std::optional<LogRecord> parse_log_record(std::string_view line) {
  size_t space = line.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  auto time = parse_time(line.substr(0, space));
  if (!time) return std::nullopt;
  line.remove_prefix(space + 1);
  LogRecord record{.time = *time};
  bool known = false;
  for (Stream stream : {Stream::out, Stream::err, Stream::rayctl}) {
    std::string_view name = word(stream);
    if (line.size() > name.size() && line.substr(0, name.size()) == name && line[name.size()] == ' ') {
      record.stream = stream;
      line.remove_prefix(name.size() + 1);
      known = true;
      break;
    }
  }
  if (!known || line.size() < 2 || (line[0] != 'F' && line[0] != 'P') || line[1] != ' ') return std::nullopt;
  record.partial = line[0] == 'P';
  record.text = line.substr(2);
  return record;
}

LogWriter::LogWriter(std::string directory, const LogLimits& limits)
    : directory_(std::move(directory)), limits_(limits) {
  limits_.max_size = std::max<uint64_t>(limits_.max_size, smallest_file);
  limits_.max_files = std::max(limits_.max_files, 2u);
  buffer_.reserve(flush_size + max_text + 256);
  open();
}

void LogWriter::open() {
  std::string path = join(directory_, log_name);
  // A symbolic link here would be somebody else's doing.
  file_ = open_file(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW, 0640);
  struct stat info;
  check(fstat(file_.get(), &info), "cannot stat '{}'", path);
  size_ = static_cast<uint64_t>(info.st_size);
  char last = '\n';
  if (size_ > 0 && pread(file_.get(), &last, 1, info.st_size - 1) == 1 && last != '\n') {
    // A former writer was killed within a record.
    write_fd(file_.get(), "\n", path);
    ++size_;
  }
}

void LogWriter::stamp() {
  time_ = format_time(now());
}

void LogWriter::append(Stream stream, char tag, std::string_view text) {
  buffer_ += time_;
  buffer_ += ' ';
  buffer_ += word(stream);
  buffer_ += ' ';
  buffer_ += tag;
  buffer_ += ' ';
  buffer_ += text;
  buffer_ += '\n';
  open_line_[static_cast<int>(stream)] = tag == 'P';
  // Lines are kept whole: the file ends with the first complete one near its limit.
  bool complete = std::none_of(std::begin(open_line_), std::end(open_line_), [](bool open) { return open; });
  bool full = complete && (rotation_due_ ? 0 : size_) + buffer_.size() + longest_record >= limits_.max_size;
  if (full || buffer_.size() >= flush_size) flush();
  rotation_due_ = rotation_due_ || full;
}

void LogWriter::write(Stream stream, std::string_view bytes) noexcept {
  try {
    stamp();
    while (!bytes.empty()) {
      const void* found = std::memchr(bytes.data(), '\n', std::min(bytes.size(), max_text));
      if (found) {
        size_t length = static_cast<size_t>(static_cast<const char*>(found) - bytes.data());
        append(stream, 'F', bytes.substr(0, length));
        bytes.remove_prefix(length + 1);
      } else {
        size_t length = std::min(bytes.size(), max_text);
        append(stream, 'P', bytes.substr(0, length));
        bytes.remove_prefix(length);
      }
    }
    flush();
  } catch (const std::exception&) {  // out of memory: the container goes on
    lost_ += bytes.size();
    buffer_.clear();
  }
}

void LogWriter::note(std::string_view text) noexcept {
  try {
    stamp();
    append(Stream::rayctl, 'F', text.substr(0, max_text));
    flush();
  } catch (const std::exception&) {  // as above
    buffer_.clear();
  }
}

void LogWriter::flush() {
  if (buffer_.empty()) return;
  if (lost_ > 0) {
    std::string report = fmt::format("{} {} F {} bytes of the log were lost: {}\n", time_,
                                     word(Stream::rayctl), lost_, SysError::describe(lost_reason_));
    buffer_.insert(0, report);
  }
  if (size_ > 0 && (rotation_due_ || size_ + buffer_.size() > limits_.max_size)) rotate();
  std::string_view left = buffer_;
  bool written = static_cast<bool>(file_);
  while (written && !left.empty()) {
    ssize_t n = ::write(file_.get(), left.data(), left.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      lost_reason_ = n < 0 ? errno : ENOSPC;
      written = false;
    } else {
      left.remove_prefix(static_cast<size_t>(n));
    }
  }
  if (written) {
    size_ += buffer_.size();
    lost_ = 0;
  } else {
    // Not half a record: what fitted is taken back. The file is asked for its size: somebody may have emptied
    // it.
    struct stat info;
    size_t fitted = buffer_.size() - left.size();
    if (file_ && fitted > 0 && fstat(file_.get(), &info) == 0)
      (void)!ftruncate(file_.get(), std::max<off_t>(0, info.st_size - static_cast<off_t>(fitted)));
    size_ = file_ && fstat(file_.get(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
    lost_ += buffer_.size();
  }
  buffer_.clear();
}

void LogWriter::rotate() {
  rotation_due_ = false;
  auto name = [&](unsigned number) {
    std::string path = join(directory_, log_name);
    return number ? fmt::format("{}.{}", path, number) : path;
  };
  unlink(name(limits_.max_files - 1).c_str());
  for (unsigned number = limits_.max_files - 1; number > 0; --number)
    rename(name(number - 1).c_str(), name(number).c_str());
  Fd old = std::move(file_);
  size_ = 0;
  try {
    open();
  } catch (const SysError& e) {
    // Out of inodes or descriptors: the old file, under its new name, takes more than its share.
    lost_reason_ = e.code();
    file_ = std::move(old);
    rename(name(1).c_str(), name(0).c_str());
    struct stat info;
    size_ = fstat(file_.get(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
  }
}

void LogWriter::sync() noexcept {
  if (file_) fdatasync(file_.get());
}

}  // namespace rayctl::run
