#!/usr/bin/env bash
# A node gets another address while everything runs (a lease that wasn't renewed, an address that moved): its stream to the
# head is made anew at once, everyone learns of it, and packets pass again within seconds.
# timeout: 240
source "$(dirname "$0")/common.sh"
source "$here/app_lab.sh"
need vxlan
make_lab vm0 vm1
eat_usual_ports vm0 vm1
app_image vm0 vm1
start_pair --overlay vxlan --overlay-port 4999
talks() { worker timeout 1 /bin/busybox wget -qO- http://10.64.0.2:8265/bin/run | cmp -s - ctx/run; }
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
