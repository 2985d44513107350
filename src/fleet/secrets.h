// Tokens that the owner made and that aren't used up yet: secrets.json, 0600.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cluster/token.h"
#include "fleet/home.h"

namespace rayctl::fleet {

struct Secrets {
  uint32_t claimed_head = 0;  // number of the head that is ours; 0: none yet
  // For workers that boot before their head is claimed; the records go to the head with the claim.
  struct Early {
    std::string token;
    cluster::TokenRecord record;
  };
  std::vector<Early> early = {};
};

Secrets read_secrets(const Home& home);  // empty ones when there is no file
void write_secrets(const Home& home, const Secrets& secrets);

// "ssh-ed25519 AAAA… rayctl-NAME": the cluster's own key, made (as OpenSSH's ssh-keygen would write it) when
// it isn't there.
std::string cluster_ssh_key(const Home& home, const std::string& name);

}  // namespace rayctl::fleet
