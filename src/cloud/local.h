// The provider Local: machines are QEMU processes on this host, without root and without a change to its
// network. They outlive the command that booted them. local_plan.h says how they are connected, local_files.h
// where they are.
#pragma once

#include <memory>

#include "cloud/provider.h"

namespace rayctl::cloud {

std::unique_ptr<Provider> open_local(const ProviderOptions& options);

}  // namespace rayctl::cloud
