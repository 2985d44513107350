#!/usr/bin/env bash
# A node gets another address while everything runs (a lease that wasn't renewed, an address that moved): its stream to the
# head is made anew at once, everyone learns of it, and packets pass again within seconds.
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
for vm in vm0 vm1; do  # a network that eats the usual ports, as VMware's NSX does
  on_vm $vm nft -f - <<'X'
table ip nsx { chain in { type filter hook prerouting priority -400; udp dport { 4789, 8472, 51820 } counter drop; }; }
X
done
for vm in vm0 vm1; do
  mkdir -p $vm
  on_exit "rm -rf --one-file-system '$T/$vm/state' '$T/$vm/run'"
  rayctl --state-dir "$T/$vm/state" --run-dir "$T/$vm/run" build -t app:1 ctx >build.log 2>&1 || { cat build.log; exit 1; }
done
sizes=(--memory 512M --cpus 1)
start_node vm0 --role head --image app:1 --workers 1 --overlay vxlan --overlay-port 4999 "${sizes[@]}"
wait_for 30 test -s "$T/vm0/state/cluster/worker-token"
start_node vm1 --role worker --join "$lab_network.10" --token-file "$T/vm0/state/cluster/worker-token" "${sizes[@]}"
both_run() { [ "$(node vm0 ps | grep -c ' Up ')" = 2 ]; }
wait_for 90 both_run
inside=$(node vm1 ps -o json | python3 -c 'import json, sys
print(next(c["pid"] for c in json.load(sys.stdin) if c.get("pid") and c["node"] == "ray-wk-0"))')
talks() { nsenter -t "$inside" -n -m /bin/busybox timeout 1 /bin/busybox wget -qO- http://10.64.0.2:8265/bin/run | cmp -s - ctx/run; }
wait_for 20 talks
on_vm vm1 ip addr flush dev eth0; start=$EPOCHREALTIME
on_vm vm1 ip addr add "$lab_network.77/24" dev eth0
on_vm vm1 ip route replace default via "$lab_network.1"
took() { awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }
knows() { node vm0 status | grep '^ray-wk-0 ' | grep -q "$lab_network.77"; }
wait_for 4 knows; echo "the head knows after $(took) s"
wait_for 3 talks; echo "packets after $(took) s"
awk -v t="$(took)" 'BEGIN { exit t > 5 }' || fail "after $(took) s"
grep_quiet 'this machine has another address now' vm1/log

# its network card is pulled out, and another one is put in: no process of ours minds
on_vm vm1 ip link del eth0; sleep 2
ip -n "$lab-vm1" link add eth0 type veth peer name vm1 netns "$lab-sw"
in_lab ip link set vm1 master br0 up
on_vm vm1 ip addr add "$lab_network.77/24" dev eth0; on_vm vm1 ip link set eth0 up; start=$EPOCHREALTIME
on_vm vm1 ip route add default via "$lab_network.1"
wait_for 6 talks; echo "another card: packets after $(took) s"
kill -0 "$(cat vm1/pid)"
both_run
node vm0 net check >checks
equal "$(grep -cE ' overlay +ok +vxlan, .*, UDP port 4999,' checks)" 2
for vm in vm0 vm1; do on_vm $vm nft list table ip nsx >eaten; grep_quiet 'counter packets 0 ' eaten; done
