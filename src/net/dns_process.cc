#include "net/dns_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <thread>

#include "base/child.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/version.h"
#include "net/dns_files.h"

namespace rayctl::net {

namespace {

constexpr std::chrono::milliseconds poll_pause{2};
constexpr int stop_grace_ms = 2000;

struct Known {
  DnsStatus status;
  std::string mounts;
};

// The lock tells whether it lives, the file who it is.
std::optional<Known> look(const DnsFiles& files) {
  if (!exists(files.lock) || FileLock::try_lock(files.lock, LockKind::exclusive)) return std::nullopt;
  auto text = read_file_if_exists(files.status);
  if (!text) return std::nullopt;
  Json document = Json::parse(*text, files.status);
  Known known;
  known.status.pid = static_cast<pid_t>(document.at("pid").integer());
  known.status.version = document.at("version").string();
  known.status.table = document.at("table").size();
  known.status.serving = document.at("serving").strings();
  known.status.errors = document.at("errors").string_map();
  known.mounts = document.at("mounts").string();
  return known;
}

}  // namespace

DnsFiles dns_files(const std::string& directory) {
  return {join(directory, "table.json"), join(directory, "status.json"), join(directory, "lock"),
          join(directory, "log")};
}

std::string mount_namespace() {
  std::array<char, PATH_MAX> target;
  ssize_t n = readlink("/proc/self/ns/mnt", target.data(), target.size());
  return n > 0 ? std::string(target.data(), static_cast<size_t>(n)) : "";
}

DnsProcess::DnsProcess(const std::string& run_dir, std::string binary)
    : directory_(join(run_dir, "dns")), binary_(std::move(binary)) {}

std::string DnsProcess::ensure() {
  make_directories(directory_);
  DnsFiles files = dns_files(directory_);
  std::vector<std::string> argv = {binary_, "dns", "--dir", directory_};
  std::string why = "start the name server";
  if (auto known = look(files)) {
    bool same_version = known->status.version == version();
    if (same_version && known->mounts == mount_namespace()) return "";
    argv.insert(argv.end(), {"--replace", std::to_string(known->status.pid)});
    why = same_version
              ? "restart the name server in this mount namespace"
              : fmt::format("replace the name server of rayctl {} by {}", known->status.version, version());
  }
  // Ends once the names are served; the server itself is its child.
  Output output = run_captured({.argv = argv});
  if (!output.exit.success())
    throw Error("cannot start the name server: {}",
                output.err.empty() ? describe(output.exit) : printable(trim(output.err)));
  return why;
}

void DnsProcess::write_table(const DnsTable& table) {
  make_directories(directory_);
  std::string path = dns_files(directory_).table, temporary = path + ".tmp";
  {  // no fsync: after a reboot the supervisor writes it anew
    Fd fd = open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    write_fd(fd.get(), dns_table_text(table), temporary);
  }
  check(rename(temporary.c_str(), path.c_str()), "cannot replace '{}'", path);
}

std::optional<DnsStatus> DnsProcess::status() const {
  auto known = look(dns_files(directory_));
  if (!known) return std::nullopt;
  return known->status;
}

void DnsProcess::wait_serving(const std::string& container, uint64_t version,
                              std::chrono::milliseconds limit) const {
  auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    auto found = status();
    if (found && found->table >= version &&
        std::find(found->serving.begin(), found->serving.end(), container) != found->serving.end())
      return;
    if (std::chrono::steady_clock::now() > end) {
      if (!found)
        throw Error("cannot serve names to container '{}': the name server isn't running", container);
      auto error = found->errors.find(container);
      if (error == found->errors.end()) error = found->errors.find("table");
      throw Error("cannot serve names to container '{}': {}", container,
                  error == found->errors.end() ? fmt::format("no answer within {} ms", limit.count())
                                               : error->second);
    }
    std::this_thread::sleep_for(poll_pause);
  }
}

void DnsProcess::stop() {
  if (auto known = look(dns_files(directory_))) {
    pid_t pid = known->status.pid;
    // Readable at its death, also when nobody reaps it.
    Fd pidfd{static_cast<int>(syscall(SYS_pidfd_open, pid, 0))};
    if (pidfd) {
      syscall(SYS_pidfd_send_signal, pidfd.get(), SIGTERM, nullptr, 0);
      pollfd dead{pidfd.get(), POLLIN, 0};
      if (poll(&dead, 1, stop_grace_ms) == 0)
        syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
    }
  }
  remove_tree(directory_);
}

}  // namespace rayctl::net
