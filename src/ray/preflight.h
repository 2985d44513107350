// What a node needs of its machine, looked at before anything is changed.
#pragma once

#include <string>
#include <vector>

namespace rayctl::ray {

// One thing that is missing, and what to do: "the kernel has no overlayfs: …".
std::vector<std::string> missing_features();

// Throws with all that is missing; not being root comes first.
void preflight();

}  // namespace rayctl::ray
