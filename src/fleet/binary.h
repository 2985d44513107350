// The rayctl that machines run, and where they fetch it.
#pragma once

#include <string>
#include <vector>

#include "cloud/user_data.h"
#include "fleet/clouds.h"
#include "fleet/settings.h"
#include "fleet/wish.h"

namespace rayctl::fleet {

// Its file on this computer: the settings' `binary`, else the one that runs.
std::string binary_file(const Settings& settings);
// "x86_64", "aarch64": what an ELF file is for.
std::string binary_arch(const std::string& file);

// Sees to it that binary_file() is for the processor of these machines: where nobody named one and this
// program isn't, settings.binary becomes the file beside it that `make dist` makes,
// rayctl-VERSION-linux-ARCH. An Error says what is missing, or that the machines aren't of one kind.
void choose_binary(Settings& settings, const std::vector<Wish>& machines, Clouds& clouds);

// URL and hash as the settings have them; without a URL the hash of binary_file(), and no URL.
cloud::BinarySource binary_source(const Settings& settings);

std::string local_binary();      // in machines of the provider Local, which serves it from the host
std::string delivered_binary();  // on a head to which Delivery brings it

}  // namespace rayctl::fleet
