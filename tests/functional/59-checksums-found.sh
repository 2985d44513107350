#!/usr/bin/env bash
# Nodes whose network cards get checksums inside VXLAN wrong: each finds it out by itself, says so once, in status and in net
# check, and from then on TCP passes.
# timeout: 240
source "$(dirname "$0")/common.sh"
need_root
need network_namespaces overlayfs vxlan
need_command busybox
D=$T
. "$top/tests/demo/lab.sh"
export -n RAYCTL_STATE_DIR RAYCTL_RUN_DIR
mkdir ctx; cp "$(command -v busybox)" ctx/
cat >ctx/run <<'RUN'
#!/bin/busybox sh
[ "$1" != head ] || exec /bin/busybox httpd -f -p 8265 -h /
exec /bin/busybox sleep 1000
RUN
cat >ctx/Dockerfile <<'X'
FROM scratch
COPY --chmod=755 busybox run /bin/
ENV PATH=/bin
X
make_lab vm0 vm1
for vm in vm0 vm1; do  # off the switch: the two are joined by the card alone, and packets cross one by one
  on_vm $vm ip link set eth0 gso_max_segs 1
  in_lab ip link set $vm nomaster gso_max_segs 1
  mkdir -p $vm
  on_exit "rm -rf --one-file-system '$T/$vm/state' '$T/$vm/run'"
  rayctl --state-dir "$T/$vm/state" --run-dir "$T/$vm/run" build -t app:1 ctx >build.log 2>&1 || { cat build.log; exit 1; }
done
background card nsenter --net="/run/netns/$lab-sw" python3 "$here/card.py" vm0 vm1
wait_for 5 grep -q ready card.log
sizes=(--memory 512M --cpus 1)
start_node vm0 --role head --image app:1 --workers 1 --overlay vxlan "${sizes[@]}"
wait_for 30 test -s "$T/vm0/state/cluster/worker-token"
start_node vm1 --role worker --join "$lab_network.10" --token-file "$T/vm0/state/cluster/worker-token" "${sizes[@]}"
both_run() { [ "$(node vm0 ps | grep -c ' Up ')" = 2 ]; }
wait_for 90 both_run
inside=$(node vm1 ps -o json | python3 -c 'import json, sys
print(next(c["pid"] for c in json.load(sys.stdin) if c.get("pid") and c["node"] == "ray-wk-0"))')
talks() { nsenter -t "$inside" -n -m /bin/busybox timeout 3 /bin/busybox wget -qO- http://10.64.0.2:8265/bin/run | cmp -s - ctx/run; }
found() { grep -q 'network: .*wrong checksums inside VXLAN' $1/log; }
for vm in vm0 vm1; do wait_for 60 found $vm; done
wait_for 10 talks
well() { node vm0 net check >checks; }
wait_for 30 well
equal "$(grep -cE ' checksums +warning +datagrams arrive whole at 1 of 1 peers; the kernel computes their checksums' checks)" 2
node vm0 status >status
grep_quiet 'wrong checksums inside VXLAN' status
# the link is made anew: the same at once
on_vm vm1 ip link del rayctl.4242
wait_for 5 talks
sleep 12
grep 'network: repaired' vm1/log >repairs; equal "$(wc -l <repairs)" 1 'a deleted link is told once'
grep_quiet 'create link rayctl\.4242' repairs
for vm in vm0 vm1; do equal "$(grep -c 'wrong checksums inside VXLAN' $vm/log)" 1; done
