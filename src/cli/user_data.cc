#include "cloud/user_data.h"

#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cluster/control_address.h"
#include "cluster/control_protocol.h"
#include "cluster/token.h"
#include "ray/node_config.h"

namespace rayctl::cli {

namespace {

struct UserDataOptions {
  std::optional<std::string> role, config, image, overlay, join, token_file, sha256, output;
  std::optional<uint64_t> workers;
  std::vector<std::string> urls, ssh_keys;
  bool from_head = false;
  std::string format = "boothook";
};

// A file's lines, or the key itself.
void add_keys(std::vector<std::string>& keys, const std::string& given) {
  if (given.find(' ') != std::string::npos) return keys.push_back(std::string(trim(given)));
  for (const std::string& line : split(read_file(given, 1 << 20), '\n'))
    if (std::string_view key = trim(line); !key.empty() && key.front() != '#') keys.emplace_back(key);
}

nlohmann::json node_config(const UserDataOptions& o) {
  nlohmann::json config = nlohmann::json::object();
  if (o.config) {
    std::string text = read_file(*o.config);
    ray::parse_node_options(text, *o.config);  // names the key that is wrong
    config = Json::parse(text, *o.config).raw();
  }
  for (const auto& [key, value] :
       {std::pair{"role", o.role}, {"image", o.image}, {"overlay", o.overlay}, {"join", o.join}})
    if (value) config[key] = *value;
  if (o.workers) config["workers"] = *o.workers;
  if (!config.contains("role")) throw UsageError("--role: missing: say --role head or --role worker");
  return config;
}

cloud::UserData user_data_of(const UserDataOptions& o) {
  cloud::UserData data;
  nlohmann::json config = node_config(o);
  data.node_config = config.dump();
  ray::NodeOptions node = ray::parse_node_options(data.node_config, "node configuration");
  bool worker = node.role == "worker";
  if (worker && !node.join) throw UsageError("--join: missing: name the head as HOST:PORT");
  if (!worker && !node.image) throw UsageError("--image: missing: name the image that Ray runs in");
  if (o.token_file) {
    auto token = cluster::read_token(*o.token_file);
    if (!token) throw UsageError("--token-file: '{}' holds no token", *o.token_file);
    if (token->role != (worker ? cluster::MemberRole::worker : cluster::MemberRole::head))
      throw UsageError("--token-file: '{}' holds a token for a {}", *o.token_file,
                       cluster::role_name(token->role));
    data.token = cluster::format_token(*token);
  } else if (worker) {
    throw UsageError(
        "--token-file: missing: a worker joins with a token (type on the head: rayctl token create --role "
        "worker)");
  }
  data.binary.urls = o.urls;
  if (o.from_head) {
    if (!worker) throw UsageError("--binary-from-head: for workers: give the head a --binary-url");
    cluster::HostPort head = cluster::parse_host_port(*node.join, cluster::default_control_port);
    data.binary.urls.push_back(cloud::binary_of_head(head.host, head.port));
  }
  if (data.binary.urls.empty())
    throw UsageError("--binary-url: missing: say where the machine fetches rayctl{}",
                     worker ? ", or --binary-from-head" : "");
  data.binary.sha256 = o.sha256 ? *o.sha256 : hex(sha256(read_file("/proc/self/exe", 512 << 20)));
  for (const std::string& key : o.ssh_keys) add_keys(data.ssh_keys, key);
  return data;
}

int print(const UserDataOptions& o) {
  std::string text = cloud::user_data(user_data_of(o), cloud::user_data_format(o.format));
  if (o.output)
    replace_file(*o.output, text, 0600);
  else
    fmt::print("{}", text);
  return 0;
}

}  // namespace

Command user_data_command() {
  auto o = std::make_shared<UserDataOptions>();
  return {
      .name = "user-data",
      .group = Group::cluster,
      .summary = "Print what a new machine is given at its first boot, so that it joins by itself",
      .description =
          "For clouds that 'rayctl up' doesn't drive: paste the text where the cloud asks for user-data "
          "(cloud-init), or for an Ignition configuration. The machine fetches rayctl, checks its SHA-256, "
          "and runs it under systemd; each boot puts right what is missing.\n"
          "A token in it can be used until it expires or was used as often as it may be; no other secret is "
          "in it.",
      .arguments =
          {choice("--role", {"head", "worker"}, &o->role, "what the machine is in the cluster"),
           option("--config", "FILE", &o->config,
                  "the node's configuration, as 'rayctl node --config' reads it; an option here wins"),
           option("--image", "NAME", &o->image, "head: the image that Ray runs in"),
           option("--workers", "N", &o->workers, "head: how many workers make the cluster whole"),
           option("--overlay", "MODE", &o->overlay, "head: the network between nodes"),
           option("--join", "HOST[:PORT]", &o->join, "worker: the head"),
           option("--token-file", "FILE|-", &o->token_file,
                  "a worker's join token, or a head's claim token: it becomes part of the text"),
           option("--binary-url", "URL", &o->urls,
                  "where the machine fetches rayctl; may be repeated: the next one is tried when one fails"),
           flag("--binary-from-head", o->from_head, "worker: fetch rayctl from the head's control port"),
           option("--sha256", "HEX", &o->sha256, "of the binary there (default: of this rayctl)"),
           option("--ssh-key", "FILE|KEY", &o->ssh_keys,
                  "a public key that may log in as the image's login user; may be repeated"),
           choice(
               "--format", cloud::user_data_formats(), &o->format,
               "boothook (cloud-init, starts the node early), cloud-config, or ignition (Flatcar, CoreOS)"),
           option("-o,--output", "FILE", &o->output, "write it there, mode 0600, instead of printing it")},
      .examples = {{"rayctl user-data --role head --image registry:5000/ray --workers 2 --overlay vxlan "
                    "--binary-url https://example.com/rayctl",
                    "for the first machine"},
                   {"rayctl user-data --role worker --join 10.0.0.1 --token-file token --binary-from-head",
                    "for the others"}},
      .run = [o](const Globals&) { return print(*o); }};
}

}  // namespace rayctl::cli
