// One function per command; each stands in the file of its name.
#pragma once

#include "cli/command.h"

namespace rayctl::cli {

Command build_command();
Command completion_command();
Command containers_command();
Command context_command();
Command cp_command();
Command daemon_command();
Command dashboard_command();
Command deploy_command();
Command down_command();
Command exec_command();
Command get_command();
Command images_command();
Command inspect_command();
Command login_command();
Command logout_command();
Command logs_command();
Command machines_command();
Command man_command();
Command net_command();
Command node_command();
Command nodes_command();
Command operators_command();
Command port_forward_command();
Command ps_command();
Command pull_command();
Command push_command();
Command registry_command();
Command restart_command();
Command rmi_command();
Command run_command();
Command spec_command();
Command ssh_command();
Command status_command();
Command stop_command();
Command tag_command();
Command token_command();
Command up_command();
Command user_data_command();
Command version_command();

}  // namespace rayctl::cli
