#include "oci/pack.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "oci/decompress.h"

namespace rayctl::oci {

namespace {

constexpr size_t block = 512;
constexpr size_t read_size = 1 << 20;
constexpr uint64_t largest_octal_id = 07777777;
constexpr uint64_t largest_octal_size = 077777777777;

// The ustar header (POSIX.1-2017, pax, "ustar Interchange Format").
struct Ustar {
  char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6],
      version[2], user[32], group[32], major[8], minor[8], prefix[155], unused[12];
};
static_assert(sizeof(Ustar) == block);

template <size_t N>
void put_octal(char (&field)[N], uint64_t value) {
  for (size_t i = N - 1; i-- > 0; value >>= 3) field[i] = static_cast<char>('0' + (value & 7));
}

template <size_t N>
void put_text(char (&field)[N], std::string_view text) {
  std::memcpy(field, text.data(), std::min(text.size(), N));
}

// "LENGTH KEY=VALUE\n", where LENGTH counts itself.
void append_record(std::string& records, std::string_view key, std::string_view value) {
  size_t fixed = key.size() + value.size() + 3, length = fixed + 1;
  while (length != fixed + std::to_string(length).size()) length = fixed + std::to_string(length).size();
  records += std::to_string(length);
  records.append(" ").append(key).append("=").append(value).append("\n");
}

std::string whiteout_name(const std::string& path) {
  size_t start = path.rfind('/') + 1;
  return path.substr(0, start) + ".wh." + path.substr(start);
}

// Whether `path` fits name and prefix; splits it at a '/'.
bool put_path(Ustar& header, std::string_view path) {
  if (path.size() <= sizeof header.name) {
    put_text(header.name, path);
    return true;
  }
  for (size_t slash = path.find('/'); slash != std::string_view::npos && slash <= sizeof header.prefix;
       slash = path.find('/', slash + 1)) {
    if (slash == 0 || path.size() - slash - 1 > sizeof header.name || slash + 1 == path.size()) continue;
    put_text(header.prefix, path.substr(0, slash));
    put_text(header.name, path.substr(slash + 1));
    return true;
  }
  put_text(header.name, path.substr(0, sizeof header.name));
  return false;
}

char type_of(const Change& change) {
  switch (change.kind) {
    case Change::Kind::directory:
      return '5';
    case Change::Kind::symlink:
      return '2';
    case Change::Kind::hardlink:
      return '1';
    case Change::Kind::device:
      return S_ISBLK(change.info.st_mode) ? '4' : '3';
    case Change::Kind::fifo:
      return '6';
    default:
      return '0';
  }
}

void seal(Ustar& header) {
  put_text(header.magic, std::string_view("ustar\0", 6));
  put_text(header.version, "00");
  std::memset(header.checksum, ' ', sizeof header.checksum);
  unsigned sum = 0;
  for (unsigned char byte :
       std::array<unsigned char, block>(std::bit_cast<std::array<unsigned char, block>>(header)))
    sum += byte;
  char text[8];
  std::snprintf(text, sizeof text, "%06o", sum);
  std::memcpy(header.checksum, text, 7);  // six digits, NUL, and the blank that is there
}

Bytes bytes_of(const Ustar& header) {
  return std::as_bytes(std::span(&header, 1));
}

}  // namespace

void TarWriter::padding(uint64_t size) {
  static constexpr std::array<std::byte, block> zeros{};
  if (size_t rest = size % block) sink_(Bytes(zeros).first(block - rest));
}

void TarWriter::header(const Change& change) {
  std::string path = change.kind == Change::Kind::whiteout ? whiteout_name(change.path) : change.path;
  if (change.kind == Change::Kind::directory) path += '/';
  bool is_file = change.kind == Change::Kind::file;
  uint64_t size = is_file ? static_cast<uint64_t>(change.info.st_size) : 0;
  int64_t mtime = change.kind == Change::Kind::whiteout ? 0 : change.info.st_mtim.tv_sec;
  if (latest_) mtime = std::min(mtime, *latest_);

  std::string records;
  Ustar header{};
  header.type = type_of(change);
  for (const auto& [key, value] : change.attributes) append_record(records, "SCHILY.xattr." + key, value);
  uint64_t uid = change.info.st_uid, gid = change.info.st_gid;
  if (gid > largest_octal_id) append_record(records, "gid", std::to_string(gid));
  put_octal(header.gid, gid > largest_octal_id ? 0 : gid);
  if (!change.link.empty()) {
    put_text(header.link, change.link);
    if (change.link.size() > sizeof header.link) append_record(records, "linkpath", change.link);
  }
  bool odd_time = mtime < 0 || static_cast<uint64_t>(mtime) > largest_octal_size;
  if (odd_time) append_record(records, "mtime", std::to_string(mtime));
  put_octal(header.mtime, odd_time ? 0 : static_cast<uint64_t>(mtime));
  if (!put_path(header, path)) append_record(records, "path", path);
  if (size > largest_octal_size) append_record(records, "size", std::to_string(size));
  put_octal(header.size, size > largest_octal_size ? 0 : size);
  if (uid > largest_octal_id) append_record(records, "uid", std::to_string(uid));
  put_octal(header.uid, uid > largest_octal_id ? 0 : uid);
  put_octal(header.mode, change.kind == Change::Kind::symlink ? 0777 : change.info.st_mode & 07777);
  if (change.kind == Change::Kind::device) {
    put_octal(header.major, major(change.info.st_rdev));
    put_octal(header.minor, minor(change.info.st_rdev));
  }
  seal(header);

  if (!records.empty()) {
    Ustar extended{};
    std::string name = path.substr(0, path.size() - (path.back() == '/'));
    put_text(extended.name,
             ("PaxHeaders/" + name.substr(name.rfind('/') + 1)).substr(0, sizeof extended.name));
    extended.type = 'x';
    put_octal(extended.mode, 0644);
    put_octal(extended.uid, 0);
    put_octal(extended.gid, 0);
    put_octal(extended.mtime, 0);
    put_octal(extended.size, records.size());
    seal(extended);
    sink_(bytes_of(extended));
    sink_(as_bytes(records));
    padding(records.size());
  }
  sink_(bytes_of(header));
}

