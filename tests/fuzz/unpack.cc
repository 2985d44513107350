// Any archive, written below a directory: nothing beside that directory ever appears or changes.
#include "oci/unpack.h"

#include <cstdint>
#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "oci/layer_merge.h"

using namespace rayctl;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool quiet = (set_log({.level = Level::error}), true);
  (void)quiet;
  TempDir dir;
  std::string root = join(dir.path(), "root"), victim = join(dir.path(), "victim");
  make_directories(root);
  make_directories(join(victim, "d"));
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (int layer = 0; layer < 2; ++layer) {
    try {
      oci::TarReader tar(read_from(bytes.substr(layer == 0 ? 0 : bytes.size() / 2 / 512 * 512)));
      Fd fd = open_directory(root);
      oci::UnpackOptions options{
          .ownership = oci::Ownership::keep, .most_entries = 1000, .most_bytes = 1 << 22};
      oci::Unpacked unpacked = oci::unpack(tar, fd.get(), options);
      oci::MergedView below({victim}, oci::Ownership::keep);
      oci::finish_layer(unpacked, fd.get(), below, oci::Ownership::keep);
    } catch (const Error&) {
    }
  }
  if (list_directory(dir.path()) != std::vector<std::string>{"root", "victim"}) abort();
  if (list_directory(victim) != std::vector<std::string>{"d"} || !list_directory(join(victim, "d")).empty())
    abort();
  return 0;
}
