// Images as files: an OCI layout in a directory or in one archive.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "oci/image.h"
#include "oci/store.h"

namespace rayctl::oci {

struct BuildOutput {
  enum class Kind { directory, archive };
  Kind kind = Kind::directory;
  std::string path;
};

BuildOutput parse_output(std::string_view text);  // "oci:DIR", "oci-archive:FILE"

// Writes the image with its blobs, named by the tags of `names`. A directory that is an image layout already
// gets it in addition; an archive is replaced at once, and its bytes depend on the image and the names alone.
void write_output(const Store& store, const Image& image, const std::vector<std::string>& names,
                  const BuildOutput& output);

}  // namespace rayctl::oci
