// Sends an image of the store away: to a registry, or into an image layout.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "oci/registry.h"
#include "oci/store.h"

namespace rayctl::oci {

struct PushOptions {
  unsigned parallel = 4;  // blobs at a time
  std::atomic<bool>* cancel = nullptr;
};

// Blobs first, then manifests, an index last: what is named is always whole. Blobs that the registry has are
// left out; those that another of its repositories has (as the store's names tell) are mounted.
void push(const Store& store, const Descriptor& descriptor, Registry& registry, const Reference& target,
          const PushOptions& options = {});

// Everything that an image of the store consists of: blobs, then documents from the leaves up. Throws when a
// part isn't here.
std::vector<Descriptor> parts_of(const Store& store, const Descriptor& descriptor);

// Copies an image with all that it needs, and names it (an empty name: no name).
void copy_image(const Store& from, const Descriptor& descriptor, Store& to, const std::string& name);

}  // namespace rayctl::oci
