// Images that only this computer has: they go to the head over the control channel, workers fetch them from
// there.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cluster/context.h"
#include "fleet/settings.h"
#include "stitch/deployment.h"

namespace rayctl::fleet {

// "head:NAME" for an image that the store in `directory` has and that no registry is named for; such images
// are listed in settings.local_images, with the store. One that the user called head:NAME is listed when the
// store has NAME: else somebody pushes it. All others stay as they are.
void adopt_local_images(const std::string& directory, Settings& settings, stitch::Deployment& deployment);

// Sends them from a thread of its own, again after a failure, until all are there or it is destroyed.
class ImageDelivery {
 public:
  ImageDelivery(cluster::Context head, const Settings& settings);
  ~ImageDelivery();
  // "sending ray:1, 40 %", or why it fails; empty once everything is on the head.
  std::string state() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace rayctl::fleet
