#include "cloud/local_files.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace rayctl::cloud {

namespace {

using namespace std::chrono_literals;

constexpr int term_wait_ms = 2000, kill_wait_ms = 10000, monitor_wait_ms = 5000;

nlohmann::json to_json(const Machine& m) {
  return {
      {"id", m.id},
      {"key", m.key},
      {"cluster", m.cluster},
      {"role", m.role},
      {"size", m.size},
      {"started", m.state == MachineState::running},
      {"launched", std::chrono::duration_cast<std::chrono::seconds>(m.launched.time_since_epoch()).count()},
      {"disk_gb", m.disk_gb}};
}

bool is_qemu_in(const std::string& cmdline, const std::string& directory) {
  std::vector<std::string> argv = split(cmdline, '\0');
  if (argv.empty() || argv[0].find("qemu-system-") == std::string::npos) return false;
  return std::any_of(argv.begin(), argv.end(), [&](const std::string& word) {
    size_t at = word.find(directory);
    return at != std::string::npos && word.size() > at + directory.size() &&
           word[at + directory.size()] == '/';
  });
}

// Empty when the process is gone, or is another one.
std::optional<LocalProcess> open_qemu(pid_t pid, const std::string& directory) {
  LocalProcess process{pid, Fd{static_cast<int>(syscall(SYS_pidfd_open, pid, 0))}};
  if (!process.pidfd) return std::nullopt;
  // Read after the descriptor was opened: it is of the same process.
  auto cmdline = read_file_if_exists(fmt::format("/proc/{}/cmdline", pid));
  if (!cmdline || !is_qemu_in(*cmdline, directory)) return std::nullopt;
  return process;
}

bool wait_gone(const Fd& pidfd, int milliseconds) {
  pollfd watched{pidfd.get(), POLLIN, 0};
  int n;
  do n = poll(&watched, 1, milliseconds);
  while (n < 0 && errno == EINTR);
  return n > 0;
}

// Reads until a line that holds `word`; QMP's answers are one line each.
Json read_answer(int fd, std::string& buffer) {
  for (;;) {
    size_t end = buffer.find('\n');
    if (end != std::string::npos) {
      Json answer = Json::parse(buffer.substr(0, end), "QEMU's monitor");
      buffer.erase(0, end + 1);
      if (!answer.has("event")) return answer;
      continue;
    }
    pollfd watched{fd, POLLIN, 0};
    if (poll(&watched, 1, monitor_wait_ms) <= 0) throw Error("cannot ask QEMU's monitor: no answer");
    char bytes[4096];
    ssize_t n = check(recv(fd, bytes, sizeof bytes, 0), "cannot ask QEMU's monitor");
    if (n == 0 || buffer.size() > (1 << 20)) throw Error("cannot ask QEMU's monitor: it hung up");
    buffer.append(bytes, static_cast<size_t>(n));
  }
}

}  // namespace

std::string to_text(const LocalRecord& r) {
  nlohmann::json json = to_json(r.machine);
  const LocalMachine& p = r.plan;
  json["number"] = p.number;
  json["cpus"] = p.cpus;
  json["ram_mib"] = p.ram_mib;
  json["arch"] = p.arch;
  json["kvm"] = p.kvm;
  json["image"] = {{"disk", p.image.disk},
                   {"format", p.image.disk_format},
                   {"kernel", p.image.kernel},
                   {"initrd", p.image.initrd}};
  json["network"] = p.network;
  json["binary"] = p.binary;
  json["ssh_port"] = p.ssh_port;
  json["public_ports"] = p.public_ports;
  return json.dump(1) + "\n";
}

