#!/usr/bin/env bash
# `rayctl up` with three machines of the provider Local: joined, healthy, talking over the overlay; one worker fewer and one
# more again, while the head stays; what systemd does to a supervisor doesn't touch its container; a machine that is killed
# comes back; down leaves no process and no disk. Ray is a stand-in here (its image is in the registry of this machine, its
# health endpoints are served by busybox): three Rays on emulated processors take longer than anybody waits.
# E2E_IMAGE=NAME, an image in a registry that machines reach, replaces it.
# timeout: 3000
source "$(dirname "$0")/lib.sh"
rayctl up --help >/dev/null 2>&1 || skip up 'this rayctl has no command up'
start_host
if [ -n "${E2E_IMAGE:-}" ]; then IMAGE=$E2E_IMAGE; else build_stand_in; fi
vm prepare
stage 'machine image (where there is none yet)'

# What machines fetch is this very program: without its symbols it is a quarter as large.
rayctl() { "$T/www/rayctl" "$@"; }
export XDG_CONFIG_HOME=$T/config RAYCTL_STATE_DIR=$T/state
machines=$T/state/local/clusters/e2e
on_exit "pgrep -f -- '-pidfile $T/state/local/' | xargs -r kill -9"
up() {
  rayctl up --provider Local --namespace e2e --size 1x2 --head-size 2x2 --image "$IMAGE" --insecure-registry "$REGISTRY" \
    --overlay vxlan --ssh-key "$VM_STATE/key.pub" --yes --wait 20m --workers "$@"
}
healthy() { rayctl ps | grep -c '(healthy)' || true; }
stages_of_nodes() { rayctl status --boot | sed -n '/^$/,$p' | grep -E '^[a-z0-9-]+: ' || true; }
# MACHINE: seconds of its life, of the units' own reckoning; the supervisor doesn't wait for cloud-init's last stage
moments() {
  rayctl ssh "$1" 'cloud-init status --wait >/dev/null; at() { systemctl show -p "$2" --value "$1"; }
    echo "$(at rayctl-pods InactiveExitTimestampMonotonic) $(at rayctl-node ExecMainStartTimestampMonotonic) $(at cloud-final ExecMainStartTimestampMonotonic)"' |
    awk -v machine="$1" '{ printf "Machine-%s: boot %.1f s, install %.1f s; rayctl-node starts at %.1f s, cloud-init'\''s final stage at %.1f s\n",
      machine, $1 / 1e6, ($2 - $1) / 1e6, $2 / 1e6, $3 / 1e6; exit !($1 > 0 && $2 < $3) }' ||
    fail "Machine-$1: the supervisor started after cloud-init's final stage"
}

# --- up ---
rayctl up --provider Local --namespace e2e --workers 2 --image "$IMAGE" --dry-run >plan
[ ! -e "$machines" ] || fail '--dry-run booted something'
up 2
stage 'up: head and two workers'
rayctl machines | tee list
equal "$(grep -c Connected list)" 3 'connected machines'
equal "$(healthy)" 3 'healthy containers'
rayctl ps | tee ps
stages_of_nodes
for machine in $(grep -Eo 'Machine-[0-9]+' list | grep -Eo '[0-9]+'); do moments "$machine"; done
rayctl exec head sh -c 'for n in ray-wk-0 ray-wk-1; do wget -qO- "http://$n.q:52365/name"; done' >names
equal "$(sort -u names | wc -l)" 2 'workers that answer the head by name'
head=$(cat "$(dirname "$(grep -l '"role": "head"' "$machines"/*/machine.json)")/pid")

# --- a worker's supervisor goes, its container stays ---
worker=$(grep -Eo 'Machine-[0-9]+\{Worker' list | head -n 1 | grep -Eo '[0-9]+')
on_worker() { rayctl ssh "$worker" "$@"; }
snapshot() {
  on_worker 'sudo sh -c '"'"'cd "$(find /sys/fs/cgroup/system.slice/rayctl-pods.service -mindepth 2 -type d -regex ".*/[0-9a-f]*")"
    echo "pids $(sort -n cgroup.procs | xargs)"; for file in memory.max memory.swap.max cpu.max; do echo "$file $(cat $file)"; done'"'"
}
snapshot | tee before
on_worker sudo systemctl restart rayctl-node
snapshot | cmp - before
on_worker 'sudo kill -9 $(systemctl show -p MainPID --value rayctl-node)'
restarted() { [ "$(on_worker systemctl show -p NRestarts --value rayctl-node)" = 1 ]; }
wait_for 90 restarted
all_well() { [ "$(healthy)" = "$1" ] && [ "$(rayctl machines | grep -c Connected)" = "$1" ]; }
wait_for 120 all_well 3
snapshot | cmp - before
stage 'restart and kill -9 of a supervisor'

# --- a worker's clock jumps ahead and back: nothing ends, names and packets go on ---
by_name() { rayctl exec head wget -qO- http://ray-wk-0.q:52365/name && rayctl exec head wget -qO- http://ray-wk-1.q:52365/name; }
for jump in '+2 hours' '-2 hours' '-40 minutes' '+40 minutes'; do
  on_worker "sudo date -s '$jump'" >/dev/null
  for _ in 1 2 3; do sleep 4; by_name >/dev/null; done
  wait_for 60 all_well 3
done
snapshot | cmp - before
stage 'a clock that jumps'

# --- one worker fewer, one more: the head isn't touched ---
up 1
equal "$(healthy)" 2 'healthy containers'
stage 'up: one worker fewer'
up 2
equal "$(healthy)" 3 'healthy containers'
kill -0 "$head"
stage 'up: one worker more'

# --- under the daemon a killed machine comes back ---
background daemon "$T/www/rayctl" daemon
sleep 2
worker=$(grep -l '"role": "worker"' "$machines"/*/machine.json | head -n 1)
kill -9 "$(cat "$(dirname "$worker")/pid")"
sleep 30
wait_for 900 all_well 3
stage 'daemon: a killed worker is replaced'

# --- nothing is left ---
rayctl down e2e --yes
stage 'down'
! pgrep -f -- "-pidfile $T/state/local/" || fail 'machines are left'
[ ! -e "$machines" ] || fail "files are left: $(find "$machines" | head)"
show_stages
