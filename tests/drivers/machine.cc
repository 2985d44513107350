// The provider Local by hand, without fleet:
//   machine STATE-DIR boot CLUSTER KEY [size=2x4] [disk=16] [image=PATH] [user-data=FILE] [key=SSH-KEY-LINE]
//   [role=worker] machine STATE-DIR list|sweep|prepare CLUSTER [PORT…]      machine STATE-DIR
//   terminate|console CLUSTER KEY
// Prints one JSON document (console: the text).
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cloud/local.h"

using namespace rayctl;
using namespace rayctl::cloud;

namespace {

nlohmann::json to_json(const Machine& m) {
  return {{"id", m.id},         {"key", m.key},
          {"role", m.role},     {"state", name_of(m.state)},
          {"reason", m.reason}, {"public", m.public_address},
          {"size", m.size},     {"private", m.private_address}};
}

MachineWant want_of(const std::string& cluster, const std::string& key, int argc, char** argv) {
  MachineWant want{.key = key, .cluster = cluster, .role = "worker", .disk_gb = 16};
  for (int i = 0; i < argc; ++i) {
    std::string word = argv[i];
    size_t equals = word.find('=');
    if (equals == std::string::npos) throw UsageError("'{}' isn't NAME=VALUE", word);
    std::string name = word.substr(0, equals), value = word.substr(equals + 1);
    if (name == "size")
      want.sizes = {value};
    else if (name == "disk")
      want.disk_gb = static_cast<unsigned>(std::stoul(value));
    else if (name == "image")
      want.image = value;
    else if (name == "user-data")
      want.user_data = read_file(value);
    else if (name == "key")
      want.ssh_keys.push_back(value);
    else if (name == "role")
      want.role = value;
    else
      throw UsageError("unknown '{}'", name);
  }
  return want;
}

Machine find(Provider& local, const std::string& cluster, const std::string& key) {
  for (const Machine& machine : local.list(cluster))
    if (machine.key == key) return machine;
  throw Error("cannot find machine '{}'", key);
}

int run(int argc, char** argv) {
  if (argc < 4) throw UsageError("machine STATE-DIR VERB CLUSTER …");
  auto local = open_local({.state_dir = argv[1]});
  std::string verb = argv[2], cluster = argv[3];
  nlohmann::json out = nlohmann::json::array();
  if (verb == "list") {
    for (const Machine& machine : local->list(cluster)) out.push_back(to_json(machine));
  } else if (verb == "sweep") {
    for (const Leftover& left : local->sweep(cluster, {}, std::chrono::seconds(5)))
      out.push_back({{"kind", left.kind}, {"id", left.id}, {"reason", left.reason}});
  } else if (verb == "prepare") {
    Firewall firewall;
    for (int i = 4; i < argc; ++i) {
      auto port = static_cast<uint16_t>(std::stoul(argv[i]));
      firewall.public_ports.push_back({port, port});
    }
    local->prepare(cluster, {}, firewall);
  } else if (argc < 5) {
    throw UsageError("machine STATE-DIR {} CLUSTER KEY", verb);
  } else if (verb == "boot") {
    Booted booted = local->boot({want_of(cluster, argv[4], argc - 5, argv + 5)}).front();
    if (booted.error) throw *booted.error;
    out = to_json(*booted.machine);
  } else if (verb == "terminate") {
    local->terminate({find(*local, cluster, argv[4])});
  } else if (verb == "console") {
    std::printf("%s", local->console(find(*local, cluster, argv[4])).value_or("").c_str());
    return 0;
  } else {
    throw UsageError("unknown verb '{}'", verb);
  }
  std::printf("%s\n", out.dump().c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "machine: %s\n", e.what());
    return 1;
  }
}
