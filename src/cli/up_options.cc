#include "cli/up_options.h"

#include "base/error.h"
#include "base/file.h"
#include "cloud/provider.h"
#include "cloud/user_data.h"
#include "fleet/quick.h"
#include "stitch/stitch.h"

namespace rayctl::cli {

namespace {

std::string absolute_or_empty(const std::optional<std::string>& path) {
  if (!path) return "";
  if (!exists(*path)) throw UsageError("cannot use '{}': there is no such file", *path);
  return absolute(*path);
}

stitch::Deployment of_options(const UpOptions& o) {
  if (!o.provider)
    throw UsageError(
        "what should be brought up? Name a spec (rayctl up FILE.spec), or a provider (rayctl up --provider "
        "Local "
        "--workers 2 --image NAME)");
  if (!o.image) throw UsageError("--image: name the image that Ray runs in");
  fleet::QuickWish wish;
  wish.provider = cloud::canonical_provider(*o.provider);
  wish.workers = o.workers.value_or(1);
  if (o.name_space) wish.name_space = *o.name_space;
  wish.region = o.region.value_or("");
  wish.size = o.size.value_or("");
  wish.head_size = o.head_size.value_or("");
  wish.machine_image = o.machine_image.value_or("");
  wish.spot = o.spot;
  if (o.disk) wish.disk_gb = *o.disk;
  for (const std::string& key : o.ssh_keys) wish.ssh_keys.push_back(fleet::read_ssh_key(key));
  return fleet::quick_deployment(wish);
}

stitch::Deployment of_file(const UpOptions& o) {
  const std::pair<const char*, bool> excluded[] = {{"--provider", o.provider.has_value()},
                                                   {"--workers", o.workers.has_value()},
                                                   {"--region", o.region.has_value()},
                                                   {"--size", o.size.has_value()},
                                                   {"--head-size", o.head_size.has_value()},
                                                   {"--spot", o.spot},
                                                   {"--machine-image", o.machine_image.has_value()},
                                                   {"--disk", o.disk.has_value()}};
  for (const auto& [name, given] : excluded)
    if (given) throw UsageError("{}: '{}' says what machines there are; change it there", name, *o.file);
  stitch::Deployment deployment = stitch::load_deployment(*o.file);
  if (o.name_space) deployment.name_space = *o.name_space;
  for (stitch::Machine& machine : deployment.machines)
    for (const std::string& key : o.ssh_keys) machine.ssh_keys.push_back(fleet::read_ssh_key(key));
  if (o.image && !deployment.containers.empty())
    throw UsageError("--image: '{}' names the images of its containers; change them there", *o.file);
  if (!o.image && deployment.containers.empty())
    throw UsageError("'{}' has no containers: name the image that Ray runs in (--image NAME)", *o.file);
  return deployment;
}

}  // namespace

std::vector<Argument> deployment_arguments(UpOptions& o) {
  return {
      positional("SPEC", &o.file, "a .spec, or a deployment as JSON (rayctl spec eval shows one)"),
      option("--provider", "NAME", &o.provider, "without a file: Amazon, Google, Azure or Local"),
      option("--workers", "N", &o.workers, "without a file: how many machines beside the head (default 1)"),
      option(
          "--image", "NAME", &o.image,
          "without a file: the image that Ray runs in; one of this computer's, named without a registry, is "
          "sent to the head"),
      option("--namespace", "NAME", &o.name_space, "the cluster's name (default: the spec's, or ray)"),
      option("--region", "NAME", &o.region, "without a file: where (default: the provider's first)"),
      option("--size", "NAME", &o.size, "without a file: of the machines (default: the provider's)"),
      option("--head-size", "NAME", &o.head_size, "without a file: of the head, when it differs"),
      option("--machine-image", "NAME", &o.machine_image,
             "without a file: what machines boot, in the cloud's own form (default: its Ubuntu or Debian)"),
      flag("--spot", o.spot, "without a file: workers are spot machines, which the cloud may take back"),
      option("--disk", "GB", &o.disk, "without a file: of each machine (default 32)"),
      option("--ssh-key", "KEY|FILE", &o.ssh_keys, "a public key that may log in besides; may be repeated"),
  };
}

std::vector<Argument> setting_arguments(UpOptions& o) {
  return {
      option("--admin-cidr", "CIDR", &o.admin_cidrs,
             "who reaches the machines, in place of the spec's AdminACL (default: this computer); may be "
             "repeated"),
      option("--project", "NAME", &o.project, "Google: the project; Azure: the subscription"),
      option("--network", "NAME", &o.network,
             "Amazon: a VPC or subnet; Google: a network (default: the default one)"),
      option("--endpoint", "URL", &o.endpoint, "of the cloud's API, in place of its own"),
      option("--prices", "FILE", &o.prices, "a price table in place of the built-in one"),
      option("--overlay", "MODE", &o.overlay, "the network between containers, as of 'rayctl node'"),
      option("--prefix", "NAME", &o.prefix, "names of nodes are NAME-ms-0 and NAME-wk-N (default ray)"),
      option("--registry-auth", "FILE", &o.registry_auth,
             "a docker config.json with the registry's login; reaches nodes over the control channel only"),
      option("--registry-ca", "FILE", &o.registry_ca, "certificates that the registry's may be signed by"),
      option("--insecure-registry", "HOST[:PORT]", &o.insecure_registries,
             "allow plain HTTP to this registry; may be repeated"),
      option("--binary", "FILE", &o.binary, "the rayctl that machines run (default: this one)"),
      option("--binary-url", "URL", &o.binary_url,
             "where machines fetch it (default: the head from here, over ssh; workers from the head)"),
      option("--binary-sha256", "HEX", &o.binary_sha256, "what --binary-url must give"),
      choice("--user-data", cloud::user_data_formats(), &o.user_data_format,
             "the format of what machines are told at boot (default boothook)"),
      option("--address-service", "URL", &o.address_service,
             "answers with this computer's public address, which \"local\" stands for"),
  };
}

fleet::UpWish up_wish(const UpOptions& o) {
  fleet::UpWish wish;
  fleet::Settings& s = wish.settings;
  s.admin_cidrs = o.admin_cidrs;
  for (const std::string& cidr : s.admin_cidrs)
    if (cidr != "local" && !stitch::is_cidr(cidr))
      throw UsageError("--admin-cidr: '{}' is no network, like 203.0.113.0/24", cidr);
  s.project = o.project.value_or("");
  s.network = o.network.value_or("");
  s.endpoint = o.endpoint.value_or("");
  s.prices_file = absolute_or_empty(o.prices);
  s.overlay = o.overlay.value_or("");
  s.prefix = o.prefix.value_or("");
  s.registry_auth = absolute_or_empty(o.registry_auth);
  s.registry_ca = absolute_or_empty(o.registry_ca);
  s.insecure_registries = o.insecure_registries;
  s.binary = absolute_or_empty(o.binary);
  s.binary_url = o.binary_url.value_or("");
  s.binary_sha256 = o.binary_sha256.value_or("");
  if (s.binary_url.empty() != s.binary_sha256.empty())
    throw UsageError("--binary-url and --binary-sha256 go together: machines trust nothing but the hash");
  s.user_data_format = o.user_data_format.value_or("");
  s.address_service = o.address_service.value_or("");
  s.image = o.image.value_or("");
  wish.deployment = o.file ? of_file(o) : of_options(o);
  stitch::verify(wish.deployment);
  stitch::complete(wish.deployment);
  fleet::fetch_github_keys(wish.deployment);
  if (s.image.empty()) s.image = fleet::image_of(wish.deployment);
  return wish;
}

}  // namespace rayctl::cli
