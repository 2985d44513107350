#include "cloud/units.h"

#include <fmt/format.h>

namespace rayctl::cloud {

namespace {

// KillMode=process: containers' helpers that it started live on. Nothing in this unit's cgroup has
// controllers, or systemd couldn't enter it again (EBUSY).
std::string node_text(std::string_view binary) {
  return fmt::format(
      R"([Unit]
Description=rayctl: supervisor of this machine
BindsTo={pods}
After={pods} network-online.target
Wants=network-online.target
StartLimitIntervalSec=0
[Service]
Type=notify
ExecStart={binary} node
KillMode=process
Restart=always
RestartSec=5
TimeoutStartSec=infinity
LimitNOFILE=1048576
LimitNPROC=infinity
TasksMax=infinity
StandardOutput=journal+console
[Install]
WantedBy=multi-user.target
)",
      fmt::arg("pods", pods_unit), fmt::arg("binary", binary));
}

// Stopping it drains: at shutdown this happens while the network is still up. Restart is for the case that
// its process is killed; an upgrade never touches it.
std::string pods_text(std::string_view binary, std::string_view prepare) {
  return fmt::format(
      R"([Unit]
Description=rayctl: containers of this machine
After=network-online.target
Wants=network-online.target {node}
StartLimitIntervalSec=0
[Service]
Type=notify
Delegate=yes
{prepare}ExecStart={binary} pods
ExecStop={binary} pods drain
TimeoutStartSec=infinity
TimeoutStopSec=120
Restart=always
RestartSec=5
TasksMax=infinity
StandardOutput=journal+console
)",
      fmt::arg("node", node_unit), fmt::arg("binary", binary),
      fmt::arg("prepare", prepare.empty() ? "" : fmt::format("ExecStartPre=/bin/sh {}\n", prepare)));
}

}  // namespace

std::vector<Unit> node_units(std::string_view binary, std::string_view prepare) {
  return {{pods_unit, pods_text(binary, prepare)}, {node_unit, node_text(binary)}};
}

}  // namespace rayctl::cloud
