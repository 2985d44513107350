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
cp -a peer bare
edit bare 'del(.linux.seccomp)'

n=0
start() { n=$((n + 1)); "$@" "bench$$-$n"; }
ours() { start "$RAYCTL" oci run -b ours; }
ours_profile() { start "$RAYCTL" oci run -b peer; }
ours_bare() { start "$RAYCTL" oci run -b bare; }
crun_profile() { start crun run -b peer; }
crun_bare() { start crun run -b bare; }
runc_profile() { start runc run -b peer; }
runc_bare() { start runc run -b bare; }
runs=${BENCH_RUNS:-40}
compare 'container start+exit' "$runs" rayctl ours crun crun_profile runc runc_profile
compare 'with the profile as JSON' "$runs" rayctl ours_profile crun crun_profile runc runc_profile
compare 'without a filter' "$runs" rayctl ours_bare crun crun_bare runc runc_bare

# CPU milliseconds of one run, user and system, children included
cpu() {
  local i before after me=$BASHPID
  before=$(awk '{ print $16 + $17 }' "/proc/$me/stat")
  for i in $(seq "$runs"); do "$1" >/dev/null 2>&1 </dev/null; done
  after=$(awk '{ print $16 + $17 }' "/proc/$me/stat")
  awk -v a="$before" -v b="$after" -v hz="$(getconf CLK_TCK)" -v n="$runs" 'BEGIN { printf "%.2f", (b - a) * 1000 / hz / n }'
}
mine=$(cpu ours)
report 'container start+exit, CPU' ms lower "$mine" crun "$(cpu crun_profile)"
report 'container start+exit, CPU' ms lower "$mine" runc "$(cpu runc_profile)"
mine=$(cpu ours_bare)
report 'without a filter, CPU' ms lower "$mine" crun "$(cpu crun_bare)"
report 'without a filter, CPU' ms lower "$mine" runc "$(cpu runc_bare)"
