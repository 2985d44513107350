#include "run/oci_state.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "run/cgroup.h"
#include "run/container.h"
#include "run/oci_options.h"
#include "run/syscalls.h"

namespace rayctl::run::oci {

namespace {

// Through the directory's descriptor: a socket's name is at most 107 bytes long.
sockaddr_un gate_address(const Fd& directory) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::string path = fmt::format("/proc/self/fd/{}/start.sock", directory.get());
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

bool is_alive(const Record& record) {
  if (record.pid <= 0 || process_start_time(record.pid) != record.start_time) return false;
  auto stat = read_file_if_exists(fmt::format("/proc/{}/stat", record.pid));
  if (!stat) return false;
  size_t at = stat->rfind(')');
  return at != std::string::npos && at + 2 < stat->size() && (*stat)[at + 2] != 'Z' && (*stat)[at + 2] != 'X';
}

}  // namespace

void write_file(const std::string& path, std::string_view text) {
  Fd fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  write_fd(fd.get(), text, path);
}

const char* name_of(Status status) {
  static constexpr const char* names[] = {"creating", "created", "running", "paused", "stopped"};
  return names[static_cast<int>(status)];
}

StateDirectory StateDirectory::create(const std::string& root, const std::string& id) {
  check_id(id);
  make_directories(root, 0700);
  std::string path = join(root, id);
  if (mkdir(path.c_str(), 0700) < 0) {
    if (errno == EEXIST)
      throw Error("cannot create container '{}': a container of that id already exists", id);
    throw SysError(errno, "cannot make directory '{}'", path);
  }
  return StateDirectory(path);
}

StateDirectory StateDirectory::open(const std::string& root, const std::string& id) {
  check_id(id);
  std::string path = join(root, id);
  if (!exists(path)) throw Error("container '{}' does not exist", id);
  return StateDirectory(path);
}

std::vector<std::string> StateDirectory::list(const std::string& root) {
  return exists(root) ? list_directory(root) : std::vector<std::string>{};
}

void StateDirectory::save(const Record& record) const {
  nlohmann::json out{{"id", record.id},
                     {"bundle", record.bundle},
                     {"rootfs", record.rootfs},
                     {"created", record.created},
                     {"cgroup", record.cgroup},
                     {"pid", record.pid},
                     {"startTime", record.start_time},
                     {"owner", record.owner}};
  write_file(join(path_, "state.tmp"), out.dump());
  check(rename(join(path_, "state.tmp").c_str(), join(path_, "state.json").c_str()),
        "cannot save the state of '{}'", record.id);
}

void StateDirectory::save_config(std::string_view text) const {
  write_file(join(path_, "config.json"), text);
}

Record StateDirectory::load() const {
  std::string file = join(path_, "state.json");
  auto text = read_file_if_exists(file);
  if (!text) {  // its creation is under way, or was killed
    std::string id = path_.substr(path_.rfind('/') + 1);
    return {.id = id};
  }
  Json document = Json::parse(*text, file);
  return {.id = document.at("id").string(),
          .bundle = document.at("bundle").string(),
          .rootfs = document.at("rootfs").string(),
          .created = document.at("created").string(),
          .cgroup = document.at("cgroup").string(),
          .pid = static_cast<pid_t>(document.at("pid").size()),
          .start_time = document.at("startTime").size(),
          .owner = static_cast<uint32_t>(document.at("owner").size())};
}

Spec StateDirectory::spec() const {
  std::string file = join(path_, "config.json");
  return parse_spec(Json::parse(read_file(file), file));
}

void StateDirectory::remove() const {
  remove_tree(path_);
}

Fd StateDirectory::listen() const {
  Fd directory = open_directory(path_);
  Fd socket{check(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), "cannot make a socket")};
  sockaddr_un address = gate_address(directory);
  check(bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address),
        "cannot make '{}/start.sock'", path_);
  check(::listen(socket.get(), 1), "cannot listen on '{}/start.sock'", path_);
  return socket;
}

Fd StateDirectory::connect() const {
  Fd directory = open_directory(path_);
  Fd socket{check(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), "cannot make a socket")};
  sockaddr_un address = gate_address(directory);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return socket;
  if (errno != ENOENT && errno != ECONNREFUSED)
    throw SysError(errno, "cannot connect to '{}/start.sock'", path_);
  return Fd{};
}

void StateDirectory::close_gate() const {
  unlink(join(path_, "start.sock").c_str());
}
bool StateDirectory::waits() const {
  return exists(join(path_, "start.sock"));
}

Status status_of(const StateDirectory& directory, const Record& record) {
  if (record.created.empty()) return Status::creating;
  if (!is_alive(record)) return Status::stopped;
  if (directory.waits()) return Status::created;
  if (!record.cgroup.empty() && Cgroup::open(record.cgroup).frozen()) return Status::paused;
  return Status::running;
}

ContainerState state_of(const Spec& spec, const Record& record, Status status) {
  return {record.id, name_of(status), status == Status::stopped ? 0 : record.pid, record.bundle,
          spec.annotations};
}

std::string state_document(const Spec& spec, const Record& record, Status status) {
  nlohmann::json out = to_json(state_of(spec, record, status));
  out["rootfs"] = record.rootfs;
  out["created"] = record.created;
  out["owner"] = record.owner == 0 ? "root" : std::to_string(record.owner);
  return out.dump(2) + "\n";
}

bool send_signal(const Record& record, int signal) {
  if (record.pid <= 0) return false;
  Fd pidfd{sys::pidfd_open(record.pid)};
  if (!pidfd || !is_alive(record)) return false;
  if (sys::pidfd_send_signal(pidfd.get(), signal) == 0) return true;
  if (errno == ESRCH) return false;
  throw SysError(errno, "cannot send signal {} to container '{}'", signal, record.id);
}

}  // namespace rayctl::run::oci
