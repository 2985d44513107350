#include "cloud/local_seed.h"

#include <algorithm>
#include <cstdint>

#include "base/error.h"

namespace rayctl::cloud {

namespace {

constexpr size_t sector = 2048;
constexpr uint32_t first_descriptor = 16;  // what stands before is for boot loaders
constexpr uint32_t little_table = 18, big_table = 19,
                   root = 20;  // sectors of the path tables and the directory

uint32_t sectors(size_t bytes) {
  return static_cast<uint32_t>((bytes + sector - 1) / sector);
}

void put_little(std::string& out, uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
}
void put_big(std::string& out, uint32_t value, int bytes) {
  for (int i = bytes; i-- > 0;) out += static_cast<char>(value >> (8 * i));
}
void put_both(std::string& out, uint32_t value, int bytes) {  // 7.2.3, 7.3.3
  put_little(out, value, bytes);
  put_big(out, value, bytes);
}
void put_text(std::string& out, std::string text, size_t width) {
  text.resize(width, ' ');
  out += text;
}
void pad(std::string& out, size_t multiple = sector) {
  out.resize((out.size() + multiple - 1) / multiple * multiple, '\0');
}

// 9.1; the date is always 2026-01-01, the owner nobody in particular.
std::string directory_record(std::string_view name, uint32_t at, size_t size, bool directory) {
  std::string record;
  record += '\0';  // its length, at the end
  record += '\0';
  put_both(record, at, 4);
  put_both(record, static_cast<uint32_t>(size), 4);
  record += std::string{126, 1, 1, 0, 0, 0, 0};
  record += static_cast<char>(directory ? 2 : 0);
  record += std::string(2, '\0');
  put_both(record, 1, 2);
  record += static_cast<char>(name.size());
  record += name;
  pad(record, 2);
  record[0] = static_cast<char>(record.size());
  return record;
}

std::string volume_descriptor(uint32_t total) {  // 8.4
  std::string d("\1CD001\1\0", 8);
  put_text(d, "LINUX", 32);
  put_text(d, "cidata", 32);
  d += std::string(8, '\0');
  put_both(d, total, 4);
  d += std::string(32, '\0');
  put_both(d, 1, 2);  // volumes in the set
  put_both(d, 1, 2);  // this one
  put_both(d, sector, 2);
  put_both(d, 10, 4);  // bytes of a path table
  put_little(d, little_table, 4);
  put_little(d, 0, 4);
  put_big(d, big_table, 4);
  put_big(d, 0, 4);
  d += directory_record(std::string_view("\0", 1), root, sector, true);
  for (size_t width : {128, 128, 128, 128, 37, 37, 37}) put_text(d, "", width);
  for (int i = 0; i < 4; ++i) d += std::string(16, '0') + '\0';  // no dates
  d += '\1';
  pad(d);
  return d;
}

std::string path_table(bool big) {  // 9.4: the root alone
  std::string t("\1\0", 2);
  big ? put_big(t, root, 4) : put_little(t, root, 4);
  big ? put_big(t, 1, 2) : put_little(t, 1, 2);
  t += std::string(2, '\0');
  pad(t);
  return t;
}

}  // namespace

std::string seed_image(const std::vector<SeedFile>& unsorted) {
  std::vector<SeedFile> files = unsorted;
  std::sort(files.begin(), files.end(), [](const SeedFile& a, const SeedFile& b) { return a.name < b.name; });
  std::string directory = directory_record(std::string_view("\0", 1), root, sector, true) +
                          directory_record(std::string_view("\1", 1), root, sector, true);
  uint32_t at = root + 1;
  for (const SeedFile& file : files) {
    directory += directory_record(file.name + ";1", at, file.text.size(), false);
    at += sectors(file.text.size());
  }
  if (directory.size() > sector) throw Error("cannot write a seed disk: {} files are too many", files.size());
  pad(directory);

  std::string image(first_descriptor * sector, '\0');
  image += volume_descriptor(at);
  std::string end("\377CD001\1", 7);
  pad(end);
  image += end + path_table(false) + path_table(true) + directory;
  for (const SeedFile& file : files) {
    image += file.text;
    pad(image);
  }
  return image;
}

}  // namespace rayctl::cloud
