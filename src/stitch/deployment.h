// What a spec asks for, as plain data: machines, containers, labels, connections, placement rules. A `.spec`
// file evaluates to it, a JSON file holds it; docs/stitch.md documents the JSON.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace rayctl::stitch {

// Where something was written; line 0 = unknown (a deployment that was made by a program).
struct Position {
  std::string file = {};
  uint32_t line = 0, column = 0;  // from 1
  bool operator==(const Position&) const = default;
};
std::string to_string(const Position& at);  // "ray.spec:4:3"; empty when unknown

// A wanted number of cores or GiB; max 0 = no upper bound, both 0 = not asked for.
struct Range {
  double min = 0, max = 0;
  bool operator==(const Range&) const = default;
};

struct Gpu {
  std::string type = {};  // the provider's name of it; empty = any
  uint32_t count = 0;     // 0 = none
  bool operator==(const Gpu&) const = default;
};

inline constexpr const char* master_role = "Master";
inline constexpr const char* worker_role = "Worker";
inline constexpr const char* public_label = "public";  // the internet, in connections and invariants
inline constexpr const char* ray_workers_label = "rayctl-workers";
inline constexpr const char* default_namespace = "DEFAULT_NAMESPACE";
inline constexpr uint32_t default_disk_gb = 32;

struct Machine {
  uint32_t id = 0;            // from 1, in the order of their creation
  std::string provider = {};  // one of provider_names(); empty = the caller chooses
  std::string region = {};    // empty = the provider's default
  std::string size = {};      // wins over cpu and ram
  std::string role = {};      // master_role, worker_role or empty
  uint32_t disk_gb = default_disk_gb;
  Range cpu = {};                             // cores
  Range ram = {};                             // GiB
  std::vector<std::string> ssh_keys = {};     // public keys, "ssh-ed25519 AAAA… name"
  std::vector<std::string> github_keys = {};  // user names there
  bool spot = false;
  std::string image = {};  // of the machine; empty = the provider's default
  Gpu gpu = {};
  std::string group = {};  // a name for machines of one kind: `--group`, Ray's node type
  std::map<std::string, std::string> labels = {};
  std::optional<std::chrono::seconds> idle_timeout = {};  // a worker idle for so long may go
  Position at = {};
};

struct Container {
  uint32_t id = 0;  // from 1, in the order of their creation
  std::string image = {};
  std::vector<std::string> command = {};  // empty = the image's own
  std::map<std::string, std::string> env = {};
  Position at = {};
};

// A named set of containers: NAME.q is its host name, N.NAME.q that of its Nth member (from 1).
struct Label {
  std::string name = {};
  std::vector<uint32_t> members = {};  // ids of containers, each once
  std::vector<std::string> annotations = {};
  Position at = {};
};

// Containers of `from` may open connections to those ports of containers of `to`.
struct Connection {
  std::string from = {}, to = {};  // labels; one of them may be public_label, with a single port
  uint16_t min_port = 0, max_port = 0;
  Position at = {};
};

// Where containers of label `target` may run. Label rule: `other_label` is set; exclusive = on no machine
// that runs one of that label, else on such a machine only. Machine rule: provider, region and size that are
// set are compared; exclusive = on no machine that matches all of them, else on such a machine only.
struct Placement {
  std::string target = {};
  bool exclusive = true;
  std::string other_label = {};
  std::string provider = {}, region = {}, size = {};
  Position at = {};
};

// A claim about the connection graph that verify() checks.
struct Invariant {
  std::string form = {};  // one of invariant_forms()
  bool holds = true;
  std::vector<std::string> labels = {};  // from, to; of `between` also what lies between; of `enough` none
  Position at = {};
};

// What containers may reach outside: everything, or what `connect LABEL public` says.
enum class Egress { open, declared };
std::string_view egress_name(Egress egress);
std::optional<Egress> egress_named(std::string_view name);

struct Deployment {
  std::string name_space = default_namespace;  // `namespace` in JSON
  std::vector<std::string> admin_acl = {};     // CIDRs, or "local": the caller's own address
  double max_price = 0;                        // $ an hour of one machine; 0 = no limit
  Egress egress = Egress::open;
  std::vector<std::string> metadata_access = {};  // labels that may ask the cloud's metadata service
  std::vector<Machine> machines = {};
  std::vector<Container> containers = {};
  std::vector<Label> labels = {};
  std::vector<Connection> connections = {};
  std::vector<Placement> placements = {};
  std::vector<Invariant> invariants = {};
};

// Reads what to_json writes; an unknown key, an unknown label or a port out of range is an error that names
// its path.
Deployment deployment_from_json(std::string_view text, const std::string& name);
// Keys in a fixed order; members that have their default are left out. Positions are kept ("at").
nlohmann::ordered_json to_json(const Deployment& deployment);

// A deployment whose parts don't fit together; knows where in the spec.
class Misfit : public Error {
 public:
  Misfit(Position at, const std::string& message)
      : Error("{}", at.line ? to_string(at) + ": " + message : message), at_(std::move(at)), bare_(message) {}
  const Position& at() const { return at_; }
  const std::string& bare() const { return bare_; }  // without the place

 private:
  Position at_;
  std::string bare_;
};

// Throws a Misfit: an unknown label, an id that appears twice, a port out of range, a placeholder that was
// left in, an invariant that doesn't hold. Both ways of loading call it.
void verify(const Deployment& deployment);

// Why the name can't be a namespace; empty when it can.
std::string namespace_fault(std::string_view name);

// Completes what may be left out: the provider's canonical name, its default region; and connects Ray's
// workers
// (`run worker`) to each other under ray_workers_label, where the spec connects them to their head only.
void complete(Deployment& deployment);

// What is legal but likely not meant: "no machine has the role Master: …".
std::vector<std::string> remarks(const Deployment& deployment);

const Label* find_label(const Deployment& deployment, std::string_view name);
const Container* find_container(const Deployment& deployment, uint32_t id);
// Names of labels that hold the container, in their order.
std::vector<std::string> labels_of(const Deployment& deployment, uint32_t container);

const std::vector<std::string>& provider_names();  // "Amazon", "Google", "Azure", "Local"
// The provider's canonical name ("vagrant" -> "Local"); empty when there is none of that name.
std::string canonical_provider(std::string_view name);
std::string default_region(std::string_view provider);  // 2016's; empty for Local
const std::vector<std::string>& invariant_forms();

// "CHANGE_ME", "YOUR_GITHUB_USERNAME", …: what a template asks its reader to replace.
bool is_placeholder(std::string_view text);
bool is_cidr(std::string_view text);  // "10.0.0.0/8", "1.2.3.4", "2001:db8::/32"

}  // namespace rayctl::stitch
