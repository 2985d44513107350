#include "stitch/deployment.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "base/text.h"
#include "stitch/invariant.h"

namespace rayctl::stitch {

namespace {

// Throws with the place in front, where it is known.
template <class... A>
[[noreturn]] void fail(const Position& at, fmt::format_string<A...> format, A&&... args) {
  throw Misfit(at, fmt::format(format, std::forward<A>(args)...));
}

bool is_name(std::string_view text, std::string_view also, size_t longest) {
  if (text.empty() || text.size() > longest) return false;
  return std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           also.find(static_cast<char>(c)) != std::string_view::npos;
  });
}

bool is_word_start(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

void check_range(const Machine& machine, const Range& range, const char* name) {
  if (!(range.min >= 0) || !(range.max >= 0) || range.min > 1e6 || range.max > 1e6 ||
      (range.max > 0 && range.max < range.min))
    fail(machine.at, "cannot use machine {}: its {} range is {} to {}", machine.id, name, range.min,
         range.max);
}

void check_machine(const Machine& machine) {
  if (machine.id == 0) fail(machine.at, "cannot use a machine with id 0: ids begin at 1");
  if (!machine.role.empty() && machine.role != master_role && machine.role != worker_role)
    fail(machine.at, "cannot use machine {}: its role is '{}', not {} or {}", machine.id,
         printable(machine.role), master_role, worker_role);
  if (!machine.provider.empty() && canonical_provider(machine.provider).empty()) {
    std::string near = nearest(machine.provider, provider_names());
    fail(machine.at, "cannot use machine {}: there is no provider '{}'{}", machine.id,
         printable(machine.provider),
         near.empty() ? fmt::format(" (there are {})", fmt::join(provider_names(), ", "))
                      : fmt::format(" (did you mean '{}'?)", near));
  }
  check_range(machine, machine.cpu, "cpu");
  check_range(machine, machine.ram, "ram");
  if (machine.disk_gb == 0 || machine.disk_gb > 65536)
    fail(machine.at, "cannot use machine {}: its disk has {} GB", machine.id, machine.disk_gb);
  for (const auto* keys : {&machine.ssh_keys, &machine.github_keys})
    for (const std::string& key : *keys)
      if (is_placeholder(key))
        fail(machine.at, "cannot use machine {}: its key '{}' is a placeholder: put your own there",
             machine.id, key);
  for (const std::string& key : machine.ssh_keys)
    if (key.empty() || key.find_first_of("\n\r") != std::string::npos || key.size() > 16384)
      fail(machine.at, "cannot use machine {}: a public key is one line of text", machine.id);
  for (const std::string& user : machine.github_keys)
    if (!is_name(user, "-_", 64))
      fail(machine.at, "cannot use machine {}: '{}' is no user name of GitHub", machine.id, printable(user));
}

void check_container(const Container& container) {
  if (container.id == 0) fail(container.at, "cannot use a container with id 0: ids begin at 1");
  if (container.image.empty()) fail(container.at, "cannot use container {}: it has no image", container.id);
  for (const auto& [key, value] : container.env)
    if (key.empty() || key.find('=') != std::string::npos || key.find('\0') != std::string::npos ||
        value.find('\0') != std::string::npos)
      fail(container.at, "cannot use container {}: '{}' can't be the name of an environment variable",
           container.id, printable(key));
}

// The names and ids that others refer to.
struct Names {
  std::unordered_set<uint32_t> containers;
  std::unordered_set<std::string> labels;

  void need(const std::string& label, const Position& at, const char* what) const {
    if (labels.count(label)) return;
    std::string near = nearest(label, {labels.begin(), labels.end()});
    fail(at, "cannot use a {}: there is no label '{}'{}", what, printable(label),
         near.empty() ? "" : fmt::format(" (did you mean '{}'?)", near));
  }
};

void check_labels(const Deployment& deployment, Names& names) {
  for (const Label& label : deployment.labels) {
    if (label.name == public_label)
      fail(label.at, "cannot define label '{}': it means the internet", public_label);
    if (!is_name(label.name, "-_.", 200) || label.name.front() == '.' || label.name.back() == '.')
      fail(label.at, "cannot define label '{}': a label is made of letters, digits, '-', '_' and '.'",
           printable(label.name));
    if (!names.labels.insert(label.name).second) fail(label.at, "cannot define label '{}' twice", label.name);
    std::unordered_set<uint32_t> members;
    for (uint32_t member : label.members) {
      if (!names.containers.count(member))
        fail(label.at, "cannot define label '{}': there is no container {}", label.name, member);
      if (!members.insert(member).second)
        fail(label.at, "cannot define label '{}': container {} is in it twice", label.name, member);
    }
  }
}

void check_connection(const Connection& connection, const Names& names) {
  bool from_public = connection.from == public_label, to_public = connection.to == public_label;
  if (from_public && to_public) fail(connection.at, "cannot connect '{}' to itself", public_label);
  if (!from_public) names.need(connection.from, connection.at, "connection");
  if (!to_public) names.need(connection.to, connection.at, "connection");
  if (connection.min_port > connection.max_port)
    fail(connection.at, "cannot connect '{}' to '{}': ports {} to {} are none", connection.from,
         connection.to, connection.min_port, connection.max_port);
  if ((from_public || to_public) && connection.min_port != connection.max_port)
    fail(connection.at, "cannot connect '{}' to '{}': with '{}' it is one port, not a range", connection.from,
         connection.to, public_label);
}

void check_placement(const Placement& placement, const Names& names) {
  names.need(placement.target, placement.at, "placement");
  bool of_machine = !(placement.provider.empty() && placement.region.empty() && placement.size.empty());
  if (placement.other_label.empty() != of_machine)
    fail(placement.at, "cannot place '{}': a rule names either a label or a provider, region or size",
         placement.target);
  if (!placement.other_label.empty()) names.need(placement.other_label, placement.at, "placement");
}

void check_invariant(const Invariant& invariant, const Names& names) {
  const auto& forms = invariant_forms();
  if (std::find(forms.begin(), forms.end(), invariant.form) == forms.end())
    fail(invariant.at, "cannot check invariant '{}': the forms are {}", printable(invariant.form),
         fmt::join(forms, ", "));
  size_t wanted = invariant.form == "enough" ? 0 : invariant.form == "between" ? 3 : 2;
  if (invariant.labels.size() != wanted)
    fail(invariant.at, "cannot check invariant '{}': it takes {} labels, not {}", invariant.form, wanted,
         invariant.labels.size());
  for (const std::string& label : invariant.labels)
    if (label != public_label) names.need(label, invariant.at, "invariant");
}

}  // namespace

