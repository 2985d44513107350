#!/usr/bin/env bash
# Start and end of a container: `run /bin/true` with the engines' default profile, beside crun and runc (Debian's), in
# turn; medians of wall time, then CPU time.
source "$(dirname "$0")/lib.sh"
source "$here/bundle.sh"
need_command crun runc
[ ! -d /sys/fs/cgroup/unified ] || cgroup_layout v1   # crun refuses the hybrid layout
bundle ours
edit ours '.process.args = ["/bin/true"]'
# what the peers read: the same container, the profile written out, podman's list of masked paths
cp -a ours peer
edit peer 'del(.rayctl) | .root = {"path": "rootfs"} | .ociVersion = "1.0.2"'
profile=$(jq -c '{defaultAction, defaultErrnoRet, architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], syscalls: [.syscalls[] | select((.includes.arches // []) | length == 0 or index("amd64")) | select((.includes.caps // []) | length == 0) | {names, action, args: (.args // []), errnoRet} | del(.. | nulls)]}' /usr/share/containers/seccomp.json)
edit peer '.linux.seccomp = $p' --argjson p "$profile"
cp -a peer same

n=0
start() { n=$((n + 1)); "$@" "bench$$-$n"; }
ours() { start "$RAYCTL" oci run -b ours; }
ours_profile() { start "$RAYCTL" oci run -b same; }
crun_() { start crun run -b peer; }
runc_() { start runc run -b peer; }
compare 'container start+exit' "${BENCH_RUNS:-60}" rayctl ours crun crun_ runc runc_
compare 'the same, profile compiled at each start' "${BENCH_RUNS:-40}" rayctl ours_profile crun crun_ runc runc_

# CPU milliseconds of one run, user and system, children included
cpu() {
  local i before after
  before=$(awk '{ print $16 + $17 }' /proc/$BASHPID/stat)
  for i in $(seq 40); do "$1" >/dev/null 2>&1 </dev/null; done
  after=$(awk '{ print $16 + $17 }' /proc/$BASHPID/stat)
  awk -v a="$before" -v b="$after" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", (b - a) * 1000 / hz / 40 }'
}
mine=$(cpu ours)
report 'container start+exit, CPU' ms lower "$mine" crun "$(cpu crun_)"
report 'container start+exit, CPU' ms lower "$mine" runc "$(cpu runc_)"
