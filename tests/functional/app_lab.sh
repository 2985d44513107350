#!/usr/bin/env bash
# Machines (tests/demo/lab.sh: vm0, vm1, …) whose cluster's image is app:1, made of busybox. Sourced after common.sh; $D is $T.
#   app_image VM…    builds app:1 on each, from ctx/ (without a ctx/Dockerfile: a head that serves its files on port 8265)
#   start_head WORKERS FLAG…    on vm0
#   start_workers VM…           joined to it
#   start_pair FLAG…            head and a worker on vm1, until both containers run; $inside is the worker's first process
#   worker COMMAND…             of busybox, in the worker's network
#   eat_usual_ports VM…         a network that eats the usual ports, as VMware's NSX does
need_root
need network_namespaces overlayfs
need_command busybox
D=$T
. "$top/tests/demo/lab.sh"
export -n RAYCTL_STATE_DIR RAYCTL_RUN_DIR
sizes=(--memory 512M --cpus 1)
mkdir ctx; cp "$(command -v busybox)" ctx/

app_image() {
  local vm
  if [ ! -e ctx/Dockerfile ]; then
    cat >ctx/run <<'RUN'
#!/bin/busybox sh
[ "$1" != head ] || exec /bin/busybox httpd -f -p 8265 -h /
exec /bin/busybox sleep 1000
RUN
    printf 'FROM scratch\nCOPY --chmod=755 busybox run /bin/\nENV PATH=/bin\n' >ctx/Dockerfile
  fi
  for vm; do
    mkdir -p "$vm"
    on_exit "rm -rf --one-file-system '$T/$vm/state' '$T/$vm/run'"
    rayctl --state-dir "$T/$vm/state" --run-dir "$T/$vm/run" build -t app:1 ctx >build.log 2>&1 || { cat build.log; exit 1; }
  done
}

start_head() { start_node vm0 --role head --image app:1 --workers "$1" "${sizes[@]}" "${@:2}"; }
start_workers() {
  local vm
  wait_for 60 test -s "$T/vm0/state/cluster/worker-token"
  for vm; do
    start_node "$vm" --role worker --join "${head_address:-$lab_network.10}" --token-file "$T/vm0/state/cluster/worker-token" "${sizes[@]}"
  done
}
both_run() { [ "$(node vm0 ps | grep -c ' Up ')" = 2 ]; }
start_pair() {
  start_head 1 "$@"
  start_workers vm1
  wait_for 90 both_run
  inside=$(node vm1 ps -o json | python3 -c 'import json, sys
print(next((c["pid"] for c in json.load(sys.stdin) if c.get("pid") and c["node"] == "ray-wk-0"), ""))')
}
worker() { nsenter -t "$inside" -n -m /bin/busybox "$@"; }

eat_usual_ports() {
  local vm
  for vm; do
    on_vm "$vm" nft -f - <<'X'
table ip nsx { chain in { type filter hook prerouting priority -400; udp dport { 4789, 8472, 51820 } counter drop; }; }
X
  done
}
