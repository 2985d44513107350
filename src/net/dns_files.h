// Paths below run_dir/dns, and what the processes of both sides know about each other.
#pragma once

#include <string>

namespace rayctl::net {

struct DnsFiles {
  std::string table, status, lock, log;
};

DnsFiles dns_files(const std::string& directory);

// "mnt:[4026531841]" of this process: paths of namespaces mean something within one mount namespace.
std::string mount_namespace();

}  // namespace rayctl::net
