#include "cluster/journal.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"

namespace rayctl::cluster {

namespace {

constexpr std::string_view magic = "rctljnl1";
constexpr size_t head_size = 8;
constexpr size_t max_file_size = 256 << 20;
constexpr size_t compaction_floor = 1 << 20;

constexpr std::array<uint32_t, 256> crc_table = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0xedb88320U : 0);
    table[i] = value;
  }
  return table;
}();

// CRC-32 of IEEE 802.3, over the length too: a block of zeros is no record.
uint32_t crc(std::string_view bytes) {
  uint32_t value = ~0U;
  for (unsigned char byte : bytes) value = crc_table[(value ^ byte) & 255] ^ (value >> 8);
  return ~value;
}

void put(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>((value >> shift) & 255);
}

uint32_t take(std::string_view bytes) {
  uint32_t value = 0;
  for (unsigned char byte : bytes.substr(0, 4)) value = (value << 8) | byte;
  return value;
}

void append_record(std::string& out, std::string_view record) {
  if (record.empty() || record.size() > max_record_size)
    throw Error("cannot write a journal record of {} bytes", record.size());
  std::string length;
  put(length, static_cast<uint32_t>(record.size()));
  out += length;
  put(out, crc(length + std::string(record)));
  out += record;
}

bool all_zero(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0; });
}

}  // namespace

ParsedRecords parse_records(std::string_view bytes, const std::string& name) {
  ParsedRecords parsed;
  if (bytes.size() < magic.size()) {
    // The file was being created when the machine stopped.
    parsed.torn = !bytes.empty();
    if (bytes != magic.substr(0, bytes.size()) && !all_zero(bytes))
      throw Error("cannot read '{}': it isn't a journal", name);
    return parsed;
  }
  if (bytes.substr(0, magic.size()) != magic) {
    if (!all_zero(bytes)) throw Error("cannot read '{}': it isn't a journal", name);
    parsed.torn = true;
    return parsed;
  }
  size_t at = parsed.good = magic.size();
  while (at < bytes.size()) {
    std::string_view rest = bytes.substr(at);
    size_t size = rest.size() < head_size ? 0 : take(rest);
    bool whole = size > 0 && size <= max_record_size && rest.size() - head_size >= size;
    if (whole) {
      std::string_view record = rest.substr(head_size, size);
      if (crc(std::string(rest.substr(0, 4)) + std::string(record)) == take(rest.substr(4))) {
        parsed.records.emplace_back(record);
        at = parsed.good = at + head_size + size;
        continue;
      }
      // The last record, half written: its promise was never given. Zeros behind it: a block that never
      // reached the disk.
      if (std::string_view behind = rest.substr(head_size + size); !all_zero(behind))
        throw Error(
            "cannot read '{}': the record at byte {} is damaged, and others follow it (restore the directory "
            "from "
            "a backup, or give the cluster up with: rayctl node reset)",
            name, at);
    }
    // An append leaves a prefix of itself, or zeros where its block never arrived; never another length.
    if (rest.size() >= head_size && (size == 0 || size > max_record_size) && !all_zero(rest))
      throw Error(
          "cannot read '{}': the record at byte {} is damaged (restore the directory from a backup, or give "
          "the "
          "cluster up with: rayctl node reset)",
          name, at);
    parsed.torn = true;
    return parsed;
  }
  return parsed;
}

std::string Journal::path(uint64_t generation) const {
  return join(directory_, fmt::format("journal.{}", generation));
}

Journal::Journal(const std::string& directory, const std::function<void(std::string_view)>& load,
                 const std::function<void(std::string_view)>& replay)
    : directory_(directory) {
  std::string snapshot_path = join(directory_, "snapshot");
  if (auto bytes = read_file_if_exists(snapshot_path, max_file_size)) {
    ParsedRecords parsed = parse_records(*bytes, snapshot_path);
    // Replaced by rename after an fsync: a torn one is no crash's doing.
    if (parsed.torn || parsed.records.size() != 2)
      throw Error("cannot read '{}': it is damaged", snapshot_path);
    const std::string& number = parsed.records[0];
    auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), generation_);
    if (error != std::errc() || end != number.data() + number.size())
      throw Error("cannot read '{}': it is damaged", snapshot_path);
    snapshot_size_ = parsed.records[1].size();
    load(parsed.records[1]);
  }
  std::string log_path = path(generation_);
  std::string bytes = read_file_if_exists(log_path, max_file_size).value_or("");
  ParsedRecords parsed = parse_records(bytes, log_path);
  for (const std::string& record : parsed.records) replay(record);
  log_ = open_file(log_path, O_RDWR | O_CREAT, 0600);
  if (parsed.torn) {
    warn(
        "'{}' ended within a record: the machine stopped while it was written, nothing that was confirmed is "
        "lost",
        log_path);
    check(ftruncate(log_.get(), static_cast<off_t>(parsed.good)), "cannot shorten '{}'", log_path);
  }
  log_size_ = parsed.good;
  if (log_size_ == 0) buffer_ = magic;
  check(lseek(log_.get(), static_cast<off_t>(log_size_), SEEK_SET), "cannot seek in '{}'", log_path);
  if (!buffer_.empty() || parsed.torn) {
    commit();
    sync_directory(directory_);
  }
  // Logs of other generations: left behind by a crash in compact().
  for (const std::string& name : list_directory(directory_))
    if (name.substr(0, 8) == "journal." && join(directory_, name) != log_path)
      unlink(join(directory_, name).c_str());
}

void Journal::append(std::string_view record) {
  append_record(buffer_, record);
}

void Journal::commit() {
  if (broken_)
    throw Error("cannot write '{}': an earlier write failed (restart rayctl node)", path(generation_));
  // After a failed write or fsync nobody knows what is on the disk: trying again would only seem to work.
  broken_ = true;
  write_fd(log_.get(), buffer_, path(generation_));
  check(fdatasync(log_.get()), "cannot write '{}' to the disk", path(generation_));
  broken_ = false;
  log_size_ += buffer_.size();
  buffer_.clear();
}

bool Journal::wants_compaction() const {
  return log_size_ > std::max(compaction_floor, 2 * snapshot_size_);
}

void Journal::compact(std::string_view snapshot) {
  commit();
  uint64_t next = generation_ + 1;
  std::string bytes(magic);
  append_record(bytes, std::to_string(next));
  append_record(bytes, snapshot);
  // First the new, empty log; then the snapshot that makes it the valid one; the old log is garbage from then
  // on.
  Fd log = open_file(path(next), O_RDWR | O_CREAT | O_TRUNC, 0600);
  write_fd(log.get(), magic, path(next));
  check(fdatasync(log.get()), "cannot write '{}' to the disk", path(next));
  replace_file(join(directory_, "snapshot"), bytes, 0600);
  unlink(path(generation_).c_str());
  generation_ = next;
  log_ = std::move(log);
  log_size_ = magic.size();
  snapshot_size_ = snapshot.size();
}

}  // namespace rayctl::cluster
