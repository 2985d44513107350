#include "cli/commands.h"

namespace rayctl::cli {

// One a line: so they merge.
// clang-format off
std::vector<Command> all_commands() {
  return {
      build_command(),
      completion_command(),
      containers_command(),
      context_command(),
      cp_command(),
      daemon_command(),
      dashboard_command(),
      deploy_command(),
      down_command(),
      exec_command(),
      get_command(),
      images_command(),
      inspect_command(),
      login_command(),
      logout_command(),
      logs_command(),
      machines_command(),
      man_command(),
      net_command(),
      node_command(),
      nodes_command(),
      operators_command(),
      port_forward_command(),
      ps_command(),
      pull_command(),
      push_command(),
      registry_command(),
      restart_command(),
      rmi_command(),
      run_command(),
      spec_command(),
      ssh_command(),
      status_command(),
      stop_command(),
      tag_command(),
      token_command(),
      up_command(),
      user_data_command(),
      version_command(),
  };
}
// clang-format on

}  // namespace rayctl::cli
