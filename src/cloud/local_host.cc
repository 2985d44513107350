#include "cloud/local_host.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/child.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/text.h"
#include "cloud/provider.h"

namespace rayctl::cloud {

namespace {

using namespace std::chrono_literals;

// A boot sector: mov al, 0x10; out 0xf4, al; hlt. The device at this port ends QEMU with 2 * 0x10 + 1.
constexpr std::string_view boot_code("\xb0\x10\xe6\xf4\xf4", 5);
constexpr int boot_code_exit = 33;

bool in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  for (const std::string& directory : split(path ? path : "/usr/local/bin:/usr/bin:/bin", ':'))
    if (!directory.empty() && access(join(directory, program).c_str(), X_OK) == 0) return true;
  return false;
}

bool probe_kvm(const std::string& arch) {
  if (access("/dev/kvm", R_OK | W_OK) < 0) return false;
  TempDir directory;
  std::vector<std::string> argv = {"qemu-system-" + arch,
                                   "-nodefaults",
                                   "-no-user-config",
                                   "-display",
                                   "none",
                                   "-accel",
                                   "kvm",
                                   "-cpu",
                                   "host",
                                   "-m",
                                   "64M"};
  bool pc = arch == "x86_64";
  if (pc) {
    std::string sector(boot_code);
    sector.resize(510, '\0');
    sector += "\x55\xaa";
    std::string disk = join(directory.path(), "disk");
    replace_file(disk, sector);
    for (const char* word :
         {"-machine", "pc", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-drive"})
      argv.emplace_back(word);
    argv.push_back("format=raw,file=" + disk);
  } else {  // no such device there: that it sets up its processor must do
    for (const char* word : {"-machine", "virt", "-S", "-monitor", "stdio"}) argv.emplace_back(word);
  }
  Pipe input = make_pipe();
  write_fd(input.write.get(), "quit\n", "a pipe");
  Child qemu = Child::spawn({.argv = argv, .in = input.read.get(), .out = -1, .err = -1});
  std::optional<Exit> exit = qemu.wait_for(10s);
  return exit && exit->code == (pc ? boot_code_exit : 0);
}

std::string boot_id() {
  return std::string(trim(read_file("/proc/sys/kernel/random/boot_id")));
}

std::vector<std::string> image_places(const std::string& state_dir) {
  std::vector<std::string> places;
  if (const char* named = std::getenv("RAYCTL_MACHINES")) places.emplace_back(named);
  for (const std::string& base : {state_dir, default_paths().state_dir, std::string(system_state_dir)})
    if (std::string place = join(base, "machines");
        std::find(places.begin(), places.end(), place) == places.end())
      places.push_back(place);
  return places;
}

std::string disk_format(const std::string& path) {
  Fd fd = open_file(path, O_RDONLY);
  char magic[4] = {};
  ssize_t n = check(read(fd.get(), magic, sizeof magic), "cannot read '{}'", path);
  return std::string_view(magic, static_cast<size_t>(n)) == std::string_view("QFI\xfb", 4) ? "qcow2" : "raw";
}

LocalImage image_in(const std::string& path) {
  if (access(join(path, "vmlinuz").c_str(), R_OK) < 0 && access(path.c_str(), R_OK) == 0 &&
      exists(path + "/."))
    throw ProviderError(FailureKind::invalid, "images/machine/make-machine.sh makes one",
                        "cannot use '{}' as a machine image: the directory has no vmlinuz", path);
  if (!exists(path + "/.")) return {path, disk_format(path), "", ""};
  LocalImage image{.kernel = join(path, "vmlinuz")};
  if (std::string initrd = join(path, "initrd.img"); exists(initrd)) image.initrd = initrd;
  for (const char* name : {"root.img", "root.qcow2"})
    if (std::string disk = join(path, name); image.disk.empty() && exists(disk)) image.disk = disk;
  if (image.disk.empty())
    throw ProviderError(FailureKind::invalid, "images/machine/make-machine.sh makes one",
                        "cannot use '{}' as a machine image: the directory has no root.img", path);
  image.disk_format = disk_format(image.disk);
  return image;
}

}  // namespace

std::string host_arch() {
  utsname system{};
  check(uname(&system), "cannot read this machine's architecture");
  return system.machine;
}

uint64_t available_memory() {
  std::string meminfo = read_file("/proc/meminfo");
  size_t at = meminfo.find("MemAvailable:");
  return at == std::string::npos ? 0 : std::strtoull(meminfo.c_str() + at + 13, nullptr, 10) * 1024;
}

uint16_t first_free_port_number() {
  if (running_as_root()) return 0;
  auto text = read_file_if_exists("/proc/sys/net/ipv4/ip_unprivileged_port_start");
  return static_cast<uint16_t>(text ? std::strtoul(text->c_str(), nullptr, 10) : 1024);
}

void require_qemu() {
  std::string arch = host_arch();
  std::string package = arch == "x86_64" ? "qemu-system-x86" : "qemu-system-arm";
  for (const auto& [program, from] :
       {std::pair{"qemu-system-" + arch, package}, {std::string("qemu-img"), std::string("qemu-utils")}})
    if (!in_path(program))
      throw ProviderError(FailureKind::invalid, "on Debian: apt-get install " + from,
                          "cannot boot machines here: there is no '{}'", program);
}

bool kvm_works(const std::string& directory) {
  std::string file = join(directory, "kvm"), boot = boot_id();
  if (auto known = read_file_if_exists(file)) {
    if (*known == boot + " yes\n") return true;
    if (*known == boot + " no\n") return false;
  }
  bool works = probe_kvm(host_arch());
  if (!works)
    info("Local: KVM isn't usable here, so machines run by emulation, which is about ten times slower");
  replace_file(file, boot + (works ? " yes\n" : " no\n"));
  return works;
}

LocalImage find_local_image(const std::string& text, const std::string& state_dir) {
  std::vector<std::string> tried;
  if (!text.empty()) tried.push_back(absolute(text));
  for (const std::string& place : image_places(state_dir))
    if (text.empty() || text.find('/') == std::string::npos)
      tried.push_back(join(place, text.empty() ? "default" : text));
  for (const std::string& path : tried) {
    char* real = realpath(path.c_str(), nullptr);  // `default` is a link, and may become another's
    if (!real) continue;
    std::string found(real);
    std::free(real);
    return image_in(found);
  }
  throw ProviderError(FailureKind::invalid, "make one: images/machine/make-machine.sh",
                      "cannot find {}: looked for {}",
                      text.empty() ? "a machine image" : "machine image '" + text + "'",
                      fmt::format("{}", fmt::join(tried, ", ")));
}

}  // namespace rayctl::cloud
