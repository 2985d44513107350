// What a machine tells its head of itself: which one of its cloud's it is, and how people log in, so that
// `rayctl ssh` needs no trust on first use.
#pragma once

#include <string>
#include <vector>

namespace rayctl::ray {

struct HostFacts {
  std::vector<std::string> host_keys;  // "ssh-ed25519 AAAA…", at most 4
  std::string user;                    // the first ordinary one; empty: root alone
  std::string instance;                // its id in its cloud, as cloud-init knows it; empty: there is none
};

// `root` is where /etc is looked for. What isn't there, or isn't a key, is left out.
HostFacts host_facts(const std::string& root = "");

}  // namespace rayctl::ray
