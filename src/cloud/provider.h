// The clouds that machines are booted in, behind one interface: fleet calls it, one file a cloud implements
// it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace rayctl::cloud {

// Why a cloud refused, as far as the caller or the user can do something about it.
enum class FailureKind {
  capacity,        // nothing left of these sizes in these zones
  quota,           // the account's limit
  throttled,       // too many requests, also after waiting and trying again
  price,           // the spot price is above the maximum
  unauthorized,    // credentials were there, and were refused or lack a right
  no_credentials,  // none were found
  invalid,         // the request itself: a size, an image, a region that isn't there
  not_found,       // the object is gone, or isn't there yet
  too_large,       // user-data beyond the cloud's limit
  transient,       // no answer or a server's error, also after trying again
};
std::string_view name_of(FailureKind kind);  // "capacity", "no credentials"

// A cloud's refusal. The message ends with `next` in parentheses: what the user can do.
class ProviderError : public Error {
 public:
  template <class... A>
  ProviderError(FailureKind kind, std::string next, fmt::format_string<A...> format, A&&... args)
      : Error(format, std::forward<A>(args)...), kind_(kind), next_(std::move(next)) {
    if (!next_.empty()) hint("{}", next_);
  }
  FailureKind kind() const { return kind_; }
  const std::string& next() const { return next_; }

 private:
  FailureKind kind_;
  std::string next_;
};

// A region, and a zone of it when the user named one.
struct Place {
  std::string region = {};  // "us-east-1", "us-east1", "centralus"
  std::string zone = {};    // "us-east-1b", "us-east1-b", "2"; empty = any
};

// One size of machine that a cloud sells.
struct Size {
  std::string name = {};                  // "m6i.large"
  double cpus = 0;                        // virtual CPUs
  double ram_gib = 0;                     //
  std::string arch = "x86_64";            // or "aarch64"
  std::string gpu = {};                   // "T4"; empty = none
  unsigned gpus = 0;                      //
  std::optional<double> price_hour = {};  // US dollars, on demand; empty = unknown, shown as `?`
  std::optional<double> spot_hour = {};   // what spot was about, when the table was made
};

// Who may reach the cluster's machines. They reach each other on every port and protocol, whatever this says.
struct Firewall {
  struct Ports {
    uint16_t first = 0, last = 0;
  };
  std::vector<std::string> admin_cidrs = {};  // reach everything: "203.0.113.7/32"
  std::vector<Ports> public_ports = {};       // TCP, from everywhere: `connect … "public"` of the spec
  std::vector<std::string> peer_addresses =
      {};  // the cluster's machines in other regions and clouds: reach everything
};

// One machine to boot.
struct MachineWant {
  std::string key = {};      // fleet's own name for it, never used twice: makes a repeated boot harmless
  std::string cluster = {};  // namespace
  std::string role = {};     // "head" or "worker"
  std::string region = {};   // as Place says
  std::string zone = {};     // empty = any
  std::vector<std::string> sizes =
      {};                  // in order of preference; the next one is tried when there is no capacity
  std::string image = {};  // machine image, in the cloud's own form; empty = the cloud's Ubuntu or Debian
  unsigned disk_gb = 32;   // of the root disk
  bool spot = false;       //
  std::optional<double> max_price = {};    // dollars an hour that spot may cost; empty = the on-demand price
  std::vector<std::string> ssh_keys = {};  // "ssh-ed25519 AAAA… me"; user-data carries them too
  std::string user_data = {};              // not encoded
  std::map<std::string, std::string> labels = {};  // tags besides rayctl's own
};

enum class MachineState { requested, pending, running, stopping, stopped, terminated };
std::string_view name_of(MachineState state);

// A machine as its cloud shows it.
struct Machine {
  std::string id = {};        // the cloud's: "i-0123…", a VM's name
  std::string key = {};       // MachineWant::key
  std::string cluster = {};   //
  std::string role = {};      // "head" or "worker"
  std::string provider = {};  // "Amazon"
  std::string region = {};
  std::string zone = {};
  std::string size = {};
  MachineState state = MachineState::requested;
  std::string reason = {};  // why it stopped, when the cloud says so: "Server.SpotInstanceTermination: …"
  std::string public_address = {};   // empty until there is one
  std::string private_address = {};  //
  bool spot = false;
  std::chrono::system_clock::time_point launched = {};
  unsigned disk_gb = 0;  // 0 = not known
};

// What became of one MachineWant: a machine or an error.
struct Booted {
  std::string key = {};
  std::optional<Machine> machine = {};
  std::optional<ProviderError> error = {};
};

// Something of a cluster that is no machine and couldn't be removed.
struct Leftover {
  std::string kind = {};    // "security group", "volume"
  std::string id = {};      //
  std::string region = {};  //
  std::string reason = {};  // why it is still there
};

