#!/usr/bin/env bash
# A node is cut off for 25 s, and then until the head takes it for down: its names go only then, and when the way is back
# so are names and connections, within 5 s.
# timeout: 300
source "$(dirname "$0")/common.sh"
need_root
need network_namespaces overlayfs tun
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
start_node vm0 --role head --image app:1 --workers 1 --overlay userspace --overlay-port 4999 "${sizes[@]}"
wait_for 30 test -s "$T/vm0/state/cluster/worker-token"
start_node vm1 --role worker --join "$lab_network.10" --token-file "$T/vm0/state/cluster/worker-token" "${sizes[@]}"
both_run() { [ "$(node vm0 ps | grep -c ' Up ')" = 2 ]; }
wait_for 90 both_run
inside=$(node vm1 ps -o json | python3 -c 'import json, sys
print(next(c["pid"] for c in json.load(sys.stdin) if c.get("pid") and c["node"] == "ray-wk-0"))')
worker() { nsenter -t "$inside" -n -m /bin/busybox "$@"; }
resolves() { worker nslookup head.q 127.0.0.11 | grep -q 10.64.; }
talks() { worker timeout 2 /bin/busybox wget -qO- "http://$head:8265/bin/run" | cmp -s - ctx/run; }
wait_for 20 resolves
head=$(worker nslookup head.q 127.0.0.11 | awk '/^Address/ { a = $NF } END { print a }')
wait_for 20 talks
master() { node vm0 exec head /bin/busybox "$@"; }
known() { master nslookup ray-wk-0.q 127.0.0.11 | grep -q '^Address.*10\.64\.0\.66'; }
unknown() { ! known; }

wait_for 10 known
sever() { in_lab ip link set vm1 down; }
mend() { in_lab ip link set vm1 up; mended=$EPOCHREALTIME; }
since() { awk -v a="$mended" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }
sever; sleep 5; known; resolves
sleep 20; known; resolves
if talks; then fail 'it is not cut'; fi
mend
wait_for 5 talks; echo "25 s: packets after $(since) s"
known; resolves
sever; wait_for 90 unknown; resolves
sleep 10
mend
wait_for 6 known; echo "down: names after $(since) s"
wait_for 3 talks; echo "down: packets after $(since) s"
awk -v s="$(since)" 'BEGIN { exit s > 7 }' || fail "after $(since) s"
node vm0 net check >checks
equal "$(grep -cE ' overlay +ok +userspace, .*, UDP port 4999,' checks)" 2
for vm in vm0 vm1; do on_vm $vm nft list table ip nsx >eaten; grep_quiet 'counter packets 0 ' eaten; done
