#!/usr/bin/env bash
# One machine from user-data alone: systemd, cgroup v2, and what ends or doesn't end its container.
# timeout: 1500
source "$(dirname "$0")/lib.sh"
start_host
build_stand_in

# --- from user-data to a container ---
vm prepare
stage 'machine image (where there is none yet)'
printf '{"insecure-registry": ["%s"], "stop-grace": "3s", "env": {"MARK": "from-user-data"}}\n' "$REGISTRY" >config.json
data() {
  rayctl user-data --role head --image "$IMAGE" --overlay vxlan --config config.json --ssh-key "$VM_STATE/key.pub" \
    --binary-url "$BINARY_URL" --sha256 "$BINARY_SHA256" "$@"
}
data -o head.user-data
export VM_USER=debian
VM_USER_DATA=$T/head.user-data vm start head
stage 'boot until one can log in'
on() { vm ssh -n head "$@"; }
as_root() { printf '%s\n' "set -eu" "$1" | on sudo bash; }
until_healthy() { wait_for "$1" bash -c "'$e2e/vm.sh' ssh -n head rayctl ps | grep -q '(healthy)'"; }
until_healthy 300
stage 'then until the container is healthy'
on 'rayctl status' >status  # the login user is in group rayctl
grep_quiet '^ray-ms-0 +head +joined +healthy' status

# --- where things are ---
as_root 'stat -c "%a %n" /etc/rayctl/* /etc/systemd/system/rayctl-*; cat /proc/$(systemctl show -p MainPID --value rayctl-node)/cgroup' >files
for line in '600 /etc/rayctl/node.json' '644 /etc/systemd/system/rayctl-node.service' '0::/system.slice/rayctl-node.service'; do
  grep_quiet "^$line\$" files
done
snapshot() {
  as_root 'cd "$(find /sys/fs/cgroup/system.slice/rayctl-pods.service -mindepth 2 -type d -regex ".*/[0-9a-f]*")"; echo "pids $(sort -n cgroup.procs | xargs)"
    for file in memory.max memory.swap.max cpu.max; do echo "$file $(cat $file)"; done'
}
snapshot >before
[ "$(wc -w <<<"$(grep '^pids' before)")" -gt 3 ] || fail "no processes in the container's cgroup: $(cat before)"
grep_none '^memory.max max$' before
as_root 'cat /sys/fs/cgroup/system.slice/rayctl-node.service/cgroup.procs | wc -l' >own
equal "$(cat own)" 1 "processes in the supervisor's own cgroup"
as_root 'grep -c . /sys/fs/cgroup/system.slice/rayctl-pods.service/{idle,helpers,*/shims}/cgroup.procs' >leaves
grep_none ':0$' leaves

# --- the supervisor goes, the container stays ---
as_root 'systemctl restart rayctl-node'
until_healthy 60
snapshot | cmp - before
as_root 'kill -9 $(systemctl show -p MainPID --value rayctl-node)'
wait_for 60 bash -c "'$e2e/vm.sh' ssh -n head 'systemctl show -p NRestarts --value rayctl-node' | grep -qx 1"
until_healthy 60
snapshot | cmp - before
as_root 'dmesg | grep -c "Out of memory" || true' >oom
# what holds the cgroup is stopped (SIGSTOP): nobody waits for it
as_root 'kill -STOP $(systemctl show -p MainPID --value rayctl-pods); systemctl restart rayctl-node'
until_healthy 60
snapshot | cmp - before
as_root 'kill -CONT $(systemctl show -p MainPID --value rayctl-pods)'
stage 'restart and kill -9 of the supervisor'

# --- draining, starting, and the death of what holds the cgroup ---
as_root 'systemctl stop rayctl-pods; ! systemctl is-active --quiet rayctl-node; ! pgrep -x rayctl; ! ls -d /sys/fs/cgroup/system.slice/rayctl-*'
as_root 'systemctl start --no-block rayctl-node'
until_healthy 120
as_root 'kill -9 $(systemctl show -p MainPID --value rayctl-pods)'
sleep 12
until_healthy 120
as_root 'systemctl is-active rayctl-node rayctl-pods' >/dev/null
stage 'drain, start, and the death of rayctl-pods'

# --- the boothook repairs at the next boot ---
boot=$(on cat /proc/sys/kernel/random/boot_id)
as_root 'rm /etc/systemd/system/rayctl-node.service; echo "{" >/etc/rayctl/node.json
  echo broken >/usr/local/bin/broken; chmod 755 /usr/local/bin/broken; mv /usr/local/bin/broken /usr/local/bin/rayctl
  systemctl --no-block reboot'
rebooted() { local now; now=$(on cat /proc/sys/kernel/random/boot_id) && [ "$now" != "$boot" ]; }
wait_for 400 rebooted
until_healthy 300
stage 'reboot with a broken installation'
on rayctl status >status
grep_quiet '^ray-ms-0 +head +joined +healthy' status

# --- the other form passes cloud-init's own check ---
data --format cloud-config | on 'cat >config; sudo cloud-init schema -c config' >schema
grep_quiet 'Valid cloud-config' schema
data --format cloud-config | sed 's/  content:/  contents:/' | on 'cat >config; ! sudo cloud-init schema -c config' >schema 2>&1
on 'cloud-init status' >status || true
grep_quiet '^status: (done|running)' status
show_stages
