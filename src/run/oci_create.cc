// create, run, start.
#include <fcntl.h>
#include <sys/stat.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/paths.h"
#include "run/cgroup.h"
#include "run/defaults.h"
#include "run/oci_commands.h"
#include "run/plan.h"
#include "run/seccomp_listener.h"
#include "run/sync.h"
#include "run/syscalls.h"

namespace rayctl::run::oci {

namespace {

const Grammar grammar{.flags = {"-d|--detach", "--keep", "--no-pivot", "--no-new-keyring", "--no-subreaper"},
                      .values = {"-b|--bundle", "-f|--config", "--console-socket", "--pid-file",
                                 "--pidfd-socket", "--preserve-fds"}};

enum class Gate { closed, none };

// Undoes a creation that fails half-way.
class Creation {
 public:
  Creation(const Global& global, const Arguments& arguments)
      : global_(global),
        arguments_(arguments),
        bundle_(absolute(arguments.value("--bundle", "."))),
        config_text_(read_file(config_path())),
        spec_(parse_spec(Json::parse(config_text_, "config.json"))),
        record_(make_record(global)),
        directory_(StateDirectory::create(global.root, record_.id)) {
    allow_default_devices(spec_.linux_.resources);
  }
  Creation(const Creation&) = delete;
  ~Creation() {
    if (done_) return;
    try {
      dispose(directory_, record_);
    } catch (const std::exception& e) {
      warn("cannot remove what is left of container '{}': {}", record_.id, e.what());
    }
  }

  Process make(Gate gate) {
    check_terminal(gate);
    StartOptions options{.id = record_.id,
                         .bundle = bundle_,
                         .seccomp_cache = seccomp_cache(),
                         .preserve_fds = preserved_fds(arguments_),
                         .keyring = arguments_.has("--no-new-keyring") ? Keyring::inherited : Keyring::fresh,
                         .root_switch = arguments_.has("--no-pivot") ? RootSwitch::move : RootSwitch::pivot,
                         .warn = warning_log(global_)};
    std::optional<Cgroup> cgroup;
    if (!record_.cgroup.empty()) {
      cgroup = Cgroup::create(record_.cgroup, spec_.linux_.resources);
      options.cgroup = cgroup->entry();
    }
    Fd listener;
    if (gate == Gate::closed) {
      listener = directory_.listen();
      options.gate = listener.get();
    }
    directory_.save_config(config_text_);
    pass_activation();
    Process process = start_container(spec_, options);
    record_.pid = process.pid;
    record_.start_time = process_start_time(process.pid).value_or(0);
    record_.created = now_rfc3339();
    directory_.save(record_);
    if (auto socket = arguments_.value("--console-socket"); process.terminal && !socket.empty()) {
      hand_over_terminal(process, socket);
      process.terminal.reset();
    }
    if (auto socket = arguments_.value("--pidfd-socket"); !socket.empty())
      send_descriptor(socket, process.pidfd.get(), record_.id);
    if (auto file = arguments_.value("--pid-file"); !file.empty())
      write_file(file, std::to_string(process.pid));
    return process;
  }

  void keep() { done_ = true; }
  const Spec& spec() const { return spec_; }
  const Record& record() const { return record_; }
  const StateDirectory& directory() const { return directory_; }

 private:
  std::string config_path() const {
    std::string file = arguments_.value("--config", "config.json");
    return file.starts_with("/") ? file : join(bundle_, file);
  }

  Record make_record(const Global& global) const {
    Record record{.id = arguments_.positionals()[0], .bundle = bundle_, .owner = getuid()};
    check_id(record.id);
    const std::string& root = spec_.root.path;
    if (!spec_.overlay) record.rootfs = root.starts_with("/") ? root : join(bundle_, root);
    if (global.cgroups) record.cgroup = cgroup_path(record.id);
    return record;
  }

  std::string cgroup_path(const std::string& id) const {
    const std::string& asked = spec_.linux_.cgroups_path;
    if (asked.find(':') != std::string::npos)
      throw Error(
          "cannot use cgroupsPath '{}': it is meant for the systemd driver, which rayctl does not have (let "
          "the "
          "engine use cgroupfs)",
          asked);
    std::string path = asked.empty() ? "/" + id : clean_path(asked);
    for (size_t at = 0; (at = asked.find("..", at)) != std::string::npos; ++at)
      if ((at == 0 || asked[at - 1] == '/') && (at + 2 == asked.size() || asked[at + 2] == '/'))
        throw Error("cannot use cgroupsPath '{}': it has a '..'", asked);
    if (path == "/") throw Error("cannot use cgroupsPath '{}': it is the root", asked);
    return path;
  }

