#include "cloud/local.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>

#include "base/child.h"
#include "base/encoding.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/text.h"
#include "cloud/local_files.h"
#include "cloud/local_host.h"
#include "cloud/local_plan.h"

namespace rayctl::cloud {

namespace {

using namespace std::chrono_literals;

constexpr const char* region = "local";
constexpr const char* usual_size = "2x4";
constexpr uint16_t ssh_port_without_root = 2222;
constexpr unsigned most_public_ports = 100;
constexpr size_t console_tail = 256 << 10;

// "2x4": 2 CPUs, 4 GiB. Quilt's Vagrant wrote it the other way round: "4,2".
std::optional<Size> parse_local_size(const std::string& name) {
  auto number = [](const std::string& text) -> std::optional<double> {
    if (text.empty() || text.size() > 6 || text.find_first_not_of("0123456789.") != std::string::npos ||
        std::count(text.begin(), text.end(), '.') > 1 || text == ".")
      return std::nullopt;
    return std::stod(text);
  };
  bool quilt = name.find(',') != std::string::npos;
  std::vector<std::string> parts = split(name, quilt ? ',' : 'x');
  if (parts.size() != 2) return std::nullopt;
  if (quilt) std::swap(parts[0], parts[1]);
  auto cpus = number(parts[0]), ram = number(parts[1]);
  if (!cpus || !ram || *cpus < 1 || *cpus > 255 || *cpus != static_cast<unsigned>(*cpus) || *ram < 0.25 ||
      *ram > 4096)
    return std::nullopt;
  return Size{.name = name, .cpus = *cpus, .ram_gib = *ram, .arch = host_arch(), .price_hour = 0.0};
}

bool is_private(const std::string& directory) {
  struct stat info;
  return stat(directory.c_str(), &info) == 0 && info.st_uid == geteuid();
}

class Local : public Provider {
 public:
  explicit Local(const ProviderOptions& options)
      : state_dir_(absolute(options.state_dir.empty() ? default_paths().state_dir : options.state_dir)),
        base_(join(state_dir_, "local")) {}

  std::string name() const override { return "Local"; }
  size_t user_data_limit() const override { return 1 << 20; }
  size_t parallel_calls() const override { return 4; }
  std::string default_size() const override { return usual_size; }
  bool list_lags() const override { return false; }
  std::vector<std::string> regions() const override { return {region}; }

  Place place(const std::string& text) const override {
    if (text.empty() || text == region) return {region, ""};
    throw ProviderError(FailureKind::invalid, "leave it out, or say 'local'", "unknown region '{}' of Local",
                        printable(text));
  }

  std::vector<Size> sizes(const std::string&) const override {
    std::vector<Size> list;
    for (const char* name : {"1x1", "1x2", "2x2", "2x4", "2x8", "4x8", "4x16", "8x16", "8x32", "16x64"})
      list.push_back(*parse_local_size(name));
    return list;
  }

  Size size(const std::string&, const std::string& name) override {
    if (auto size = parse_local_size(name)) return *size;
    throw ProviderError(FailureKind::invalid, "sizes are written CPUSxGIB, like 2x4",
                        "unknown size '{}' of Local", printable(name));
  }

  std::string account() override {
    require_qemu();
    return "this machine";
  }

  void prepare(const std::string& cluster, const std::vector<std::string>&,
               const Firewall& firewall) override;
  std::vector<Booted> boot(const std::vector<MachineWant>& wants) override;
  std::vector<Machine> list(const std::string& cluster, const std::vector<std::string>&) override;
  void terminate(const std::vector<Machine>& machines) override;
  std::vector<Leftover> sweep(const std::string& cluster, const std::vector<std::string>&,
                              std::chrono::seconds patience) override;
  std::optional<std::string> console(const Machine& machine) override;

 private:
  using Ports = std::vector<std::pair<uint16_t, uint16_t>>;