std::string_view egress_name(Egress egress) {
  return egress == Egress::open ? "open" : "declared";
}

std::optional<Egress> egress_named(std::string_view name) {
  for (Egress egress : {Egress::open, Egress::declared})
    if (egress_name(egress) == name) return egress;
  return std::nullopt;
}

std::string to_string(const Position& at) {
  if (!at.line) return at.file;
  return at.column ? fmt::format("{}:{}:{}", at.file, at.line, at.column)
                   : fmt::format("{}:{}", at.file, at.line);
}

void verify(const Deployment& deployment) {
  if (std::string fault = namespace_fault(deployment.name_space); !fault.empty())
    fail({}, "cannot use the namespace '{}': {}", printable(deployment.name_space), fault);
  for (const std::string& network : deployment.admin_acl)
    if (network != "local" && !is_cidr(network))
      fail({}, "cannot use AdminACL '{}': it must be a network like 192.0.2.0/24, or local",
           printable(network));
  if (!(deployment.max_price >= 0) || deployment.max_price > 1e6)
    fail({}, "cannot use MaxPrice {}: it must be a price in $ an hour, 0 for none", deployment.max_price);
  std::unordered_set<uint32_t> machines;
  for (const Machine& machine : deployment.machines) {
    check_machine(machine);
    if (!machines.insert(machine.id).second) fail(machine.at, "cannot use two machines of id {}", machine.id);
  }
  Names names;
  for (const Container& container : deployment.containers) {
    check_container(container);
    if (!names.containers.insert(container.id).second)
      fail(container.at, "cannot use two containers of id {}", container.id);
  }
  check_labels(deployment, names);
  for (const std::string& label : deployment.metadata_access)
    if (!names.labels.contains(label))
      fail({}, "cannot use '{}' in MetadataAccess: there is no label of that name", printable(label));
  for (const Connection& connection : deployment.connections) check_connection(connection, names);
  for (const Placement& placement : deployment.placements) check_placement(placement, names);
  for (const Invariant& invariant : deployment.invariants) check_invariant(invariant, names);
  check_invariants(deployment);
}

std::string namespace_fault(std::string_view name) {
  if (is_placeholder(name)) return "it is a placeholder: put your own name there";
  if (!is_name(name, "-_.", 63) || !is_word_start(name[0]))
    return "it must be 1 to 63 letters, digits, '-', '_' or '.', and begin with a letter or digit";
  return "";
}

