#include "ray/unit_make.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <map>

#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "net/container_net.h"
#include "net/netns.h"
#include "oci/collect.h"
#include "oci/pull.h"
#include "ray/image_wire.h"
#include "ray/unit_adopt.h"
#include "run/lifecycle.h"
#include "run/user.h"

namespace rayctl::ray {

namespace {

std::string registry_file(const std::string& path) {
  return path.empty() ? "" : absolute(path);
}

oci::PullOptions telling_percents(const std::function<void(int)>& progress) {
  oci::PullOptions options;
  options.progress = [told = std::make_shared<std::atomic<int>>(-1), progress](uint64_t done,
                                                                               uint64_t total) {
    int percent = static_cast<int>(static_cast<double>(done) * 100 / static_cast<double>(total));
    if (told->exchange(percent) != percent) progress(percent);
  };
  return options;
}

oci::Image pull_image(oci::Store& store, oci::Layers& layers, const NodeConfig& config,
                      const oci::Reference& reference, ImageAccess& access,
                      const std::function<void(int)>& progress, const std::atomic<bool>& cancel) {
  oci::RegistryOptions options;
  options.cancel = &cancel;
  options.ca_file = registry_file(config.registry_ca);
  options.auth_file = registry_file(config.registry_auth);
  options.insecure = std::find(config.insecure_registries.begin(), config.insecure_registries.end(),
                               reference.registry) != config.insecure_registries.end();
  // What this node was told itself wins over what the cluster knows.
  RegistryAccess known = access.registry(reference.registry);
  if (options.ca_file.empty()) options.ca_text = known.ca;
  if (options.auth_file.empty()) options.credentials = known.credentials;
  oci::Registry registry(reference.registry, options);
  std::unique_ptr<oci::ImageSource> source = oci::source_from(registry, reference.repository);
  oci::Image image =
      oci::pull(*source, oci::version_of(reference), store, &layers, telling_percents(progress));
  store.tag(oci::to_string(reference), image.descriptor);
  return image;
}

oci::Image head_image(oci::Store& store, oci::Layers& layers, const std::string& name, ImageAccess& access,
                      const std::function<void(int)>& progress) {
  oci::Reference reference = oci::parse_reference(name);
  std::string full = oci::to_string(reference);
  std::unique_ptr<oci::ImageSource> head = access.head_images();
  bool here = store.find(full).has_value();
  if (!head) {
    if (!here)
      throw Error("the head has no image '{}' yet (rayctl push head:{})", oci::familiar(reference),
                  oci::familiar(reference));
    return store.resolve(full);
  }
  try {
    head->manifest(full);
  } catch (const Error& e) {  // what was fetched earlier is better than nothing
    if (!here) throw;
    warn("the head can't be asked for image '{}', the one that is here is taken: {}",
         oci::familiar(reference), e.message());
    return store.resolve(full);
  }
  oci::Image image = oci::pull(*head, full, store, &layers, telling_percents(progress));
  store.tag(full, image.descriptor);
  return image;
}

// A file of the topmost layer that has it, or one of its whiteouts: enough to look for a program.
bool has_executable(const std::vector<std::string>& lowerdirs, const std::string& path) {
  for (auto layer = lowerdirs.rbegin(); layer != lowerdirs.rend(); ++layer) {
    Fd root = open_directory(*layer);
    Fd file = open_in_root(root.get(), path, O_PATH);
    struct stat info;
    if (!file || fstat(file.get(), &info) < 0) continue;
    if (S_ISCHR(info.st_mode)) return false;  // a whiteout
    return S_ISREG(info.st_mode) && (info.st_mode & 0111);
  }
  return false;
}

int signal_number(const std::string& name) {
  static const std::map<std::string, int> numbers = {{"TERM", SIGTERM}, {"INT", SIGINT},    {"QUIT", SIGQUIT},
                                                     {"HUP", SIGHUP},   {"KILL", SIGKILL},  {"USR1", SIGUSR1},
                                                     {"USR2", SIGUSR2}, {"WINCH", SIGWINCH}};
  std::string_view bare = name;
  if (bare.starts_with("SIG")) bare.remove_prefix(3);
  if (auto it = numbers.find(std::string(bare)); it != numbers.end()) return it->second;
  int number =
      !bare.empty() && bare.size() <= 2 && bare.find_first_not_of("0123456789") == std::string_view::npos
          ? std::stoi(std::string(bare))
          : 0;
  return number >= 1 && number <= 64 ? number : SIGTERM;
}

// The node's name is its own Ray container's; one of a deployment is known by its labels, which may change.
std::vector<std::string> own_names(const UnitPlace& place, const std::string& id) {
  std::vector<std::string> names{id.substr(0, 12)};
  if (place.unit.empty()) names.insert(names.end(), {place.node_name + ".q", place.node_name});
  return names;
}

}  // namespace

ReadyImage ready_image(const Paths& paths, const NodeConfig& config, const std::string& name,
                       ImageAccess& access, const std::function<void(int percent)>& progress,
                       const std::atomic<bool>& cancel) {
  oci::Store store(join(paths.state_dir, "store"));
  oci::Layers layers(paths.state_dir);
  auto in_use = std::make_shared<oci::StoreLock>(store.use());
  oci::Image image;
  if (name.starts_with(head_image_prefix)) {
    image = head_image(store, layers, name.substr(head_image_prefix.size()), access, progress);
  } else {
    oci::Reference reference = oci::parse_reference(name);
    bool here = store.find(oci::to_string(reference)).has_value();
    if (!here) info("pulling {}", name);
    image =
        here ? store.resolve(name) : pull_image(store, layers, config, reference, access, progress, cancel);
  }
  std::vector<std::string> lowerdirs = oci::layer_directories(store, layers, image);
  return {image.config, std::move(lowerdirs), oci::needed_by(store, image.descriptor), std::move(in_use)};
}

bool image_has_run(const ReadyImage& image) {
  std::string path = oci::find_env(image.config, "PATH").value_or("");
  for (const std::string& directory : split(path, ':'))
    if (!directory.empty() && has_executable(image.lowerdirs, join(directory, "run"))) return true;
  return false;
}

UnitRecord make_unit(const Paths& paths, const UnitPlace& place, const ReadyImage& image) {
  UnitRecord record;
  record.id = hex(random_bytes(32));
  record.key = place.key;
  record.image = place.image;
  record.unit = place.unit;
  record.command = fmt::format("run {}", cluster::role_name(place.ray.role));
  if (place.plain)
    record.command = fmt::format(
        "{}", fmt::join(place.plain->command.empty() ? image.config.cmd : place.plain->command, " "));
  record.address = place.ray.address;
  record.created = cluster::wall_now();

  // The directory's final content is known only after it exists; until unit.json is there it isn't taken for
  // a container.
  std::string directory = container_directory(paths, record.id);
  ContainerInputs inputs;
  inputs.image = image.config;
  inputs.image_has_run = image_has_run(image);
  inputs.entrypoint = place.config.entrypoint;
  inputs.ray = place.ray;
  inputs.plain = place.plain;
  inputs.id = record.id;
  run::ResolvedUser user = run::resolve_user_in_layers(image.config.user, image.lowerdirs);
  inputs.user = {.uid = user.uid, .gid = user.gid, .additional_gids = user.additional_gids};
  inputs.home = user.home;
  inputs.upper = join(directory, "upper");
  inputs.work = join(directory, "work");
  inputs.files = {join(directory, "hosts"), join(directory, "resolv.conf"), join(directory, "hostname"),
                  join(directory, "ray-token")};
  inputs.init_binary = place.sealed_binary;
  if (!place.shares_network) inputs.netns = net::Netns::path_of(paths.run_dir, record.id);
  inputs.cgroups_path = join(place.cgroup, record.id);
  inputs.lowerdirs = image.lowerdirs;
  std::vector<run::Bind> mount_points = container_binds(inputs);
  for (run::Bind& bind : mount_points)
    bind.source = inputs.init_binary;  // a file too; the real ones come later
  inputs.lowerdirs.insert(inputs.lowerdirs.begin(), run::mount_points_layer(paths.state_dir, mount_points));

  run::ContainerOptions options;
  options.id = record.id;
  options.stop_signal = signal_number(image.config.stop_signal);
  options.labels = {{"name", place.name}, {"node", place.node_name}};
  make_directories(containers_directory(paths), 0700);
  // the container runs on these layers: `rayctl rmi` must leave them
  oci::Store(join(paths.state_dir, "store")).hold(image_hold(record.id), image.needed);
  run::ContainerDir container = run::ContainerDir::create(
      containers_directory(paths), run::default_spec(container_defaults(inputs)), options);
  try {
    make_directories(inputs.upper);
    make_directories(inputs.work);
    net::Address address = net::parse_address(place.ray.address);
    container.write_network_files(net::hosts_file(address, own_names(place, record.id)),
                                  net::resolv_conf_file());
    if (!place.plain) {
      replace_file(inputs.files.ray_token, place.ray_token, 0400);
      check(chown(inputs.files.ray_token.c_str(), user.uid, user.gid), "cannot give '{}' to the image's user",
            inputs.files.ray_token);
    }
    save_unit(paths, record);
  } catch (...) {
    remove_unit(paths, container);
    throw;
  }
  return record;
}

}  // namespace rayctl::ray
