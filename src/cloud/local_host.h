// What the provider Local needs of the machine that it runs on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cloud/local_plan.h"

namespace rayctl::cloud {

std::string host_arch();            // "x86_64", "aarch64"
uint64_t available_memory();        // bytes
uint16_t first_free_port_number();  // the lowest port that this process may listen on: 0 as root, else 1024

// ProviderError `invalid` that names the package when QEMU or qemu-img isn't there.
void require_qemu();

// Runs a few instructions with KVM: /dev/kvm may be there and QEMU may still fail, within another virtual
// machine for one. Remembered in `directory` until the host is booted again.
bool kvm_works(const std::string& directory);

// The machine image that `text` names: a disk, or a directory with vmlinuz, initrd.img and root.img
// (root.qcow2). Empty: the default one, in <state dir>/machines or where images/machine/make-machine.sh puts
// it. ProviderError `invalid` says where it was looked for.
LocalImage find_local_image(const std::string& text, const std::string& state_dir);

}  // namespace rayctl::cloud
