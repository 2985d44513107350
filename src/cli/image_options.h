// What the commands about images share.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "cli/command.h"
#include "oci/layers.h"
#include "oci/registry.h"
#include "oci/store.h"

namespace rayctl::cli {

// How a registry is spoken to.
struct RegistryFlags {
  std::string ca_file = {};
  bool insecure = false;
  std::string auth_file = {};

  oci::RegistryOptions options(const std::atomic<bool>* cancel = nullptr) const;
};

std::vector<Argument> registry_arguments(RegistryFlags& flags);
std::vector<Argument> operator+(std::vector<Argument> a, const std::vector<Argument>& b);

std::string store_directory(const Globals& globals);
oci::Store open_store(const Globals& globals);

// The registry that a user means: without a scheme; "docker.io" when nothing is named.
std::string registry_name(std::string name);

// "3 hours ago" of an RFC 3339 time; empty when it isn't one.
std::string how_long_ago(const std::string& created);

}  // namespace rayctl::cli
