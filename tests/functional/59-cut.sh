#!/usr/bin/env bash
# A node is cut off for 25 s, and then until the head takes it for down: its names go only then, and when the way is back
# so are names and connections, within 5 s.
# timeout: 300
source "$(dirname "$0")/common.sh"
source "$here/app_lab.sh"
need tun
make_lab vm0 vm1
eat_usual_ports vm0 vm1
app_image vm0 vm1
start_pair --overlay userspace --overlay-port 4999
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
