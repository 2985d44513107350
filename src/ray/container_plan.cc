#include "ray/container_plan.h"

#include <fmt/format.h>

#include <cmath>
#include <map>

#include "base/error.h"

namespace rayctl::ray {

namespace {

constexpr const char* default_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr uint64_t open_files = 65536;   // what Ray's guide asks for large clusters
constexpr uint64_t cpu_period = 100000;  // microseconds

}  // namespace

std::vector<std::string> merge_environment(const std::vector<std::vector<std::string>>& lists) {
  std::vector<std::string> merged;
  std::map<std::string, size_t> places;
  for (const auto& list : lists)
    for (const std::string& variable : list) {
      auto [it, fresh] = places.try_emplace(variable.substr(0, variable.find('=')), merged.size());
      if (fresh)
        merged.push_back(variable);
      else
        merged[it->second] = variable;
    }
  return merged;
}

std::vector<std::string> container_argv(const ContainerInputs& in) {
  std::vector<std::string> argv = in.image.entrypoint;
  if (in.entrypoint)
    argv = in.entrypoint->empty() ? std::vector<std::string>{} : std::vector<std::string>{*in.entrypoint};
  if (in.plain) {
    argv = in.image.entrypoint;  // the node's own setting is for Ray's image
    const std::vector<std::string>& command = in.plain->command.empty() ? in.image.cmd : in.plain->command;
    argv.insert(argv.end(), command.begin(), command.end());
    if (argv.empty()) throw Error("cannot make the container: neither it nor its image has a command");
    return argv;
  }
  argv.push_back(in.image_has_run ? "run" : run_path);
  argv.push_back(std::string(cluster::role_name(in.ray.role)));
  return argv;
}

std::vector<std::string> container_environment(const ContainerInputs& in) {
  return merge_environment({{std::string("PATH=") + default_path, "HOME=" + in.home},
                            in.image.env,
                            {"HOSTNAME=" + in.id.substr(0, 12)},
                            in.plain ? in.plain->env : ray_environment(in.ray)});
}

std::vector<run::Bind> container_binds(const ContainerInputs& in) {
  std::vector<run::Bind> binds = {
      {in.files.hosts, "/etc/hosts", false},
      {in.files.resolv_conf, "/etc/resolv.conf", false},
      {in.files.hostname, "/etc/hostname", false},
  };
  if (in.plain) return binds;
  binds.push_back({in.files.ray_token, token_path, true});
  binds.push_back({in.init_binary, run_path, true});
  return binds;
}

run::Defaults container_defaults(const ContainerInputs& in) {
  const Resources& r = in.ray.resources;
  run::Defaults d;
  d.overlay = run::Overlay{in.lowerdirs, in.upper, in.work};
  d.args = container_argv(in);
  d.env = container_environment(in);
  d.cwd = in.image.workdir.empty() ? "/" : in.image.workdir;
  d.user = in.user;
  d.hostname = in.id.substr(0, 12);
  d.network = in.netns.empty() ? run::NetworkMode::host : run::NetworkMode::join;
  d.network_namespace = in.netns;
  d.cgroups_path = in.cgroups_path;
  d.resources.memory.limit = static_cast<int64_t>(r.memory);
  d.resources.memory.swap = static_cast<int64_t>(r.memory);  // memory and swap together: no swap
  d.resources.cpu.period = cpu_period;
  d.resources.cpu.quota = std::llround(r.cpus * static_cast<double>(cpu_period));
  d.shm_size = r.shm_size;
  d.init_binary = in.init_binary;
  d.binds = container_binds(in);
  d.rlimits = {{"RLIMIT_NOFILE", open_files, open_files}};
  return d;
}

}  // namespace rayctl::ray