namespace {

// Today's Ray hands objects from worker to worker; 2016's ray.spec connects the head and the workers only.
void connect_ray_workers(Deployment& deployment) {
  std::vector<uint32_t> workers;
  bool head = false;
  for (const Container& container : deployment.containers) {
    if (container.command.size() != 2 || container.command[0] != "run") continue;
    head = head || container.command[1] == "head";
    if (container.command[1] == "worker") workers.push_back(container.id);
  }
  if (!head || workers.size() < 2 || find_label(deployment, ray_workers_label)) return;
  for (const Connection& connection : deployment.connections) {
    if (connection.from != connection.to || connection.max_port != 65535) continue;
    const Label* label = find_label(deployment, connection.from);
    if (!label) continue;
    std::unordered_set<uint32_t> members(label->members.begin(), label->members.end());
    if (std::all_of(workers.begin(), workers.end(), [&](uint32_t id) { return members.count(id) > 0; }))
      return;
  }
  deployment.labels.push_back({.name = ray_workers_label, .members = workers});
  deployment.connections.push_back(
      {.from = ray_workers_label, .to = ray_workers_label, .min_port = 100, .max_port = 65535});
}

}  // namespace

void complete(Deployment& deployment) {
  for (Machine& machine : deployment.machines) {
    if (std::string name = canonical_provider(machine.provider); !name.empty()) machine.provider = name;
    if (machine.region.empty()) machine.region = default_region(machine.provider);
  }
  for (Placement& placement : deployment.placements)
    if (std::string name = canonical_provider(placement.provider); !name.empty()) placement.provider = name;
  connect_ray_workers(deployment);
}

std::vector<std::string> remarks(const Deployment& deployment) {
  std::vector<std::string> found;
  if (deployment.name_space == default_namespace)
    found.push_back(fmt::format("Namespace is not defined: it is {}", default_namespace));
  auto has = [&](const char* role) {
    return std::any_of(deployment.machines.begin(), deployment.machines.end(),
                       [&](const Machine& machine) { return machine.role == role; });
  };
  if (!deployment.machines.empty())
    for (const char* role : {master_role, worker_role})
      if (!has(role))
        found.push_back(fmt::format("no machine has the role {}: nothing boots without one", role));
  for (const Label& label : deployment.labels)
    if (std::any_of(label.name.begin(), label.name.end(), [](char c) { return c >= 'A' && c <= 'Z'; }))
      found.push_back(fmt::format("label '{}': labels should be lower case, as host names are", label.name));
  return found;
}

const Label* find_label(const Deployment& deployment, std::string_view name) {
  for (const Label& label : deployment.labels)
    if (label.name == name) return &label;
  return nullptr;
}

const Container* find_container(const Deployment& deployment, uint32_t id) {
  for (const Container& container : deployment.containers)
    if (container.id == id) return &container;
  return nullptr;
}

std::vector<std::string> labels_of(const Deployment& deployment, uint32_t container) {
  std::vector<std::string> names;
  for (const Label& label : deployment.labels)
    if (std::find(label.members.begin(), label.members.end(), container) != label.members.end())
      names.push_back(label.name);
  return names;
}

const std::vector<std::string>& provider_names() {
  static const std::vector<std::string> names{"Amazon", "Google", "Azure", "Local"};
  return names;
}

std::string canonical_provider(std::string_view name) {
  auto same = [&](std::string_view other) {
    return std::equal(name.begin(), name.end(), other.begin(), other.end(), [](char a, char b) {
      auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
      return lower(a) == lower(b);
    });
  };
  if (same("Vagrant")) return "Local";
  for (const std::string& known : provider_names())
    if (same(known)) return known;
  return "";
}

std::string default_region(std::string_view provider) {
  if (provider == "Amazon") return "us-west-1";
  if (provider == "Google") return "us-east1-b";
  if (provider == "Azure") return "Central US";
  return "";
}

const std::vector<std::string>& invariant_forms() {
  static const std::vector<std::string> forms{"reach", "reachDirect", "reachACL", "between", "enough"};
  return forms;
}

bool is_placeholder(std::string_view text) {
  if (text == "CHANGE_ME") return true;
  return text.size() > 5 && text.starts_with("YOUR_") &&
         std::all_of(text.begin() + 5, text.end(),
                     [](char c) { return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; });
}

bool is_cidr(std::string_view text) {
  size_t slash = text.find('/');
  std::string address(text.substr(0, slash));
  in6_addr parsed;
  unsigned longest = 32;
  if (inet_pton(AF_INET, address.c_str(), &parsed) != 1) {
    if (inet_pton(AF_INET6, address.c_str(), &parsed) != 1) return false;
    longest = 128;
  }
  if (slash == std::string_view::npos) return true;
  std::string_view digits = text.substr(slash + 1);
  unsigned length = 0;
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  return error == std::errc{} && end == digits.data() + digits.size() && length <= longest;
}

}  // namespace rayctl::stitch
