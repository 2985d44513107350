// The head as a registry for its own cluster: operators bring images over the control channel, workers fetch
// them over theirs.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/paths.h"
#include "cluster/control_requests.h"

namespace boost::asio {
class io_context;
}

namespace rayctl::ray {

// Answers, for operators:
//   image.missing {blobs: [{digest, size}]}        -> {missing: [digest]}
//   image.put {digest, size, media_type}           -> the event {offset}, then takes the rest as data -> {}
//   image.tag {name, digest, size, media_type}     -> {}; all that it needs must be there
// and for workers:
//   image.manifest {name} or {digest}              -> {digest, size, media_type, bytes}
//   image.blob {digest, size, offset}              -> the rest as data -> {}
// Blobs are verified while they come; parts of broken transfers are kept for the next try. A few transfers
// run at a time, the others wait their turn: control messages go ahead of all of them.
class ImageServer {
 public:
  // `on_image` hears, in the loop, of each name that is complete.
  ImageServer(boost::asio::io_context& io, const Paths& paths, cluster::RequestTable& requests,
              std::function<void(const std::string& name)> on_image);
  ~ImageServer();  // ends transfers

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace rayctl::ray