void TarWriter::finish() {
  static constexpr std::array<std::byte, 2 * block> zeros{};
  sink_(zeros);
}

namespace {

void pack_file(TarWriter& tar, int upper, const Change& change, const PackOptions& options,
               std::string& buffer) {
  Fd fd{check(openat(upper, change.path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC), "cannot open '/{}'",
              change.path)};
  uint64_t left = static_cast<uint64_t>(change.info.st_size);
  if (left > read_size) posix_fadvise(fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  do {
    size_t want = static_cast<size_t>(std::min<uint64_t>(left, read_size));
    ssize_t n = want == 0 ? 0 : read(fd.get(), buffer.data(), want);
    if (n < 0 && errno == EINTR) continue;
    check(n, "cannot read '/{}'", change.path);
    if (n == 0 && left > 0) throw Error("cannot pack '/{}': it shrank while it was read", change.path);
    Bytes piece = as_bytes(std::string_view(buffer).substr(0, static_cast<size_t>(n)));
    left -= static_cast<size_t>(n);
    if (options.inspect) options.inspect(change.path, piece, left == 0);
    tar.content(piece);
    if (options.progress) options.progress(piece.size());
    if (options.poll) options.poll();
  } while (left > 0);
  tar.padding(static_cast<uint64_t>(change.info.st_size));
}

}  // namespace

std::optional<PackedLayer> pack_layer(Store& store, int upper, MergedView& below,
                                      const PackOptions& options) {
  std::vector<Change> changes = find_changes(upper, below);
  if (changes.empty()) return std::nullopt;
  PackedLayer layer;
  for (const Change& change : changes)
    if (change.kind == Change::Kind::file) layer.file_bytes += static_cast<uint64_t>(change.info.st_size);
  if (options.begin) options.begin(layer.file_bytes);
  BlobWriter blob = store.write_new();
  Compressor compressor(options.compression, [&](Bytes bytes) { blob.write(bytes); });
  Hasher hasher;
  TarWriter tar(
      [&](Bytes bytes) {
        hasher.add(bytes);
        compressor.write(bytes);
        layer.tar_size += bytes.size();
      },
      options.latest_mtime);
  std::string buffer(read_size, '\0');
  for (const Change& change : changes) {
    tar.header(change);
    ++layer.entries;
    if (change.kind != Change::Kind::file) continue;
    pack_file(tar, upper, change, options, buffer);
  }
  tar.finish();
  compressor.finish();
  layer.diff_id = hasher.finish();
  layer.blob = blob.commit(layer_type(options.compression));
  return layer;
}

Descriptor recompress(Store& store, const Descriptor& blob, const Digest& diff_id, Compression compression) {
  Fd fd = store.open(blob);
  // our own bytes: a file of zeros is no bomb
  Source plain = decompress(read_from(fd.get(), blob.digest.string()), {.free_output = UINT64_MAX});
  BlobWriter out = store.write_new();
  Compressor compressor(compression, [&](Bytes bytes) { out.write(bytes); });
  Hasher hasher(diff_id.algorithm());
  copy(
      plain,
      [&](Bytes bytes) {
        hasher.add(bytes);
        compressor.write(bytes);
      },
      read_size);
  compressor.finish();
  if (Digest found = hasher.finish(); found != diff_id)
    throw Error("cannot compress layer '{}' anew: its content is {}, not {}", blob.digest.string(),
                found.string(), diff_id.string());
  return out.commit(layer_type(compression));
}

}  // namespace rayctl::oci
