#!/usr/bin/env bash
# The same on a machine that has only cgroup v1, and on one that has only v2 (there without the controllers that this
# machine gives to v1), as far as this machine can show them.
# timeout: 400
source "$(dirname "$0")/common.sh"
source "$here/containers.sh"
need mount_namespaces
[ -d /sys/fs/cgroup/memory ] || skip cgroup_v1 'this machine has pure cgroup v2: every other test has shown it'

in_layout() {  # v1|v2 COMMAND…
  local recipe='umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
  [ "$1" = v1 ] || recipe='umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec "$@"'
  shift
  unshare --mount --propagation private sh -c "$recipe" sh "$@"
}
chmod 711 "$T"
again() {  # LAYOUT TEST
  mkdir -p "$T/$1-$2"
  in_layout "$1" env RAYCTL_TEST_DIR="$T/$1-$2" bash "$here/$2.sh" >"$T/$1-$2.log" 2>&1 || { cat "$T/$1-$2.log"; fail "$2 on cgroup $1"; }
}
again v1 36-container
again v1 38-limits
again v1 39-stop
again v2 36-container
again v2 37-exec
again v2 39-stop

# v2 alone: devices by an eBPF program, a cgroup namespace of its own, limits that have no controller are named
cat >v2.sh <<'S'
set -euo pipefail
source "$here/common.sh"; source "$here/containers.sh"
run_container dev -- sh -c 'mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg; echo "kmsg $?"; echo x >/dev/null && echo null; head -c 1 /dev/zero | wc -c; cat /proc/self/cgroup; ls /sys/fs/cgroup/cgroup.procs'
container wait dev >/dev/null
container logs dev >log
grep_quiet '^kmsg 1$' log
grep_quiet 'Operation not permitted' log
grep_quiet '^null$' log
grep_quiet '^1$' log
grep_quiet '^0::/$' log
container remove dev
container create limit rootfs -m 50000000 -- true
container start limit
grep_quiet "warning: cannot set memory limit of cgroup '$CGROUP/limit': this machine has no control group controller for it" "$C/limit/shim.log"
container remove limit
equal "$(cgroup_directories)" ''
# a cgroup with processes can't have limited children, until they are moved into a leaf
mkdir "/sys/fs/cgroup$CGROUP"
background beside sleep 1000
echo "$pid" >"/sys/fs/cgroup$CGROUP/cgroup.procs"
container leaf "$CGROUP" supervisor
equal "$(cat "/sys/fs/cgroup$CGROUP/supervisor/cgroup.procs")" "$pid"
equal "$(cat "/sys/fs/cgroup$CGROUP/cgroup.procs")" ''
S
export here
mkdir v2
in_layout v2 env RAYCTL_TEST_DIR="$T/v2" bash v2.sh
