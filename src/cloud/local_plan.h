// A machine of the provider Local as data: its addresses, QEMU's command line, the seed's files. Pure.
//
// Without root, and without a change to the host's network, each machine has two interfaces:
//   - QEMU's user network: its way out, and the host at 10.201.255.254. Forwards of the host's loopback
//   address
//     127.201.N.1 (ports 22, 7443 and those that are public) lead to the machine.
//   - the cluster's own network, a multicast group on the host's loopback: 10.201.0.0/17, narrower than the
//   other's
//     10.201.0.0/16, so that machines reach each other there at the very address that the way out
//     has, 10.201.N.15.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cloud/local_seed.h"

namespace rayctl::cloud {

// Answers `GET /rayctl` within every machine with the rayctl that booted it: a process for each request,
// which QEMU starts, so that it works for as long as the machine lives.
inline constexpr const char* local_binary_url = "http://10.201.255.252/rayctl";
inline constexpr const char* local_host_address =
    "10.201.255.254";                           // the host's loopback, seen from a machine
inline constexpr unsigned local_numbers = 127;  // machines have numbers 1 … 127

struct LocalImage {
  std::string disk;            // absolute path: raw or qcow2
  std::string disk_format;     // "raw", "qcow2"
  std::string kernel, initrd;  // absolute paths; empty: the disk boots by itself
};

struct LocalMachine {
  std::string name;       // for people and for finding it: "rayctl-<cluster>-<key>"
  std::string directory;  // absolute; QEMU's files are in it
  unsigned number = 1;    // 1 … local_numbers, of no other machine on the host
  unsigned cpus = 1;
  uint64_t ram_mib = 1024;
  std::string arch = "x86_64";
  bool kvm = false;
  LocalImage image;
  std::string network;                                      // the multicast group, "239.201.1.2:20001"
  std::string binary;                                       // absolute path of the rayctl that is handed out
  uint16_t ssh_port = 22;                                   // on the loopback address
  std::vector<std::pair<uint16_t, uint16_t>> public_ports;  // first, last
};

std::string local_public_address(unsigned number);   // "127.201.N.1"
std::string local_private_address(unsigned number);  // "10.201.N.15"

std::vector<std::string> qemu_argv(const LocalMachine& machine);
// One forward, as QEMU's option and its monitor want it: "tcp:127.201.3.1:22-:22".
std::string local_forward(unsigned number, uint16_t host_port, uint16_t machine_port);

// user-data, meta-data (instance-id: `id`), network-config (version 2).
std::vector<SeedFile> local_seed(const LocalMachine& machine, const std::string& id,
                                 const std::string& host_name, const std::vector<std::string>& ssh_keys,
                                 const std::string& user_data);

// The multicast group of a cluster: a hash of where its files are, so that two don't hear each other.
std::string local_network(const std::string& directory);

}  // namespace rayctl::cloud
