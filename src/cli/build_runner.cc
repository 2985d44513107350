#include "cli/build_runner.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "net/build_network.h"
#include "oci/build_view.h"
#include "run/container.h"
#include "run/defaults.h"
#include "run/user.h"

namespace rayctl::cli {

namespace {

constexpr const char* hostname = "build";  // the same for all: a step that records it stays reproducible
constexpr const char* hosts_without_network = "127.0.0.1\tlocalhost\n::1\tlocalhost\n";

// sudo and others look their own host's name up; where it has no address of a network it is the loopback's.
std::string with_own_name(std::string hosts) {
  if (!hosts.ends_with('\n')) hosts += '\n';
  return hosts + fmt::format("127.0.1.1\t{}\n", hostname);
}

// Reads until every writer has gone; a sink that throws stops nothing but the copying.
class OutputPump {
 public:
  explicit OutputPump(const Sink& sink) : pipe_(make_pipe()), thread_([this, &sink] { pump(sink); }) {}
  ~OutputPump() { finish(); }
  int write_end() const { return pipe_.write.get(); }
  void finish() {
    pipe_.write.reset();
    if (thread_.joinable()) thread_.join();
  }

 private:
  void pump(const Sink& sink) {
    std::byte buffer[16384];
    for (;;) {
      ssize_t n = read(pipe_.read.get(), buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return;
      sink(Bytes(buffer, static_cast<size_t>(n)));
    }
  }

  Pipe pipe_;
  std::thread thread_;
};

bool has_variable(const std::vector<std::string>& env, const std::string& name) {
  return std::any_of(env.begin(), env.end(), [&](const std::string& e) { return e.starts_with(name + "="); });
}

run::Mount bind_mount(const std::string& target, const std::string& source, oci::StepMount::Access access) {
  return {
      target, "bind", source, {"rbind", "rprivate", access == oci::StepMount::Access::write ? "rw" : "ro"}};
}

run::Mount tmpfs_mount(const std::string& target, uint64_t size) {
  std::vector<std::string> options = {"nosuid", "nodev", "mode=1777"};
  if (size) options.push_back(fmt::format("size={}", size));
  return {target, "tmpfs", "tmpfs", options};
}

std::string write_file(const std::string& directory, size_t number, const oci::StepMount& mount) {
  std::string path = join(directory, fmt::format("file-{}", number));
  Fd fd = open_file(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
  write_fd(fd.get(), mount.content, path);
  check(fchown(fd.get(), mount.owner.uid, mount.owner.gid), "cannot set the owner of '{}'", path);
  check(fchmod(fd.get(), mount.mode), "cannot set the mode of '{}'", path);
  return path;
}

}  // namespace

BuildRunner::BuildRunner(std::string run_dir) : run_dir_(std::move(run_dir)) {}

BuildRunner::~BuildRunner() = default;

Exit BuildRunner::run(const oci::RunStep& step) {
  make_directories(run_dir_, 0755);
  TempDir files(run_dir_);
  run::Defaults defaults{.args = step.argv, .env = step.env, .cwd = step.cwd, .hostname = hostname};

  run::ResolvedUser user = run::resolve_user_in_layers(step.user, step.lowerdirs);
  defaults.user = {.uid = user.uid, .gid = user.gid, .additional_gids = user.additional_gids};
  if (!has_variable(defaults.env, "HOME")) defaults.env.push_back("HOME=" + user.home);

  std::string hosts = with_own_name(hosts_without_network), resolv_conf;
  if (step.network == "host") {
    defaults.network = run::NetworkMode::host;
    hosts = with_own_name(read_file_if_exists("/etc/hosts").value_or(hosts_without_network));
    resolv_conf = read_file_if_exists("/etc/resolv.conf").value_or("");
  } else if (step.network == "default") {
    if (!network_) network_ = std::make_unique<net::BuildNetwork>(run_dir_);
    defaults.network = run::NetworkMode::join;
    defaults.network_namespace = network_->netns_path();
    hosts = network_->hosts(hostname);
    resolv_conf = network_->resolv_conf();
  }
  // bound over the files of the image, so that a step's view of them never gets into a layer
  oci::MergedView root(step.lowerdirs);
  auto bind = [&](const char* name, const std::string& text) {
    std::string path = join(files.path(), name);
    replace_file(path, text, 0644);
    defaults.binds.push_back(
        {path, root.resolve(std::string("/etc/") + name, oci::MergedView::Last::follow), false});
  };
  bind("hosts", hosts);
  bind("resolv.conf", resolv_conf);
  std::vector<run::Mount> mounts;
  std::vector<run::Bind> points = defaults.binds;
  for (const oci::StepMount& mount : step.mounts) {
    std::string target = root.resolve(mount.target, oci::MergedView::Last::follow);
    std::string source = mount.source;
    if (mount.kind == oci::StepMount::Kind::file) source = write_file(files.path(), mounts.size(), mount);
    bool tmpfs = mount.kind == oci::StepMount::Kind::tmpfs;
    points.push_back({tmpfs ? files.path() : source, target});
    mounts.push_back(tmpfs ? tmpfs_mount(target, mount.size) : bind_mount(target, source, mount.access));
  }

  run::Overlay overlay{
      .lowerdirs = {run::mount_points_layer(run_dir_, points)}, .upper = step.upper, .work = step.work};
  overlay.lowerdirs.insert(overlay.lowerdirs.end(), step.lowerdirs.begin(), step.lowerdirs.end());
  overlay.lowerdirs.insert(overlay.lowerdirs.end(), step.extra_lower.begin(), step.extra_lower.end());
  defaults.overlay = std::move(overlay);
  run::Spec spec = run::default_spec(defaults);
  spec.mounts.insert(spec.mounts.end(), mounts.begin(), mounts.end());

  Fd input = open_file("/dev/null", O_RDONLY);
  OutputPump output(step.output);
  Exit exit = run::run_to_end(spec, {.in = input.get(), .out = output.write_end(), .err = output.write_end()},
                              run_dir_, [] { return interrupted(); });
  output.finish();
  return exit;
}

}  // namespace rayctl::cli
