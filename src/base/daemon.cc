// The supervisor's side of daemon.h.
#include "base/daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <nlohmann/json.hpp>

#include "base/child.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/version.h"

namespace rayctl {

namespace {

constexpr int stop_grace_ms = 2000;

}  // namespace

DaemonFiles daemon_files(const std::string& directory) {
  return {join(directory, "table.json"), join(directory, "status.json"), join(directory, "lock"),
          join(directory, "log")};
}

std::string mount_namespace() {
  std::array<char, PATH_MAX> target;
  ssize_t n = readlink("/proc/self/ns/mnt", target.data(), target.size());
  return n > 0 ? std::string(target.data(), static_cast<size_t>(n)) : "";
}

void replace_volatile(const std::string& path, std::string_view text, mode_t mode) {
  std::string temporary = path + ".tmp";
  {
    Fd fd = open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC, mode);
    check(fchmod(fd.get(), mode), "cannot protect '{}'", temporary);  // one left behind, or a umask
    write_fd(fd.get(), text, temporary);
  }
  check(rename(temporary.c_str(), path.c_str()), "cannot replace '{}'", path);
}

DaemonHandle::DaemonHandle(std::string directory, std::string binary, std::string word, std::string noun)
    : directory_(std::move(directory)),
      binary_(std::move(binary)),
      word_(std::move(word)),
      noun_(std::move(noun)) {}

// The lock tells whether it lives, the file who it is.
std::optional<std::string> DaemonHandle::status_text() const {
  DaemonFiles files = daemon_files(directory_);
  if (!exists(files.lock) || FileLock::try_lock(files.lock, LockKind::exclusive)) return std::nullopt;
  return read_file_if_exists(files.status);
}

std::optional<Json> DaemonHandle::status() const {
  auto text = status_text();
  if (!text) return std::nullopt;
  return Json::parse(*text, daemon_files(directory_).status);
}

std::optional<Json> DaemonHandle::brief() const {
  auto text = status_text();
  if (!text) return std::nullopt;
  using Event = nlohmann::json::parse_event_t;
  bool of_peers = false;
  auto keep = [&](int depth, Event event, const nlohmann::json& value) {
    if (depth == 1 && event == Event::key) of_peers = value == "peers";
    return depth == 0 || !of_peers;
  };
  try {
    text = nlohmann::json::parse(*text, keep).dump();
  } catch (const nlohmann::json::exception&) {  // what is wrong with it is said below
  }
  return Json::parse(*text, daemon_files(directory_).status);
}

std::string DaemonHandle::ensure() {
  make_directories(directory_);
  std::vector<std::string> argv = {binary_, word_, "--dir", directory_};
  std::string why = fmt::format("start the {}", noun_);
  if (auto known = brief()) {
    std::string running = known->at("version").string();
    bool same_version = running == version();
    if (same_version && known->at("mounts").string() == mount_namespace()) return "";
    argv.insert(argv.end(), {"--replace", std::to_string(known->at("pid").integer())});
    why = same_version ? fmt::format("restart the {} in this mount namespace", noun_)
                       : fmt::format("replace the {} of rayctl {} by {}", noun_, running, version());
  }
  // Ends once the process serves, which is its child.
  Output output = run_captured({.argv = argv});
  if (!output.exit.success())
    throw Error("cannot start the {}: {}", noun_,
                output.err.empty() ? describe(output.exit) : printable(trim(output.err)));
  return why;
}

void DaemonHandle::write_table(std::string_view text, mode_t mode) const {
  make_directories(directory_);
  replace_volatile(daemon_files(directory_).table, text, mode);
}

Fd DaemonHandle::watch() const {
  auto known = brief();
  if (!known) return Fd{};
  return Fd{static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(known->at("pid").integer()), 0))};
}

bool StopWatch::look(int pidfd) {
  // "Pid:\t4711": -1 once it is dead. Then "4711 (name) T …".
  auto info = read_file_if_exists(fmt::format("/proc/self/fdinfo/{}", pidfd));
  size_t at = info ? info->find("\nPid:") : std::string::npos;
  int pid = at == std::string::npos ? -1 : atoi(info->c_str() + at + 5);
  auto stat = pid > 0 ? read_file_if_exists(fmt::format("/proc/{}/stat", pid)) : std::nullopt;
  size_t name_end = stat ? stat->rfind(") ") : std::string::npos;
  bool stopped = name_end != std::string::npos && (*stat)[name_end + 2] == 'T';
  if (stopped) syscall(SYS_pidfd_send_signal, pidfd, told_ ? SIGKILL : SIGCONT, nullptr, 0);
  told_ = stopped;
  return stopped;
}

void DaemonHandle::stop() {
  if (Fd pidfd = watch()) {  // readable at its death, also when nobody reaps it
    syscall(SYS_pidfd_send_signal, pidfd.get(), SIGTERM, nullptr, 0);
    pollfd dead{pidfd.get(), POLLIN, 0};
    if (poll(&dead, 1, stop_grace_ms) == 0) syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
  }
  remove_tree(directory_);
}

}  // namespace rayctl
