// The blocking steps of a unit's life, for the pool: image, container directory, start.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/paths.h"
#include "oci/config.h"
#include "oci/store.h"
#include "ray/image_access.h"
#include "ray/node_config.h"
#include "ray/unit_record.h"

namespace rayctl::ray {

// An image that is here and unpacked.
struct ReadyImage {
  oci::ImageConfig config;
  std::vector<std::string> lowerdirs;      // bottom first
  oci::Hold needed;                        // what keeps it in the store
  std::shared_ptr<oci::StoreLock> in_use;  // until a container holds it
};

// The image by its name: from the store when it is there, else pulled. "head:NAME" is the head's: there it
// must be in the store, elsewhere it is fetched from the head, which is asked each time for what NAME is now.
// `progress` hears of whole percents, from other threads; `cancel`, set by one, ends what a registry is
// asked. Throws with the registry's or the head's reason.
ReadyImage ready_image(const Paths& paths, const NodeConfig& config, const std::string& name,
                       ImageAccess& access, const std::function<void(int percent)>& progress,
                       const std::atomic<bool>& cancel);

// What the cluster says of this node's Ray, and what identifies the container.
struct UnitPlace {
  NodeConfig config;
  RayNode ray;
  std::optional<PlainContainer> plain = {};  // not Ray's
  std::string unit;                          // UnitRecord::unit
  std::string name = "ray";                  // of the container on its node
  std::string node_name;                     // "ray-wk-0"
  std::string image;                         // as named
  std::string ray_token;
  std::string key;     // unit_key()
  std::string cgroup;  // parent of the container's, e.g. "/rayctl/1a2b3c"
  std::string sealed_binary;
  bool shares_network = false;  // with the machine: no overlay
};

// Makes the container's directory with everything in it; nothing runs yet. Half-made ones are removed.
UnitRecord make_unit(const Paths& paths, const UnitPlace& place, const ReadyImage& image);

// Whether the image's own PATH has an executable `run`.
bool image_has_run(const ReadyImage& image);

}  // namespace rayctl::ray
