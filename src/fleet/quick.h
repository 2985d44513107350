// A deployment without a file: `rayctl up --provider P --workers N`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "stitch/deployment.h"

namespace rayctl::fleet {

struct QuickWish {
  std::string provider;
  uint64_t workers = 1;
  std::string name_space = "ray";
  std::string region, size, head_size, machine_image;  // empty: the provider's defaults
  bool spot = false;  // workers only: a head that goes takes everything with it
  uint64_t disk_gb = stitch::default_disk_gb;
  std::vector<std::string> ssh_keys;  // public keys
};
stitch::Deployment quick_deployment(const QuickWish& wish);

// A public key as given, or of a file: "~/.ssh/id_ed25519.pub". An Error for a private key.
std::string read_ssh_key(const std::string& key_or_file);

// Replaces the machines' githubKeys by that user's keys, asked for once each at $RAYCTL_GITHUB_URL (default
// https://github.com) + "/USER.keys".
void fetch_github_keys(stitch::Deployment& deployment);
std::vector<std::string> parse_keys(std::string_view text, const std::string& user);  // one a line

// The image that every node runs when the deployment has no containers of its own to place: that of the
// container which runs `run head`, else of the first one; empty when it has none.
std::string image_of(const stitch::Deployment& deployment);

}  // namespace rayctl::fleet
