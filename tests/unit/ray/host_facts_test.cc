#include "ray/host_facts.h"

#include <catch2/catch.hpp>

#include "base/file.h"

namespace rayctl::ray {

TEST_CASE("who may log in, and by which keys the machine is known", "[ray]") {
  TempDir root;
  CHECK(host_facts(root.path()).host_keys.empty());
  CHECK(host_facts(root.path()).user.empty());
  make_directories(join(root.path(), "etc/ssh"));
  replace_file(join(root.path(), "etc/ssh/ssh_host_ed25519_key.pub"), "ssh-ed25519 AAAA root@vm\n");
  replace_file(join(root.path(), "etc/ssh/ssh_host_ecdsa_key.pub"), "garbage\n");
  replace_file(join(root.path(), "etc/ssh/ssh_host_rsa_key.pub"), "ssh-rsa \x01\x02\n");
  replace_file(join(root.path(), "etc/passwd"),
               "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nx:x:abc:1::/:/\n"
               "debian:x:1000:1000::/home/debian:/bin/bash\nother:x:1001:1001::/:/bin/sh\n");
  HostFacts login = host_facts(root.path());
  CHECK(login.host_keys == std::vector<std::string>{"ssh-ed25519 AAAA"});
  CHECK(login.user == "debian");
  CHECK(login.instance.empty());
  make_directories(join(root.path(), "var/lib/cloud/data"));
  replace_file(join(root.path(), "var/lib/cloud/data/instance-id"), "i-0123\n");
  CHECK(host_facts(root.path()).instance == "i-0123");
}

}  // namespace rayctl::ray
