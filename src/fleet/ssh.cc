#include "fleet/ssh.h"

#include "base/error.h"
#include "base/text.h"
#include "fleet/documents.h"

namespace rayctl::fleet {

const MachineView& find_machine(const ClusterLook& look, const std::string& number) {
  for (const MachineView& machine : look.machines)
    if (std::to_string(machine.record.number) == number || machine.record.node_name == number) return machine;
  std::vector<MachineView> machines = look.machines;
  sort_machines(machines);
  std::string list;
  for (const MachineView& machine : machines) list += "\n    " + machine_line(machine);
  throw Error("Unable to find machine `{}`.\nAvailable machines:{}", printable(number), list);
}

std::vector<std::string> ssh_argv(const Home& home, const MachineView& machine, const std::string& login,
                                  const std::vector<std::string>& arguments) {
  std::string address = operator_address(machine.record);
  if (address.empty())
    throw Error("cannot reach machine {}: it has no address yet (rayctl machines shows it)",
                machine.record.number);
  std::vector<std::string> argv = {"ssh",
                                   "-i",
                                   home.ssh_key(),
                                   "-o",
                                   "StrictHostKeyChecking=yes",
                                   "-o",
                                   "UserKnownHostsFile=" + home.known_hosts(),
                                   "-o",
                                   "GlobalKnownHostsFile=/dev/null",
                                   "-o",
                                   "CheckHostIP=no"};
  const std::string& user = login.empty() ? machine.login : login;
  if (!user.empty()) {
    argv.push_back("-l");
    argv.push_back(user);
  }
  argv.push_back(address);
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return argv;
}

}  // namespace rayctl::fleet
