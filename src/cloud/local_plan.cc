#include "cloud/local_plan.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/encoding.h"

namespace rayctl::cloud {

namespace {

constexpr const char* user_network = "10.201.0.0/16";
constexpr const char* name_server = "10.201.255.253";
constexpr const char* binary_address = "10.201.255.252";
constexpr uint16_t control_port = 7443;

std::string mac(unsigned number, unsigned interface) {
  return fmt::format("52:54:c9:00:{:02x}:{:02x}", number, interface);
}

std::string escape(std::string_view text) {  // of QEMU's option lists
  std::string out;
  for (char c : text) out += c == ',' ? ",," : std::string(1, c);
  return out;
}

std::string quote(std::string_view text) {  // for the shell words of guestfwd
  std::string out = "'";
  for (char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

}  // namespace

std::string local_public_address(unsigned number) {
  return fmt::format("127.201.{}.1", number);
}

std::string local_private_address(unsigned number) {
  return fmt::format("10.201.{}.15", number);
}

std::string local_forward(unsigned number, uint16_t host_port, uint16_t machine_port) {
  return fmt::format("tcp:{}:{}-:{}", local_public_address(number), host_port, machine_port);
}

std::vector<std::string> qemu_argv(const LocalMachine& m) {
  bool arm = m.arch == "aarch64";
  auto file = [&](const char* name) { return escape(m.directory + "/" + name); };
  std::vector<std::string> argv = {"qemu-system-" + m.arch, "-nodefaults", "-no-user-config", "-display",
                                   "none"};
  auto add = [&](const char* option, std::string value) {
    argv.emplace_back(option);
    argv.push_back(std::move(value));
  };
  add("-name", escape(m.name));
  add("-machine", arm ? (m.kvm ? "virt,gic-version=max" : "virt") : "q35");
  add("-accel", m.kvm ? "kvm" : "tcg,thread=multi");
  add("-cpu", m.kvm ? "host" : "max");
  add("-smp", std::to_string(m.cpus));
  add("-m", fmt::format("{}M", m.ram_mib));
  if (!m.image.kernel.empty()) {
    add("-kernel", m.image.kernel);
    if (!m.image.initrd.empty()) add("-initrd", m.image.initrd);
    // An emulated PC's kernel doesn't trust the TSCs, which are in step there, and reads the time from the
    // HPET: under QEMU's one lock, which several processors then fight for until nothing else gets it.
    add("-append", fmt::format("root=/dev/vda rw console={} systemd.show_status=0{}",
                               arm ? "ttyAMA0" : "ttyS0", m.kvm || arm ? "" : " tsc=reliable"));
  }
  add("-drive", fmt::format("if=virtio,format=qcow2,discard=unmap,file={}", file("disk.qcow2")));
  add("-drive", fmt::format("if=virtio,format=raw,readonly=on,file={}", file("seed.iso")));
  std::string user =
      fmt::format("user,id=out,net={},host={},dns={},dhcpstart={},ipv6=off,guestfwd=tcp:{}:80-cmd:{}",
                  user_network, local_host_address, name_server, local_private_address(m.number),
                  binary_address, escape(quote(m.binary) + " hand-out"));
  user += ",hostfwd=" + local_forward(m.number, m.ssh_port, 22);
  user += ",hostfwd=" + local_forward(m.number, control_port, control_port);
  for (auto [first, last] : m.public_ports)
    for (uint32_t port = first; port <= last; ++port)
      if (port != control_port && port != m.ssh_port && port != 22)
        user +=
            ",hostfwd=" + local_forward(m.number, static_cast<uint16_t>(port), static_cast<uint16_t>(port));
  add("-netdev", user);
  add("-device", fmt::format("virtio-net-pci,netdev=out,mac={},romfile=", mac(m.number, 1)));
  add("-netdev", fmt::format("socket,id=cluster,mcast={},localaddr=127.0.0.1", m.network));
  add("-device", fmt::format("virtio-net-pci,netdev=cluster,mac={},romfile=", mac(m.number, 2)));
  add("-device", "virtio-rng-pci");
  add("-chardev", fmt::format("file,id=console,append=on,path={}", file("console")));
  add("-serial", "chardev:console");
  add("-chardev",
      fmt::format("socket,id=monitor,server=on,wait=off,path={}", "monitor"));  // paths of sockets are short
  add("-mon", "chardev=monitor,mode=control");
  add("-pidfile", m.directory + "/pid");  // not a list of options
  argv.emplace_back("-daemonize");
  return argv;
}

std::vector<SeedFile> local_seed(const LocalMachine& machine, const std::string& id,
                                 const std::string& host_name, const std::vector<std::string>& ssh_keys,
                                 const std::string& user_data) {
  using Json = nlohmann::ordered_json;  // JSON is YAML
  Json meta = {{"instance-id", id}, {"local-hostname", host_name}};
  if (!ssh_keys.empty()) meta["public-keys"] = ssh_keys;
  auto interface = [&](unsigned number, Json settings) {
    settings["match"] = {{"macaddress", mac(machine.number, number)}};
    settings["set-name"] = fmt::format("eth{}", number - 1);
    return settings;
  };
  Json network = {
      {"version", 2},
      {"ethernets",
       {{"eth0", interface(1, {{"dhcp4", true}})},
        {"eth1", interface(2, {{"addresses", {fmt::format("10.201.{}.16/17", machine.number)}}})}}}};
  return {{"meta-data", meta.dump(1) + "\n"},
          {"network-config", network.dump(1) + "\n"},
          {"user-data", user_data}};
}

std::string local_network(const std::string& directory) {
  std::string hash = sha256(directory);
  auto byte = [&](size_t i) { return static_cast<unsigned>(static_cast<unsigned char>(hash[i])); };
  return fmt::format("239.201.{}.{}:{}", byte(0), byte(1), 20000 + (byte(2) << 8 | byte(3)) % 10000);
}

}  // namespace rayctl::cloud
