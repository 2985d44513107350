#include "ray/node_config.h"

#include <fmt/ranges.h>
#include <sched.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "cluster/control_address.h"

namespace rayctl::ray {

namespace {

constexpr uint64_t gib = 1ull << 30;
constexpr uint64_t least_memory = gib / 2;  // below, Ray's own processes don't fit

uint64_t size_of(const Json& value) {
  return value.is_string() ? parse_size(value.string()) : value.size();
}

bool is_label(std::string_view text) {  // RFC 1123 label
  if (text.empty() || text.size() > 63 || text.front() == '-' || text.back() == '-') return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

void require_label(std::string_view flag, const std::string& value) {
  if (!is_label(value))
    throw UsageError("{}: '{}' isn't a host name label: use a-z, 0-9 and '-' inside, at most 63 characters",
                     flag, value);
}

void require_one_of(std::string_view flag, const std::string& value, const std::vector<std::string>& words) {
  if (value.empty() || std::find(words.begin(), words.end(), value) != words.end()) return;
  throw UsageError("{}: '{}' is none of {}", flag, value, fmt::join(words, ", "));
}

Resources resources_of(const NodeOptions& options, const Machine& machine) {
  Resources r;
  uint64_t reserve = std::max(std::min(gib, machine.memory_total / 4), machine.memory_total / 10);
  r.memory = options.memory.value_or(machine.memory_total > reserve ? machine.memory_total - reserve : 0);
  if (r.memory < least_memory)
    throw UsageError(
        "--memory: {} is too little for Ray: give at least 512M{}", human_size(r.memory),
        options.memory ? "" : fmt::format(" (this machine has {})", human_size(machine.memory_total)));
  if (r.memory >= machine.memory_total)
    throw UsageError("--memory: {} isn't below this machine's {}", human_size(r.memory),
                     human_size(machine.memory_total));
  r.cpus = options.cpus.value_or(machine.cpus);
  if (!(r.cpus >= 0.01) || r.cpus > machine.cpus)
    throw UsageError("--cpus: {} isn't within 0.01 and this machine's {}", r.cpus, machine.cpus);
  r.ray_cpus = std::max<uint64_t>(1, static_cast<uint64_t>(std::floor(r.cpus)));
  r.shm_size = options.shm_size.value_or(r.memory / 100 * 35);
  if (r.shm_size > r.memory)
    throw UsageError("--shm-size: {} is more than the container's memory of {}", human_size(r.shm_size),
                     human_size(r.memory));
  // Ray moves its store out of /dev/shm, or refuses to start, when it doesn't fit.
  r.object_store = std::min(r.memory / 100 * 30, r.shm_size / 100 * 95);
  constexpr uint64_t least_store = 80ull << 20;  // Ray's own minimum is 75 MiB
  if (r.object_store < least_store)
    throw UsageError("--shm-size: {} is too little for Ray's object store: give at least 96M",
                     human_size(r.shm_size));
  r.ray_memory = r.memory - r.object_store;
  return r;
}

}  // namespace

NodeOptions parse_node_options(std::string_view text, const std::string& file) {
  Json doc = Json::parse(text, file);
  doc.only({"role",
            "image",
            "workers",
            "prefix",
            "name",
            "listen",
            "advertise",
            "pool",
            "overlay",
            "overlay-port",
            "overlay-cipher",
            "egress",
            "metadata",
            "memory",
            "cpus",
            "shm-size",
            "join",
            "token-file",
            "claim-token-file",
            "registry-auth",
            "registry-ca",
            "insecure-registry",
            "entrypoint",
            "env",
            "job",
            "labels",
            "stop-grace"});
  NodeOptions o;
  auto text_of = [&](const char* key, std::optional<std::string>& target) {
    if (auto value = doc.find(key)) target = value->string();
  };
  text_of("role", o.role);
  text_of("image", o.image);
  text_of("prefix", o.prefix);
  text_of("name", o.name);
  text_of("listen", o.listen);
  text_of("advertise", o.advertise);
  text_of("pool", o.pool);
  text_of("overlay", o.overlay);
  text_of("overlay-cipher", o.overlay_cipher);
  text_of("egress", o.egress);
  text_of("metadata", o.metadata);
  text_of("join", o.join);
  text_of("token-file", o.token_file);
  text_of("claim-token-file", o.claim_token_file);
  text_of("registry-auth", o.registry_auth);
  text_of("registry-ca", o.registry_ca);
  text_of("entrypoint", o.entrypoint);
  text_of("job", o.job);
  text_of("stop-grace", o.stop_grace);
  if (auto value = doc.find("overlay-port")) o.overlay_port = value->size();
  if (auto value = doc.find("workers")) o.workers = value->size();
  if (auto value = doc.find("cpus")) o.cpus = value->number();
  if (auto value = doc.find("memory")) o.memory = size_of(*value);
  if (auto value = doc.find("shm-size")) o.shm_size = size_of(*value);
  o.insecure_registries = doc.strings_or_empty("insecure-registry");
  if (auto value = doc.find("env"))
    for (const auto& [key, variable] : value->string_map()) o.env.push_back(key + "=" + variable);
  if (auto value = doc.find("labels"))
    for (const auto& [key, label] : value->string_map()) o.labels.push_back(key + "=" + label);
  return o;
}

NodeOptions merge(NodeOptions first, const NodeOptions& second) {
  auto fill = [](auto& target, const auto& source) {
    if (!target) target = source;
  };
  fill(first.role, second.role);
  fill(first.image, second.image);
  fill(first.prefix, second.prefix);
  fill(first.name, second.name);
  fill(first.listen, second.listen);
  fill(first.advertise, second.advertise);
  fill(first.pool, second.pool);
  fill(first.overlay, second.overlay);
  fill(first.overlay_port, second.overlay_port);
  fill(first.overlay_cipher, second.overlay_cipher);
  fill(first.egress, second.egress);
  fill(first.metadata, second.metadata);
  fill(first.join, second.join);
  fill(first.token_file, second.token_file);
  fill(first.claim_token_file, second.claim_token_file);
  fill(first.registry_auth, second.registry_auth);
  fill(first.registry_ca, second.registry_ca);
  fill(first.entrypoint, second.entrypoint);
  fill(first.job, second.job);
  fill(first.stop_grace, second.stop_grace);
  fill(first.workers, second.workers);
  fill(first.memory, second.memory);
  fill(first.shm_size, second.shm_size);
  fill(first.cpus, second.cpus);
  first.insecure_registries.insert(first.insecure_registries.end(), second.insecure_registries.begin(),
                                   second.insecure_registries.end());
  first.env.insert(first.env.begin(), second.env.begin(), second.env.end());  // later wins: the flag's
  first.labels.insert(first.labels.begin(), second.labels.begin(), second.labels.end());
  return first;
}

Machine this_machine() {
  Machine machine;
  std::string meminfo = read_file("/proc/meminfo");
  size_t at = meminfo.find("MemTotal:");
  if (at == std::string::npos) throw Error("cannot find 'MemTotal' in '/proc/meminfo'");
  machine.memory_total = std::stoull(meminfo.substr(at + 9)) * 1024;
  cpu_set_t set;
  check(sched_getaffinity(0, sizeof set, &set), "cannot count this machine's CPUs");
  machine.cpus = static_cast<unsigned>(CPU_COUNT(&set));
  return machine;
}

NodeConfig resolve(const NodeOptions& options, const Machine& machine) {
  NodeConfig c;
  std::string role = options.role.value_or("");
  if (role.empty()) throw UsageError("--role: missing: say --role head or --role worker");
  if (role != "head" && role != "worker") throw UsageError("--role: '{}' is neither head nor worker", role);
  c.role = role == "head" ? cluster::MemberRole::head : cluster::MemberRole::worker;
  c.image = options.image.value_or("");
  if (c.image.empty() && c.role == cluster::MemberRole::head)
    throw UsageError("--image: missing: name the image that Ray runs in");
  c.overlay = options.overlay.value_or("");
  require_one_of("--overlay", c.overlay, {"auto", "wireguard", "userspace", "vxlan", "host"});
  if (c.role == cluster::MemberRole::head) {
    c.overlay_cipher = options.overlay_cipher.value_or("");
    require_one_of("--overlay-cipher", c.overlay_cipher, {"chacha20poly1305", "aes256gcm"});
    c.egress = options.egress.value_or("");
    require_one_of("--egress", c.egress, {"open", "declared"});
    if (c.overlay == "host" && c.egress == "declared")
      throw UsageError("--egress declared: overlay 'host' has no rules of its own; choose another --overlay");
    c.metadata = options.metadata.value_or("");
    require_one_of("--metadata", c.metadata, {"blocked", "allowed"});
    uint64_t port = options.overlay_port.value_or(0);
    if (port > 65535) throw UsageError("--overlay-port: {} isn't a UDP port: 1 to 65535", port);
    c.overlay_port = static_cast<uint16_t>(port);
    for (const auto& [flag, value] :
         {std::pair{"--join", options.join}, {"--token-file", options.token_file}})
      if (value) throw UsageError("{}: only a worker joins; the head makes the cluster", flag);
    c.prefix = options.prefix.value_or(c.prefix);
    require_label("--prefix", c.prefix);
    if (c.prefix.size() > 50) throw UsageError("--prefix: '{}' is longer than 50 characters", c.prefix);
    c.pool = options.pool.value_or("");
    c.workers = options.workers.value_or(0);
    cluster::HostPort listen =
        cluster::parse_host_port(options.listen.value_or(""), cluster::default_control_port);
    c.listen_host = listen.host;
    c.listen_port = listen.port;
    c.job = options.job.value_or("");
    c.claim_token_file = options.claim_token_file.value_or("");
  } else {
    for (const auto& [flag, given] : {std::pair{"--prefix", options.prefix.has_value()},
                                      {"--pool", options.pool.has_value()},
                                      {"--workers", options.workers.has_value()},
                                      {"--listen", options.listen.has_value()},
                                      {"--overlay-port", options.overlay_port.has_value()},
                                      {"--overlay-cipher", options.overlay_cipher.has_value()},
                                      {"--egress", options.egress.has_value()},
                                      {"--metadata", options.metadata.has_value()},
                                      {"--job", options.job.has_value()},
                                      {"--claim-token-file", options.claim_token_file.has_value()}})
      if (given) throw UsageError("{}: set on the head, for the whole cluster", flag);
    if (!options.join || options.join->empty())
      throw UsageError("--join: missing: name the head as HOST:PORT");
    cluster::HostPort join = cluster::parse_host_port(*options.join, cluster::default_control_port);
    if (join.host.empty()) throw UsageError("--join: '{}' names no host", *options.join);
    c.join_host = join.host;
    c.join_port = join.port;
    c.token_file = options.token_file.value_or("");
  }
  c.name = options.name.value_or("");
  if (!c.name.empty()) require_label("--name", c.name);
  c.advertise = options.advertise.value_or("");
  c.registry_auth = options.registry_auth.value_or("");
  c.registry_ca = options.registry_ca.value_or("");
  c.insecure_registries = options.insecure_registries;
  c.entrypoint = options.entrypoint;
  for (const std::string& variable : options.env)
    if (variable.find('=') == 0 || variable.find('=') == std::string::npos)
      throw UsageError("--env: '{}' isn't of the form NAME=VALUE", variable);
  c.env = options.env;
  for (const std::string& label : options.labels) {
    size_t equals = label.find('=');
    if (equals == std::string::npos || equals == 0 || label.size() > 256)
      throw UsageError("--label: '{}' isn't of the form NAME=VALUE", label);
    c.labels[label.substr(0, equals)] = label.substr(equals + 1);
  }
  if (c.labels.size() > 64) throw UsageError("--label: more than 64");
  if (options.stop_grace) c.stop_grace = parse_duration(*options.stop_grace);
  c.resources = resources_of(options, machine);
  return c;
}

}  // namespace rayctl::ray
