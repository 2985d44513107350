// What a layer's archive leaves to the layers below it: parent directories it doesn't list, and hard links to
// their files.
#pragma once

#include <sys/stat.h>

#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "oci/unpack.h"

namespace rayctl::oci {

// Unpacked layers as overlayfs shows them, without mounting them.
class LowerView {
 public:
  explicit LowerView(const std::vector<std::string>& lowerdirs);  // bottom first

  struct Found {
    Fd parent;  // O_PATH, in the layer that provides the entry
    std::string name;
    struct stat info;
  };
  // Follows no symlink, neither on the way nor at the end. No parts: empty.
  std::optional<Found> find(const std::vector<std::string>& parts) const;
  // The parts with every symlink on the way resolved; what is missing stays as it is.
  std::vector<std::string> resolve(const std::vector<std::string>& parts) const;

 private:
  std::vector<Fd> roots_;  // top first
};

// Call it when all layers below are there, before the layer is committed. A link to nothing is an error.
void finish_layer(const Unpacked& unpacked, int root, const LowerView& below,
                  Ownership ownership = Ownership::apply);

}  // namespace rayctl::oci