  std::string cluster_directory(const std::string& cluster) const {
    check_local_name("namespace", cluster);
    return join(join(base_, "clusters"), cluster);
  }
  std::string machine_directory(const std::string& cluster, const std::string& key) const {
    check_local_name("machine", key);
    return join(cluster_directory(cluster), key);
  }
  // Of the machines whose directories are below `cluster`; one that is being made or removed is left out.
  std::vector<std::string> keys(const std::string& cluster) const;
  std::optional<LocalRecord> read_record(const std::string& directory) const;
  Machine observe(const LocalRecord& record, const std::string& directory) const;
  Ports public_ports(const std::string& cluster) const;
  Machine boot_one(const MachineWant& want);
  LocalRecord make_record(const MachineWant& want, const std::string& directory);
  unsigned free_number(const std::set<unsigned>& refused) const;
  std::string own_binary() const;
  void make_disks(const LocalRecord& record, const MachineWant& want) const;
  void start(LocalRecord& record);
  void remove_machine(const std::string& directory) const;

  std::string state_dir_, base_;
};

std::optional<LocalRecord> Local::read_record(const std::string& directory) const {
  std::string file = join(directory, "machine.json");
  auto text = read_file_if_exists(file);
  if (!text) return std::nullopt;
  LocalRecord record = parse_local_record(*text, file);
  record.plan.directory = directory;
  record.plan.name = fmt::format("rayctl-{}-{}", record.machine.cluster, record.machine.key);
  return record;
}

std::vector<std::string> Local::keys(const std::string& cluster) const {
  std::string directory = cluster_directory(cluster);
  std::vector<std::string> found;
  if (!exists(directory)) return found;
  for (const std::string& name : list_directory(directory))
    if (exists(join(join(directory, name), "machine.json"))) found.push_back(name);
  return found;
}

Machine Local::observe(const LocalRecord& record, const std::string& directory) const {
  Machine machine = record.machine;
  if (find_qemu(directory)) {
    machine.state = MachineState::running;
  } else if (machine.state == MachineState::running) {
    machine.state = MachineState::terminated;
    machine.reason = "its QEMU process ended (the machine was powered off, or killed)";
  }
  return machine;
}

Local::Ports Local::public_ports(const std::string& cluster) const {
  std::string file = join(cluster_directory(cluster), "firewall.json");
  Ports ports;
  if (auto text = read_file_if_exists(file))
    for (const Json& range : Json::parse(*text, file).at("public_ports").items())
      ports.emplace_back(range.at("first").size(), range.at("last").size());
  return ports;
}

// Everything is reachable from this host alone, so there is no one to keep out; public ports get forwards.
void Local::prepare(const std::string& cluster, const std::vector<std::string>&, const Firewall& firewall) {
  require_qemu();
  unsigned count = 0;
  nlohmann::json ports = nlohmann::json::array();
  Ports before = public_ports(cluster), after;
  for (Firewall::Ports range : firewall.public_ports) {
    count += range.last - range.first + 1u;
    if (count > most_public_ports)
      throw ProviderError(FailureKind::invalid, "make less of them public",
                          "cannot forward more than {} public ports to machines of Local", most_public_ports);
    ports.push_back({{"first", range.first}, {"last", range.last}});
    after.emplace_back(range.first, range.last);
  }
  make_directories(cluster_directory(cluster), 0700);
  replace_file(join(cluster_directory(cluster), "firewall.json"),
               nlohmann::json{{"public_ports", ports}}.dump() + "\n");
  if (before == after) return;
  for (const std::string& key : keys(cluster)) {
    std::string directory = machine_directory(cluster, key);
    auto record = read_record(directory);
    if (!record || !find_qemu(directory)) continue;
    auto each = [&](const Ports& list, const char* verb, const char* ending) {
      for (auto [first, last] : list)
        for (uint32_t port = first; port <= last; ++port) {
          std::string forward =
              local_forward(record->plan.number, static_cast<uint16_t>(port), static_cast<uint16_t>(port));
          if (*ending == '\0')
            forward = forward.substr(0, forward.rfind('-'));  // removal names the host's side
          ask_monitor(directory, fmt::format("{} out {}", verb, forward));
        }
    };
    each(record->plan.public_ports, "hostfwd_remove", "");
    each(after, "hostfwd_add", "-");
    record->plan.public_ports = after;
    replace_file(join(directory, "machine.json"), to_text(*record), 0600);
  }
}

std::vector<Booted> Local::boot(const std::vector<MachineWant>& wants) {
  require_qemu();
  std::vector<Booted> all;
  for (const MachineWant& want : wants) {
    Booted& booted = all.emplace_back(Booted{.key = want.key});
    try {
      booted.machine = boot_one(want);
    } catch (const ProviderError& e) {
      booted.error = e;
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& e) {
      booted.error = ProviderError(FailureKind::transient, "", "{}", e.message());
    }
  }
  return all;
}

Machine Local::boot_one(const MachineWant& want) {
  std::string directory = machine_directory(want.cluster, want.key);
  make_directories(cluster_directory(want.cluster), 0700);
  make_directories(directory, 0700);
  if (!is_private(directory))
    throw ProviderError(FailureKind::invalid, "choose another --state-dir",
                        "cannot keep a machine in '{}': it is another user's", directory);
  FileLock own(join(directory, "lock"), LockKind::exclusive);
  if (auto record = read_record(directory)) {
    Machine machine = observe(*record, directory);
    if (machine.state != MachineState::requested) return machine;  // accepted before
  }
  std::set<unsigned> refused;
  for (;;) {
    // Numbers are given out one by one: whoever sees the record knows that its number is taken.
    FileLock numbers(join(base_, "lock"), LockKind::exclusive);
    LocalRecord record = make_record(want, directory);
    record.plan.number = free_number(refused);
    record.machine.public_address = local_public_address(record.plan.number);
    record.machine.private_address = local_private_address(record.plan.number);
    replace_file(join(directory, "machine.json"), to_text(record), 0600);
    { FileLock given = std::move(numbers); }
    make_disks(record, want);
    try {
      start(record);
      return record.machine;
    } catch (const Error& e) {
      // The addresses may be another user's machine's.
      if (e.message().find("host forwarding rule") != std::string::npos && refused.size() < local_numbers) {
        refused.insert(record.plan.number);
        continue;
      }
      remove_machine(directory);
      throw;
    }
  }
}

LocalRecord Local::make_record(const MachineWant& want, const std::string& directory) {
  if (want.spot)
    throw ProviderError(FailureKind::invalid, "leave spot out", "there are no spot machines on Local");
  place(want.region);
  if (!want.zone.empty()) place(want.zone);
  Size chosen = size(region, want.sizes.empty() ? usual_size : want.sizes.front());
  LocalRecord record;
  LocalMachine& plan = record.plan;
  plan.directory = directory;
  plan.name = fmt::format("rayctl-{}-{}", want.cluster, want.key);
  plan.cpus = static_cast<unsigned>(chosen.cpus);
  plan.ram_mib = static_cast<uint64_t>(chosen.ram_gib * 1024);
  if (plan.ram_mib << 20 > available_memory())
    throw ProviderError(FailureKind::capacity, "choose a smaller size, or end something",
                        "cannot boot a machine of {} GiB: this host has {} left", chosen.ram_gib,
                        human_size(available_memory()));
  plan.arch = host_arch();
  plan.kvm = kvm_works(base_);
  plan.image = find_local_image(want.image, state_dir_);
  plan.network = local_network(cluster_directory(want.cluster));
  plan.binary = own_binary();
  plan.ssh_port = first_free_port_number() <= 22 ? 22 : ssh_port_without_root;
  plan.public_ports = public_ports(want.cluster);
  Machine& machine = record.machine;
  machine.id = want.cluster + "." + want.key;
  machine.key = want.key;
  machine.cluster = want.cluster;
  machine.role = want.role;
  machine.provider = name();
  machine.region = region;
  machine.size = chosen.name;
  machine.launched = std::chrono::system_clock::now();
  machine.disk_gb = want.disk_gb;
  return record;
}

unsigned Local::free_number(const std::set<unsigned>& refused) const {
  std::set<unsigned> taken = refused;
  std::string clusters = join(base_, "clusters");
  for (const std::string& cluster : list_directory(clusters))
    for (const std::string& key : keys(cluster))
      if (auto record = read_record(machine_directory(cluster, key))) taken.insert(record->plan.number);
  for (unsigned number = 1; number <= local_numbers; ++number)
    if (!taken.count(number)) return number;
  throw ProviderError(FailureKind::quota, "end some: rayctl down",
                      "cannot boot more than {} machines on Local", local_numbers);
}

// A copy, for machines may fetch it long after this command's file was replaced.
std::string Local::own_binary() const {
  std::string bytes = read_file("/proc/self/exe", 512 << 20);
  std::string directory = join(join(base_, "bin"), hex(sha256(bytes)));
  std::string path = join(directory, "rayctl");
  if (!exists(path)) {
    make_directories(directory, 0700);
    replace_file(path, bytes, 0700);
  }
  return path;
}

void Local::make_disks(const LocalRecord& record, const MachineWant& want) const {
  const LocalMachine& plan = record.plan;
  std::string host_name = want.cluster + "-" + want.key;
  for (char& c : host_name) c = c == '_' || c == '.' ? '-' : c;
  // The instance's id is new for each machine, so that cloud-init takes a disk that was one before for a new
  // one.
  replace_file(join(plan.directory, "seed.iso"),
               seed_image(local_seed(plan, want.cluster + "." + want.key, host_name.substr(0, 63),
                                     want.ssh_keys, want.user_data)),
               0600);
  Output made = run_captured(
      {.argv = {"qemu-img", "create", "-q", "-f", "qcow2", "-F", plan.image.disk_format, "-b",
                plan.image.disk, join(plan.directory, "disk.qcow2"), fmt::format("{}G", want.disk_gb)}});
  if (!made.exit.success())
    throw ProviderError(FailureKind::invalid, "", "cannot make a disk of {} GB: {}", want.disk_gb,
                        printable(trim(made.err)));
}

void Local::start(LocalRecord& record) {
  const std::string& directory = record.plan.directory;
  Output output = run_captured({.argv = qemu_argv(record.plan), .cwd = directory});
  if (!output.exit.success())
    throw Error("cannot start QEMU: {}",
                output.err.empty() ? describe(output.exit) : printable(trim(output.err)));
  record.machine.state = MachineState::running;
  replace_file(join(directory, "machine.json"), to_text(record), 0600);
}

std::vector<Machine> Local::list(const std::string& cluster, const std::vector<std::string>&) {
  std::vector<Machine> machines;
  for (const std::string& key : keys(cluster)) {
    std::string directory = machine_directory(cluster, key);
    auto record = read_record(directory);
    if (!record) continue;
    Machine machine = observe(*record, directory);
    // Without a process it isn't one yet, or never was: a boot that was interrupted is asked for again.
    if (machine.state != MachineState::requested) machines.push_back(std::move(machine));
  }
  return machines;
}

// The process first: a directory without one is safe to remove, the other way round a machine would be lost.
void Local::remove_machine(const std::string& directory) const {
  while (auto process = find_qemu(directory)) end_process(*process);
  remove_tree(directory);
}

void Local::terminate(const std::vector<Machine>& machines) {
  for (const Machine& machine : machines) {
    std::string directory = machine_directory(machine.cluster, machine.key);
    if (!exists(directory)) continue;
    FileLock own(join(directory, "lock"), LockKind::exclusive);  // not while another command boots it
    remove_machine(directory);
  }
}

// What no record tells of: directories that a crash left half-made, and processes without a directory.
std::vector<Leftover> Local::sweep(const std::string& cluster, const std::vector<std::string>&,
                                   std::chrono::seconds) {
  std::string directory = cluster_directory(cluster);
  std::vector<Leftover> left;
  if (exists(directory))
    for (const std::string& name : list_directory(directory)) {
      std::string path = join(directory, name);
      if (!exists(path + "/.")) continue;
      auto record = read_record(path);
      if (record && find_qemu(path)) {
        left.push_back({"machine", record->machine.id, region, "it runs"});
        continue;
      }
      FileLock own(join(path, "lock"), LockKind::exclusive);
      remove_machine(path);
    }
  for (pid_t pid : find_all_qemu(directory)) {
    bool known = std::any_of(left.begin(), left.end(), [](const Leftover& l) { return l.kind == "machine"; });
    if (!known)
      left.push_back({"process", std::to_string(pid), region, "its directory is gone: end it with kill"});
  }
  if (left.empty()) remove_tree(directory);
  return left;
}

std::optional<std::string> Local::console(const Machine& machine) {
  std::string file = join(machine_directory(machine.cluster, machine.key), "console");
  auto text = read_file_if_exists(file, 1 << 30);
  if (!text) return std::nullopt;
  return text->size() > console_tail ? text->substr(text->size() - console_tail) : *text;
}

}  // namespace

std::unique_ptr<Provider> open_local(const ProviderOptions& options) {
  return std::make_unique<Local>(options);
}

}  // namespace rayctl::cloud
