// Images outside the store, as skopeo writes them: a registry, `oci:DIR[:NAME]`, `oci-archive:FILE[:NAME]`.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/file.h"
#include "oci/reference.h"
#include "oci/store.h"

namespace rayctl::oci {

struct Location {
  enum class Kind { registry, layout, archive };
  Kind kind = Kind::registry;
  Reference reference = {};  // of a registry
  std::string path = {}, name = {};
};

// "docker://" may stand in front of a registry's reference.
Location parse_location(std::string_view text);
bool is_layout_location(std::string_view text);  // begins with oci: or oci-archive:

// An archive is a tar of a layout. Reading unpacks it into a temporary directory below `work`.
class LayoutReader {
 public:
  LayoutReader(const Location& location, const std::string& work);
  ~LayoutReader();
  const Store& layout() const { return *layout_; }

 private:
  std::unique_ptr<TempDir> temporary_;
  std::unique_ptr<Store> layout_;
};

// Writes the image to a layout (added to what is there) or an archive (replaced).
void write_layout(const Location& location, const Store& from, const Descriptor& descriptor,
                  const std::string& work);

}  // namespace rayctl::oci
