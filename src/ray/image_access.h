// Where a node's images come from besides what its flags say: the head's store, and the logins that an
// operator gave the cluster.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/paths.h"
#include "oci/auth.h"
#include "oci/image_source.h"
#include "ray/node_control.h"

namespace rayctl::ray {

struct RegistryAccess {
  std::optional<oci::Credentials> credentials = {};
  std::string ca = {};  // PEM
};

// Used by threads of the pool: its calls block, but never for long once stop() was called.
class ImageAccess {
 public:
  virtual ~ImageAccess() = default;
  virtual void stop() = 0;
  // The head's images by name. Null on the head itself: there they are in the store.
  virtual std::unique_ptr<oci::ImageSource> head_images() = 0;
  virtual RegistryAccess registry(const std::string& host) = 0;
};

// `control` returns the node's tie to its cluster, from the loop's thread.
std::shared_ptr<ImageAccess> head_image_access(const Paths& paths);
std::shared_ptr<ImageAccess> worker_image_access(boost::asio::io_context& io,
                                                 std::function<NodeControl&()> control);

}  // namespace rayctl::ray
