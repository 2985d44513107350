// Device access on cgroup v2: an eBPF program in the place of v1's device files.
#pragma once

#include <linux/bpf.h>

#include <vector>

#include "run/spec.h"

namespace rayctl::run {

// For each kind of access (read, write, mknod) the last rule that names the device decides; without one it is
// allowed.
std::vector<bpf_insn> device_program(const std::vector<DeviceRule>& rules);

// Loads the program and attaches it to the cgroup of `directory`, in place of one that was attached there
// before.
void attach_device_program(int directory, const std::vector<bpf_insn>& program);

}  // namespace rayctl::run
