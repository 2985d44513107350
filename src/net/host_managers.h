// NetworkManager, systemd-networkd and systemd-sysctl are told to leave our links, routes and settings alone.
#pragma once

#include <string>
#include <vector>

namespace rayctl::net {

// A file of a manager's configuration below /run: gone after a reboot, like what it protects.
struct ManagerFile {
  std::string needs;  // the directory that says that the manager is used here
  std::string path;
  std::string text;
};
const std::vector<ManagerFile>& manager_files();

// Writes the files of the managers that this host has; returns what was written. `root` is "" but in tests.
// Does nothing in a network namespace that isn't the host's own.
std::vector<std::string> tell_managers(const std::string& root = "");
void untell_managers(const std::string& root = "");

}  // namespace rayctl::net