  // Socket activation (sd_listen_fds(3)): the descriptors go through, so must what tells of them.
  void pass_activation() {
    if (!std::getenv("LISTEN_FDS")) return;
    for (const char* name : {"LISTEN_FDS", "LISTEN_FDNAMES"})
      if (const char* value = std::getenv(name))
        spec_.process.env.push_back(fmt::format("{}={}", name, value));
    spec_.process.env.emplace_back("LISTEN_PID=1");
  }

  void check_terminal(Gate gate) const {
    bool socket = arguments_.has("--console-socket"),
         detached = gate == Gate::closed || arguments_.has("--detach");
    if (spec_.process.terminal && detached && !socket)
      throw Error("cannot start container '{}': a detached container with a terminal needs --console-socket",
                  record_.id);
    if (!spec_.process.terminal && socket)
      throw Error("cannot start container '{}': --console-socket is for containers with process.terminal",
                  record_.id);
  }

  const Global& global_;
  const Arguments& arguments_;
  std::string bundle_, config_text_;
  Spec spec_;
  Record record_;
  StateDirectory directory_;  // the last: what is before may fail and leaves nothing
  bool done_ = false;
};

// A container whose agent doesn't answer is none: its first process waits for ever at the next system call.
void pass_listener(const Fd& memory, const StateDirectory& directory, const Record& record) {
  Fd pidfd{check(sys::pidfd_open(record.pid), "cannot find the container's process {}", record.pid)};
  Spec spec = directory.spec();
  try {
    run::pass_listener(memory, pidfd, record.pid, spec.linux_.seccomp.value(),
                       to_text(state_of(spec, record, Status::creating)));
  } catch (...) {
    sys::pidfd_send_signal(pidfd.get(), SIGKILL);
    throw;
  }
}

void run_poststart(const Spec& spec, const Record& record) {
  run_hooks(spec.hooks.poststart, "poststart", to_text(state_of(spec, record, Status::running)));
}

}  // namespace

int create(const Global& global, const Words& words) {
  Arguments arguments(grammar, "create", words);
  Creation creation(global, arguments);
  creation.make(Gate::closed);
  creation.keep();
  return 0;
}

int run(const Global& global, const Words& words) {
  Arguments arguments(grammar, "run", words);
  Creation creation(global, arguments);
  Process process = creation.make(Gate::none);
  run_poststart(creation.spec(), creation.record());
  if (arguments.has("--detach")) {
    creation.keep();
    return 0;
  }
  int code = attend(process);
  if (arguments.has("--keep")) creation.keep();
  return code;  // the creation's end removes the container
}

int start(const Global& global, const Words& words) {
  Arguments arguments({}, "start", words);
  const std::string& id = arguments.positionals()[0];
  StateDirectory directory = StateDirectory::open(global.root, id);
  Record record = directory.load();
  Status status = status_of(directory, record);
  for (int i = 0; status == Status::creating && i < 500; ++i) {  // whoever creates it is about to be done
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    record = directory.load();
    status = status_of(directory, record);
  }
  if (status != Status::created) throw Error("cannot start container '{}': it is {}", id, name_of(status));
  Fd gate = directory.connect();
  if (!gate) throw Error("cannot start container '{}': its first process does not wait any more", id);
  directory.close_gate();
  bool executing = false;
  while (auto message = receive_message(gate.get())) {
    if (message->kind == Sync::failure) throw Error("{}", message->text);
    if (message->kind == Sync::warning) warning_log(global)(message->text);
    if (message->kind == Sync::listener) pass_listener(message->fd, directory, record);
    executing = executing || message->kind == Sync::executing;
  }
  if (!executing) throw Error("cannot start container '{}': its first process was killed", id);
  Spec spec = directory.spec();
  try {
    run_poststart(spec, record);
  } catch (...) {
    dispose(directory, record);
    throw;
  }
  return 0;
}

int preserved_fds(const Arguments& arguments) {
  int64_t count = arguments.number("--preserve-fds").value_or(0);
  if (const char* listening = std::getenv("LISTEN_FDS")) count += std::atoi(listening);
  if (count < 0 || count > 10000)
    throw Error("cannot preserve {} file descriptors: 0 to 10000 are possible", count);
  return static_cast<int>(count);
}

std::string seccomp_cache() {
  return join(default_paths().run_dir, "seccomp");
}

void hand_over_terminal(const Process& process, const std::string& console_socket) {
  try {
    send_descriptor(console_socket, process.terminal.get(), "/dev/ptmx");
  } catch (Error& e) {
    e.prefix("handing over the terminal");
    throw;
  }
}

std::string now_rfc3339() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  char text[32];
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return fmt::format("{}.{:09}Z", text, now.tv_nsec);
}

}  // namespace rayctl::run::oci
