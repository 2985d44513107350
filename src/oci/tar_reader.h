// Reads tar archives (ustar, pax, GNU, sparse): libarchive parses, nothing of it touches the disk.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/io.h"

struct archive;
struct archive_entry;

namespace rayctl::oci {

// One member, as the archive says: every field is hostile.
struct TarEntry {
  enum class Type { file, directory, symlink, hardlink, character, block, fifo, other };
  Type type = Type::other;
  std::string path = {};  // not normalised
  std::string link = {};  // target of a symlink or hard link
  uint32_t mode = 0;      // permission bits and setuid, setgid, sticky
  uint32_t uid = 0, gid = 0;
  int64_t mtime = 0;
  long mtime_nanoseconds = 0;
  uint64_t size = 0;
  uint32_t device_major = 0, device_minor = 0;
  std::map<std::string, std::string> xattrs = {};
};

class TarReader {
 public:
  // The next piece of the archive, valid until the next call; empty = the end.
  using Blocks = std::function<Bytes()>;
  explicit TarReader(Blocks blocks);
  explicit TarReader(Source source);
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;
  ~TarReader();

  // False at the end of the archive. The data of the entry before is skipped.
  bool next(TarEntry& entry);
  // The data of the current entry: pieces in order, with holes between them when it is sparse.
  void read(const std::function<void(uint64_t offset, Bytes)>& piece);

 private:
  static ssize_t on_read(archive*, void* self, const void** buffer);
  [[noreturn]] void fail();

  Blocks blocks_;
  std::exception_ptr error_;  // of blocks_, carried across libarchive's C frames
  archive* archive_;
  archive_entry* entry_ = nullptr;
};

}  // namespace rayctl::oci