// One cloud, or one account in it. Each call blocks, tries again what may work later (within the cloud's rate
// limits), and may be made from several threads at once. Errors are ProviderError; Interrupted when the
// command was interrupted or ProviderOptions::cancel was set.
class Provider {
 public:
  virtual ~Provider() = default;
  Provider(const Provider&) = delete;
  Provider& operator=(const Provider&) = delete;

  // --- without the network ---
  virtual std::string name() const = 0;                  // "Amazon", "Google", "Azure", "Local"
  virtual size_t user_data_limit() const = 0;            // bytes, before any encoding
  virtual size_t parallel_calls() const = 0;             // more threads than that gain nothing
  virtual std::string default_size() const = 0;          // when nobody said anything about it
  virtual bool list_lags() const { return true; }        // a machine may be missing from list() for a while
  virtual std::vector<std::string> regions() const = 0;  // that are known, the default one first
  // Region and zone from what users write ("us-west-1b", "Central US"; "" = the default region).
  // invalid, with the nearest name, for one that isn't known.
  virtual Place place(const std::string& text) const = 0;
  virtual std::vector<Size> sizes(const std::string& region) const = 0;  // of the price table

  // --- with it ---
  // A size by name: from the table, else from the cloud. invalid, with the nearest name, when there is none.
  virtual Size size(const std::string& region, const std::string& name) = 0;
  // Whose account it is, for people ("account 123456789012, user ray"): no_credentials or unauthorized when
  // nothing can be done there.
  virtual std::string account() = 0;
  // Makes what the cluster's machines need around them in each region (firewall, networks), or brings it up
  // to date. May be repeated; must have been done once before boot().
  virtual void prepare(const std::string& cluster, const std::vector<std::string>& regions,
                       const Firewall& firewall) = 0;
  // Asks the cloud whether it would boot this one, as far as it can tell without doing it: rights, image,
  // size.
  virtual void rehearse(const MachineWant& want) { static_cast<void>(want); }
  // Boots them, and returns as soon as the cloud has accepted them: one Booted for each want, in order.
  // Wants that differ in nothing but `key` share calls where the cloud can do that: hand them over together.
  // A want that was accepted before (same key) gives the same machine. Falls back over the sizes, and over
  // the zones unless one was named. Throws only what concerns all of them (credentials, interruption).
  virtual std::vector<Booted> boot(const std::vector<MachineWant>& wants) = 0;
  // The cluster's machines in these regions (none given: wherever the account may have some), terminated ones
  // only while the cloud still shows them. One that was booted seconds ago by another process may be missing.
  virtual std::vector<Machine> list(const std::string& cluster,
                                    const std::vector<std::string>& regions = {}) = 0;
  // Ends machines for good, with their disks; only what carries the tags of their cluster. Those that are
  // gone already count as done. Returns when the cloud has accepted it: list() shows the end.
  virtual void terminate(const std::vector<Machine>& machines) = 0;
  // Removes what a cluster without machines leaves (firewall groups, networks, disks), waiting up to
  // `patience` for the cloud to let go of it. Returns what is still there: empty = nothing is left.
  virtual std::vector<Leftover> sweep(const std::string& cluster, const std::vector<std::string>& regions,
                                      std::chrono::seconds patience) = 0;
  // What the machine wrote to its console so far; empty when the cloud can't tell (yet).
  virtual std::optional<std::string> console(const Machine& machine) = 0;

 protected:
  Provider() = default;
  // Of a want whose user-data is beyond user_data_limit().
  ProviderError too_large(const MachineWant& want) const;
};

struct ProviderOptions {
  std::string endpoint =
      {};  // URL in place of the cloud's API; empty = its environment variable, else the cloud
  std::string prices_file = {};  // JSON in place of the built-in table (prices.h)
  std::string project = {};  // Google: the project; Azure: the subscription; empty = as the credentials say
  std::string network =
      {};  // Amazon: "vpc-…" or "subnet-…"; Google: a network's name; empty = the default one
  std::string state_dir = {};                 // Local: where disks and consoles are; empty = default_paths()
  const std::atomic<bool>* cancel = nullptr;  // set by another thread: calls end with Interrupted
};

// The names there are, as users write them in a spec.
std::vector<std::string> provider_names();
// "amazon" -> "Amazon", "Vagrant" -> "Local"; UsageError with the nearest name for one that isn't there.
std::string canonical_provider(const std::string& name);
// Reads no credentials yet: those are looked for by the first call that needs the network.
std::unique_ptr<Provider> provider_named(const std::string& name, const ProviderOptions& options);

// boot() for one machine: throws its error.
Machine boot_one(Provider& provider, const MachineWant& want);

}  // namespace rayctl::cloud
