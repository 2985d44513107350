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
  std::string name = {};  // what the layout calls the image; empty: the tags of its names
};

// "oci:DIR[:NAME]", "oci-archive:FILE[:NAME]", as skopeo writes them
BuildOutput parse_output(std::string_view text);

// Writes the image with its blobs, called by the output's name or by the tags of `names`. A directory that is
// an image layout already gets it in addition; an archive is replaced at once, and its bytes depend on the
// image and the names alone.
void write_output(const Store& store, const Image& image, const std::vector<std::string>& names,
                  const BuildOutput& output);

}  // namespace rayctl::oci
