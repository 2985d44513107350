// What a layer's archive leaves to the layers below it: parent directories it doesn't list, and hard links to
// their files.
#pragma once

#include "oci/build_view.h"
#include "oci/unpack.h"

namespace rayctl::oci {

// Call it when all layers below are there, before the layer is committed. A link to nothing is an error.
void finish_layer(const Unpacked& unpacked, int root, MergedView& below,
                  Ownership ownership = Ownership::apply);

}  // namespace rayctl::oci
