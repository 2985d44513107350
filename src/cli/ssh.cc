#include "fleet/ssh.h"

#include "base/child.h"
#include "base/error.h"
#include "cli/commands.h"
#include "fleet/home.h"
#include "fleet/up.h"

namespace rayctl::cli {

namespace {

struct Ssh {
  std::string machine;
  std::vector<std::string> arguments;
  std::optional<std::string> login, name_space;
};

int ssh(const Ssh& s) {
  std::string name = fleet::choose_cluster(s.name_space.value_or(""));
  fleet::ClusterLook look = fleet::look_at(name).look;
  const fleet::MachineView& machine = fleet::find_machine(look, s.machine);
  Exit exit = Child::spawn(
                  {.argv = fleet::ssh_argv(fleet::home_of(name), machine, s.login.value_or(""), s.arguments)})
                  .wait();
  return exit.code.value_or(static_cast<int>(ExitCode::failure));
}

}  // namespace

Command ssh_command() {
  auto s = std::make_shared<Ssh>();
  return {
      .name = "ssh",
      .group = Group::cluster,
      .summary = "Log in to a machine by its number",
      .description =
          "Runs ssh with the cluster's own key besides yours. The host key must be the one that the machine "
          "itself\n"
          "told the head over mutual TLS.",
      .arguments = {option("-l,--login", "USER", &s->login, "the user there (default: the image's own)"),
                    option("--namespace", "NAME", &s->name_space, "the cluster, when there are several"),
                    required(
                        positional("N", &s->machine, "the machine's number, as 'rayctl machines' shows it")),
                    rest("ARGUMENTS", s->arguments,
                         "for ssh: a command, or options like -L 8265:localhost:8265")},
      .examples = {{"rayctl ssh 2", "a shell on Machine-2"}, {"rayctl ssh 2 rayctl ps", "a command there"}},
      .run = [s](const Globals&) { return ssh(*s); }};
}

}  // namespace rayctl::cli
