// What an operator hands to a cluster's head so that nodes can have their images: images themselves, and the
// logins of registries.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "cluster/operator_client.h"
#include "oci/auth.h"
#include "oci/store.h"

namespace rayctl::fleet {

// For who watches from another thread, or gives up.
struct Transfer {
  std::atomic<uint64_t> sent{0}, total{0};  // bytes
  std::atomic<bool> cancel{false};
};

// Sends an image of the local store to the head, which then runs it as "head:NAME" (workers fetch it from
// there). Only blobs that the head lacks go, several at a time, from where an earlier try broke off; both
// sides verify. `name`: what the head calls it, e.g. "ray:1". Throws Interrupted.
// With `transfer` nothing is shown beside it.
void push_to_head(cluster::OperatorClient& head, const oci::Store& store, const oci::Descriptor& image,
                  const std::string& name, Transfer* transfer = nullptr);

// Needs an admin. `ca`: PEM, may be empty. Never part of a log or a listing.
void give_registry_login(cluster::OperatorClient& head, const std::string& registry,
                         const oci::Credentials& credentials, const std::string& ca);

}  // namespace rayctl::fleet
