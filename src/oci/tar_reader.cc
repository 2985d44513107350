#include "oci/tar_reader.h"

#include <archive.h>
#include <archive_entry.h>

#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace rayctl::oci {

namespace {

constexpr size_t buffer_size = 1 << 20;
constexpr size_t most_xattrs = 1024;

TarReader::Blocks blocks_of(Source source) {
  return [source = std::move(source), buffer = std::make_shared<std::vector<std::byte>>(buffer_size)] {
    return Bytes(buffer->data(), source(*buffer));
  };
}

TarEntry::Type type_of(archive_entry* entry) {
  if (archive_entry_hardlink(entry)) return TarEntry::Type::hardlink;
  switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
      return TarEntry::Type::file;
    case AE_IFDIR:
      return TarEntry::Type::directory;
    case AE_IFLNK:
      return TarEntry::Type::symlink;
    case AE_IFCHR:
      return TarEntry::Type::character;
    case AE_IFBLK:
      return TarEntry::Type::block;
    case AE_IFIFO:
      return TarEntry::Type::fifo;
    default:
      return TarEntry::Type::other;
  }
}

std::string text(const char* found) {
  return found ? found : "";
}

uint32_t id(int64_t value, const char* what, const std::string& path) {
  if (value < 0 || value >= UINT32_MAX) throw Error("tar: '{}' has the {} {}", printable(path), what, value);
  return static_cast<uint32_t>(value);
}

}  // namespace

TarReader::TarReader(Source source) : TarReader(blocks_of(std::move(source))) {}

TarReader::TarReader(Blocks blocks) : blocks_(std::move(blocks)), archive_(archive_read_new()) {
  if (!archive_) throw Error("cannot read a tar archive: out of memory");
  archive_read_support_format_tar(archive_);
  archive_read_support_format_empty(archive_);
  // Names are bytes: without this a name in UTF-8 is "converted" to the C locale, and lost.
  archive_read_set_format_option(archive_, "tar", "hdrcharset", "BINARY");
  archive_read_set_read_callback(archive_, on_read);
  archive_read_set_callback_data(archive_, this);
  if (archive_read_open1(archive_) != ARCHIVE_OK) {
    std::string reason = text(archive_error_string(archive_));
    archive_read_free(archive_);
    if (error_) std::rethrow_exception(error_);
    throw Error("tar: {}", printable(reason));
  }
}

TarReader::~TarReader() {
  archive_read_free(archive_);
}

ssize_t TarReader::on_read(archive* a, void* self, const void** buffer) {
  auto* reader = static_cast<TarReader*>(self);
  try {
    Bytes bytes = reader->blocks_();
    *buffer = bytes.data();
    return static_cast<ssize_t>(bytes.size());
  } catch (...) {
    reader->error_ = std::current_exception();
    archive_set_error(a, EIO, "cannot read");
    return ARCHIVE_FATAL;
  }
}

void TarReader::fail() {
  if (error_) std::rethrow_exception(error_);
  throw Error("tar: {}", printable(text(archive_error_string(archive_))));
}

bool TarReader::next(TarEntry& entry) {
  int rc = archive_read_next_header(archive_, &entry_);
  if (rc == ARCHIVE_EOF) return false;
  if (rc == ARCHIVE_WARN) rc = ARCHIVE_OK;  // odd time stamps and the like; the fields are checked below
  if (rc != ARCHIVE_OK || error_) fail();

  const char* path = archive_entry_pathname(entry_);
  if (!path) throw Error("tar: a member has no name");
  entry.path = path;
  entry.type = type_of(entry_);
  entry.link = text(entry.type == TarEntry::Type::hardlink ? archive_entry_hardlink(entry_)
                                                           : archive_entry_symlink(entry_));
  entry.mode = archive_entry_perm(entry_) & 07777;
  entry.uid = id(archive_entry_uid(entry_), "user id", entry.path);
  entry.gid = id(archive_entry_gid(entry_), "group id", entry.path);
  entry.mtime = archive_entry_mtime(entry_);
  entry.mtime_nanoseconds = archive_entry_mtime_nsec(entry_);
  if (entry.mtime_nanoseconds < 0 || entry.mtime_nanoseconds > 999'999'999) entry.mtime_nanoseconds = 0;
  int64_t size = archive_entry_size(entry_);
  if (size < 0) throw Error("tar: '{}' has the size {}", printable(entry.path), size);
  entry.size = static_cast<uint64_t>(size);
  entry.device_major = static_cast<uint32_t>(archive_entry_rdevmajor(entry_));
  entry.device_minor = static_cast<uint32_t>(archive_entry_rdevminor(entry_));

  entry.xattrs.clear();
  if (static_cast<size_t>(archive_entry_xattr_reset(entry_)) > most_xattrs)
    throw Error("tar: '{}' has more than {} extended attributes", printable(entry.path), most_xattrs);
  const char* name;
  const void* value;
  size_t length;
  while (archive_entry_xattr_next(entry_, &name, &value, &length) == ARCHIVE_OK)
    if (name) entry.xattrs[name] = std::string(static_cast<const char*>(value), length);
  return true;
}

void TarReader::read(const std::function<void(uint64_t offset, Bytes)>& piece) {
  for (;;) {
    const void* buffer;
    size_t length;
    la_int64_t offset;
    int rc = archive_read_data_block(archive_, &buffer, &length, &offset);
    if (rc == ARCHIVE_EOF) return;
    if (rc != ARCHIVE_OK || error_ || offset < 0) fail();
    if (length > 0)
      piece(static_cast<uint64_t>(offset), Bytes(static_cast<const std::byte*>(buffer), length));
  }
}

}  // namespace rayctl::oci
