#include "net/host_managers.h"

#include <catch2/catch.hpp>

#include "base/file.h"

using namespace rayctl;
using namespace rayctl::net;

TEST_CASE("the host's network managers are told once to leave our links alone, and everything is undone",
          "[net]") {
  TempDir root;
  CHECK(tell_managers(root.path()).empty());  // there are none
  make_directories(root.path() + "/run/NetworkManager");
  CHECK(tell_managers(root.path()) ==
        std::vector<std::string>{"write /run/NetworkManager/conf.d/90-rayctl.conf"});
  CHECK(read_file(root.path() + "/run/NetworkManager/conf.d/90-rayctl.conf").find("interface-name:rayctl*") !=
        std::string::npos);
  make_directories(root.path() + "/run/systemd/system");
  CHECK(tell_managers(root.path()).size() == 4);
  CHECK(tell_managers(root.path()).empty());
  replace_file(root.path() + "/run/sysctl.d/90-rayctl.conf", "net.ipv4.ip_forward = 0\n");
  CHECK(tell_managers(root.path()) == std::vector<std::string>{"write /run/sysctl.d/90-rayctl.conf"});
  untell_managers(root.path());
  for (const ManagerFile& file : manager_files()) CHECK_FALSE(exists(root.path() + file.path));
}
