#include "cloud/provider.h"

#include <strings.h>

#include "base/text.h"
#include "cloud/azure.h"
#include "cloud/ec2.h"
#include "cloud/gce.h"
#include "cloud/local.h"

namespace rayctl::cloud {

namespace {

struct Entry {
  std::string name;
  std::vector<std::string> aliases;
  std::unique_ptr<Provider> (*open)(const ProviderOptions& options);
};

// A new provider is one file and one line here.
const std::vector<Entry>& table() {
  static const std::vector<Entry> entries = {
      {"Amazon", {"AWS", "EC2"}, open_amazon},
      {"Google", {"GCE", "GCP"}, open_google},
      {"Azure", {"Microsoft"}, open_azure},
      {"Local", {"Vagrant"}, open_local},
  };
  return entries;
}

bool same(const std::string& a, const std::string& b) {
  return strcasecmp(a.c_str(), b.c_str()) == 0;
}

const Entry& entry(const std::string& name) {
  std::vector<std::string> words;
  for (const Entry& e : table()) {
    if (same(e.name, name)) return e;
    words.push_back(e.name);
    for (const std::string& alias : e.aliases) {
      if (same(alias, name)) return e;
      words.push_back(alias);
    }
  }
  UsageError error("unknown provider '{}'", printable(name));
  std::string near = nearest(name, words);
  if (!near.empty())
    error.hint("did you mean '{}'?", near);
  else
    error.hint("there are: {}", fmt::join(provider_names(), ", "));
  throw error;
}

}  // namespace

ProviderError Provider::too_large(const MachineWant& want) const {
  return ProviderError(FailureKind::too_large,
                       "fewer or shorter ssh keys, labels and registries make it shorter",
                       "cannot boot '{}': its user-data is {} bytes long, and {} takes {}",
                       printable(want.key), want.user_data.size(), name(), user_data_limit());
}

std::string_view name_of(FailureKind kind) {
  switch (kind) {
    case FailureKind::capacity:
      return "capacity";
    case FailureKind::quota:
      return "quota";
    case FailureKind::throttled:
      return "throttled";
    case FailureKind::price:
      return "price";
    case FailureKind::unauthorized:
      return "unauthorized";
    case FailureKind::no_credentials:
      return "no credentials";
    case FailureKind::invalid:
      return "invalid";
    case FailureKind::not_found:
      return "not found";
    case FailureKind::too_large:
      return "too large";
    case FailureKind::transient:
      return "transient";
  }
  return "unknown";
}

std::string_view name_of(MachineState state) {
  switch (state) {
    case MachineState::requested:
      return "requested";
    case MachineState::pending:
      return "pending";
    case MachineState::running:
      return "running";
    case MachineState::stopping:
      return "stopping";
    case MachineState::stopped:
      return "stopped";
    case MachineState::terminated:
      return "terminated";
  }
  return "unknown";
}

std::vector<std::string> provider_names() {
  std::vector<std::string> names;
  for (const Entry& e : table()) names.push_back(e.name);
  return names;
}

std::string canonical_provider(const std::string& name) {
  return entry(name).name;
}

std::unique_ptr<Provider> provider_named(const std::string& name, const ProviderOptions& options) {
  return entry(name).open(options);
}

Machine boot_one(Provider& provider, const MachineWant& want) {
  Booted booted = std::move(provider.boot({want}).at(0));
  if (booted.machine) return std::move(*booted.machine);
  if (booted.error) throw *booted.error;
  throw ProviderError(FailureKind::transient, "type it again", "cannot boot '{}': the provider said nothing",
                      want.key);
}

}  // namespace rayctl::cloud
