// A copy of the running binary that nothing in a container can change (CVE-2019-5736).
#pragma once

#include <string>

namespace rayctl::run {

// Path of a 0555 copy of this binary, `run_dir`/sealed/<version and identity>/rayctl, on a small tmpfs of its
// own that allows execution and is read-only (the mount and the file system). Made when it isn't there; may
// be called by many processes at once; a process that runs from a sealed copy gets the path of that copy.
// Costs two system calls when it is there. Needs root.
std::string sealed_binary(const std::string& run_dir);

// Unmounts every copy that nothing runs from; what is in use stays.
void remove_sealed_binaries(const std::string& run_dir);

}  // namespace rayctl::run