LocalRecord parse_local_record(const std::string& text, const std::string& name) {
  Json json = Json::parse(text, name);
  LocalRecord r;
  Machine& m = r.machine;
  m.id = json.at("id").string();
  m.key = json.at("key").string();
  m.cluster = json.at("cluster").string();
  m.role = json.at("role").string();
  m.provider = "Local";
  m.region = "local";
  m.size = json.at("size").string();
  m.state = json.at("started").boolean() ? MachineState::running : MachineState::requested;
  m.launched = std::chrono::system_clock::time_point(std::chrono::seconds(json.at("launched").integer()));
  m.disk_gb = static_cast<unsigned>(json.at("disk_gb").size());
  LocalMachine& p = r.plan;
  p.number = static_cast<unsigned>(json.at("number").size());
  p.cpus = static_cast<unsigned>(json.at("cpus").size());
  p.ram_mib = json.at("ram_mib").size();
  p.arch = json.at("arch").string();
  p.kvm = json.at("kvm").boolean();
  Json image = json.at("image");
  p.image = {image.at("disk").string(), image.at("format").string(), image.at("kernel").string(),
             image.at("initrd").string()};
  p.network = json.at("network").string();
  p.binary = json.at("binary").string();
  p.ssh_port = static_cast<uint16_t>(json.at("ssh_port").size());
  for (const Json& range : json.at("public_ports").items()) {
    std::vector<Json> ends = range.items();
    if (ends.size() != 2) throw Error("{}: no range of ports", range.path());
    p.public_ports.emplace_back(static_cast<uint16_t>(ends[0].size()), static_cast<uint16_t>(ends[1].size()));
  }
  m.public_address = local_public_address(p.number);
  m.private_address = local_private_address(p.number);
  return r;
}

void check_local_name(std::string_view what, const std::string& name) {
  auto fine = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
  };
  if (name.empty() || name.size() > 63 || name[0] == '.' || name[0] == '-' ||
      !std::all_of(name.begin(), name.end(), fine))
    throw ProviderError(FailureKind::invalid, "letters, digits, '_', '.' and '-' are allowed, at most 63",
                        "cannot use {} '{}' on Local", what, printable(name));
}

std::optional<LocalProcess> find_qemu(const std::string& directory) {
  if (auto text = read_file_if_exists(join(directory, "pid"), 64)) {
    std::string digits(trim(*text));
    if (!digits.empty() && digits.size() < 10 && digits.find_first_not_of("0123456789") == std::string::npos)
      if (auto process = open_qemu(std::stoi(digits), directory)) return process;
  }
  for (pid_t pid : find_all_qemu(directory))
    if (auto process = open_qemu(pid, directory)) return process;
  return std::nullopt;
}

std::vector<pid_t> find_all_qemu(const std::string& directory) {
  std::vector<pid_t> found;
  for (const std::string& name : list_directory("/proc")) {
    if (!all_digits(name)) continue;
    std::optional<std::string> cmdline;
    try {
      cmdline = read_file_if_exists("/proc/" + name + "/cmdline");
    } catch (const SysError&) {  // it is gone
    }
    if (cmdline && is_qemu_in(*cmdline, directory)) found.push_back(std::stoi(name));
  }
  return found;
}

void end_process(const LocalProcess& process) {
  syscall(SYS_pidfd_send_signal, process.pidfd.get(), SIGTERM, nullptr, 0);
  if (wait_gone(process.pidfd, term_wait_ms)) return;
  syscall(SYS_pidfd_send_signal, process.pidfd.get(), SIGKILL, nullptr, 0);
  if (!wait_gone(process.pidfd, kill_wait_ms))
    throw ProviderError(FailureKind::transient, "look at it with ps", "cannot end process {}: it doesn't die",
                        process.pid);
}

std::string ask_monitor(const std::string& directory, const std::string& command) {
  Fd place = open_directory(directory);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  // A socket's path is short; the directory's may not be.
  std::string path = fmt::format("/proc/self/fd/{}/monitor", place.get());
  std::memcpy(to.sun_path, path.c_str(), path.size() + 1);
  Fd monitor{check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "cannot make a socket")};
  check(connect(monitor.get(), reinterpret_cast<sockaddr*>(&to), sizeof to),
        "cannot reach QEMU's monitor in '{}'", directory);
  std::string buffer;
  read_answer(monitor.get(), buffer);  // the greeting
  auto ask = [&](const nlohmann::json& request) {
    write_fd(monitor.get(), request.dump() + "\n", "QEMU's monitor");
    Json answer = read_answer(monitor.get(), buffer);
    if (auto error = answer.find("error"))
      throw Error("cannot ask QEMU's monitor: {}", printable(error->at("desc").string()));
    return answer;
  };
  ask({{"execute", "qmp_capabilities"}});
  Json answer = ask({{"execute", "human-monitor-command"}, {"arguments", {{"command-line", command}}}});
  return answer.at("return").string();
}

}  // namespace rayctl::cloud
