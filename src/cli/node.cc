#include <fcntl.h>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/commands.h"
#include "ray/node_cleanup.h"
#include "ray/node_config.h"
#include "ray/supervisor.h"

namespace rayctl::cli {

namespace {

struct Node {
  ray::NodeOptions flags;
  std::optional<Size> memory, shm_size;
  std::optional<std::string> config;
};

int node(const Globals& globals, Node& n) {
  if (n.memory) n.flags.memory = n.memory->bytes;
  if (n.shm_size) n.flags.shm_size = n.shm_size->bytes;
  ray::NodeOptions options = n.flags;
  std::string file = n.config.value_or(ray::default_config_file);
  if (n.config || exists(file)) options = ray::merge(options, ray::parse_node_options(read_file(file), file));
  return ray::run_supervisor(globals.paths, resolve(options, ray::this_machine()));
}

std::vector<Argument> node_arguments(Node& n) {
  ray::NodeOptions& f = n.flags;
  return {
      choice("--role", {"head", "worker"}, &f.role, "what this machine is in the cluster"),
      option("--config", "FILE", &n.config,
             "read flags from a JSON file (default /etc/rayctl/node.json, where it exists); a flag wins"),
      option("--image", "NAME", &f.image, "the image that Ray runs in; workers take the head's"),
      option("--workers", "N", &f.workers, "head: how many workers make the cluster whole (default 0)"),
      option("--prefix", "NAME", &f.prefix, "head: names are NAME-ms-0 and NAME-wk-N (default ray)"),
      option("--name", "NAME", &f.name, "this node's name instead of the assigned one"),
      option("--listen", "[HOST][:PORT]", &f.listen,
             "head: where the control API listens (default every address, TCP port 7443)"),
      option("--advertise", "ADDRESS", &f.advertise,
             "the address at which other nodes reach this one (default: the route's)"),
      option("--pool", "SUBNET", &f.pool,
             "head: containers' addresses (default: the first free of 10.64.0.0/12, …), fixed at creation"),
      option("--overlay", "MODE", &f.overlay,
             "head: the network between nodes: auto (default: encrypted, by the kernel's WireGuard or "
             "rayctl's own), "
             "wireguard, userspace, vxlan (not encrypted), or host (no overlay: containers use the machines' "
             "own addresses and ports, no rule is enforced); worker: how it encrypts"),
      option("--overlay-port", "PORT", &f.overlay_port,
             "head: the overlay's UDP port, open between all nodes (default 51820; vxlan: 8472)"),
      option("--overlay-cipher", "NAME", &f.overlay_cipher,
             "head: chacha20poly1305 (default) or aes256gcm, faster, between nodes that both encrypt in "
             "userspace"),
      option(
          "--egress", "open|declared", &f.egress,
          "head: what containers reach outside: everything (default), or what a deployment's connect says"),
      option("--metadata", "blocked|allowed", &f.metadata,
             "head: whether containers may ask the cloud's metadata service (default blocked; a spec "
             "allows it by label)"),
      option("--join", "HOST[:PORT]", &f.join, "worker: the head"),
      option("--token-file", "FILE|-", &f.token_file,
             "worker: where the join token is read from (or set RAYCTL_TOKEN)"),
      option(
          "--claim-token-file", "FILE", &f.claim_token_file,
          "head: make no CA, wait for the operator who has the token too (rayctl up, rayctl context claim)"),
      option(
          "--memory", "SIZE", &n.memory,
          "the container's limit (default: this machine's less 1 GiB, at least a tenth and at most a quarter "
          "of it)"),
      option("--cpus", "N", &f.cpus, "the container's CPUs, fractions allowed (default: all)"),
      option("--shm-size", "SIZE", &n.shm_size, "size of /dev/shm, part of the memory (default 35 % of it)"),
      option("--entrypoint", "PATH", &f.entrypoint, "instead of the image's; '' drops it"),
      option("--label", "NAME=VALUE", &f.labels,
             "say something of this node to the cluster; may be repeated"),
      option("-e,--env", "NAME=VALUE", &f.env, "set a variable in the container; may be repeated"),
      option("--job", "COMMAND", &f.job, "head: run once all workers are in"),
      option("--stop-grace", "TIME", &f.stop_grace, "between TERM and KILL (default 35s: Ray drains for 30)"),
      option("--registry-auth", "FILE", &f.registry_auth, "a docker config.json with the registry's login"),
      option("--registry-ca", "FILE", &f.registry_ca,
             "certificates that the registry's may be signed by, beside the system's"),
      option("--insecure-registry", "HOST[:PORT]", &f.insecure_registries,
             "allow plain HTTP to this registry; may be repeated"),
  };
}

Command stop_node_command() {
  return {
      .name = "stop",
      .summary = "Stop this node's containers, names and links; keep images, keys and membership",
      .examples = {{"rayctl node stop",
                    "before a reboot, or when the supervisor was ended and its containers should end too"}},
      .run = [](const Globals& globals) {
        ray::stop_node(globals.paths);
        return 0;
      }};
}

Command reset_command() {
  auto yes = std::make_shared<bool>(false);
  return {.name = "reset",
          .summary = "Remove everything of this node: containers, images, keys, links and systemd units",
          .arguments = {flag("-y,--yes", *yes, "don't ask")},
          .examples = {{"rayctl node reset --yes",
                        "this machine forgets its cluster; the cluster forgets it a day later"}},
          .run = [yes](const Globals& globals) {
            ray::reset_node(globals.paths, *yes ? ray::Confirm::given : ray::Confirm::ask);
            return 0;
          }};
}

}  // namespace

Command node_command() {
  auto n = std::make_shared<Node>();
  Command command{
      .name = "node",
      .group = Group::node,
      .summary = "Supervise this machine: join the cluster, build the overlay, run Ray",
      .description =
          "Runs in the foreground until SIGINT or SIGTERM. Containers outlive it: the next start takes them "
          "over.\n"
          "Ports: TCP 7443 on the head, UDP 51820 on every node; Ray's own are reachable in the overlay "
          "only.",
      .arguments = node_arguments(*n),
      .examples = {{"rayctl node --role head --image registry:5000/ray --workers 2", "makes a cluster"},
                   {"rayctl node --role worker --join 10.0.0.1 --token-file token", "joins it"}},
      .run = [n](const Globals& globals) { return node(globals, *n); }};
  command.commands = {stop_node_command(), reset_command()};
  return command;
}

}  // namespace rayctl::cli
