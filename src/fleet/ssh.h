// `rayctl ssh N`: the system's ssh, with the address, the user and the host key of a machine of the cluster.
#pragma once

#include <string>
#include <vector>

#include "fleet/home.h"
#include "fleet/view.h"

namespace rayctl::fleet {

// The machine of that number; an Error with 2016's words and the list of those that there are.
const MachineView& find_machine(const ClusterLook& look, const std::string& number);

// The command line. `login` empty = the user that the node reported, or the image's usual one. The host key
// must be the one that the node reported over mutual TLS. Pure.
std::vector<std::string> ssh_argv(const Home& home, const MachineView& machine, const std::string& login,
                                  const std::vector<std::string>& arguments);

}  // namespace rayctl::fleet
