#include "net/host_managers.h"

#include <sys/stat.h>

#include "base/file.h"

namespace rayctl::net {

namespace {

bool in_host_namespace() {
  struct stat own, first;
  return stat("/proc/thread-self/ns/net", &own) == 0 && stat("/proc/1/ns/net", &first) == 0 &&
         own.st_ino == first.st_ino && own.st_dev == first.st_dev;
}

std::string parent(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

}  // namespace

const std::vector<ManagerFile>& manager_files() {
  static const std::string by = "# written by rayctl while its node has links here\n";
  static const std::vector<ManagerFile> files = {
      // udev would give links another MAC than peers were told (flannel #1155).
      {"/run/systemd/system", "/run/systemd/network/10-rayctl.link",
       by + "[Match]\nOriginalName=rayctl* rc*\n\n[Link]\nMACAddressPolicy=none\n"},
      {"/run/systemd/system", "/run/systemd/network/10-rayctl.network",
       by + "[Match]\nName=rayctl* rc*\n\n[Link]\nUnmanaged=yes\n"},
      // A restart of networkd would delete every route that it didn't make (systemd #25451).
      {"/run/systemd/system", "/run/systemd/networkd.conf.d/10-rayctl.conf",
       by + "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"},
      {"/run/systemd/system", "/run/sysctl.d/90-rayctl.conf", by + "net.ipv4.ip_forward = 1\n"},
      {"/run/NetworkManager", "/run/NetworkManager/conf.d/90-rayctl.conf",
       by + "[keyfile]\nunmanaged-devices+=interface-name:rayctl*;interface-name:rc*\n"},
  };
  return files;
}

std::vector<std::string> tell_managers(const std::string& root) {
  std::vector<std::string> written;
  if (root.empty() && !in_host_namespace()) return written;
  for (const ManagerFile& file : manager_files()) {
    std::string path = root + file.path;
    if (!exists(root + file.needs) || read_file_if_exists(path) == file.text) continue;
    make_directories(parent(path));
    replace_file(path, file.text);
    written.push_back("write " + file.path);
  }
  return written;
}

void untell_managers(const std::string& root) {
  if (root.empty() && !in_host_namespace()) return;
  for (const ManagerFile& file : manager_files()) remove_tree(root + file.path);
}

}  // namespace rayctl::net
