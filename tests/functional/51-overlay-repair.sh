#!/usr/bin/env bash
# What others delete, flush or change is put right within 2 s by one loop, which sleeps when nothing happens.
source "$(dirname "$0")/common.sh"
source "$here/net_lab.sh"
make_lab
nodes reconcile
background serve in_c c1 python3 serve.py 7000
background watch node 0 watch 60
wait_for 5 grep -q 'reconciled: 0' node0.log
reaches() { in_c c0 python3 send.py "$(address c1)" 7000 100000; }
heals() {  # COMMAND...: run in vm0; afterwards traffic flows again, soon
  local start=$EPOCHREALTIME
  in_vm 0 "$@"
  until reaches >/dev/null 2>&1; do
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { exit b - a > 4 }' || { cat node0.log; fail "not healed: $*"; }
  done
}
wait_for 5 reaches
heals ip link del rayctl.4242
heals ip link del rayctl0
heals ip neigh flush dev rayctl.4242 nud permanent
heals ip route flush proto 82
heals ip link set rayctl.4242 down
heals ip link set rayctl.4242 address 02:00:00:00:00:01
heals bridge fdb del 02:76:0a:40:00:40 dev rayctl.4242 dst 192.0.2.2
heals ip addr flush dev rayctl0
heals ip link set "$(in_vm 0 ip -br link | grep -oE '^rc[0-9a-f]{12}' | head -n 1)" nomaster
heals ip link del "$(in_vm 0 ip -br link | grep -oE '^rc[0-9a-f]{12}' | head -n 1)"
in_vm 0 nft flush ruleset
wait_for 2 in_vm 0 nft list chain inet rayctl egress
in_vm 0 nft flush chain inet rayctl egress
wait_for 2 bash -c 'nsenter --net=/run/netns/vm0 nft list chain inet rayctl egress | grep -q masquerade'
in_vm 0 nft flush set inet rayctl peers4
heals true
in_vm 0 ip route del unreachable 10.64.0.0/12
wait_for 2 bash -c 'nsenter --net=/run/netns/vm0 ip route | grep -q "^unreachable 10.64.0.0/12"'
mtu_inside() { [ "$(in_c c0 ip -o link show eth0 | grep -o 'mtu [0-9]*')" = "mtu $1" ]; }
heals ip link set eth0 mtu 1400
wait_for 2 mtu_inside 1350  # containers follow the underlay
in_vm 0 ip link set eth0 mtu 1500
wait_for 2 mtu_inside 1450
# a second address, on the node's link or in a container, goes: whoever binds "the" address would take the wrong one
in_c c0 ip addr add 10.64.0.9/26 dev eth0; in_c c0 ip addr add 192.0.2.200/32 dev eth0
in_vm 0 ip addr add 10.64.0.77/32 dev rayctl.4242
one_each() { [ "$(in_c c0 ip -4 -o addr show scope global | wc -l) $(in_vm 0 ip -4 -o addr show dev rayctl.4242 | wc -l)" = '1 1' ]; }
wait_for 2 one_each
equal "$(in_c c0 python3 send.py "$(address c1)" 7000 1000)" "$(address c0)"
# another one on the machine's own card, even the first of it, changes nothing: packets come from the one that peers know
ip -n vm0 addr flush dev eth0
for a in 192.0.2.201 192.0.2.1; do ip -n vm0 addr add $a/24 dev eth0; done; ip -n vm0 route replace default via 192.0.2.254
heals true

sleep 0.5  # it looks once more, at its own changes
lines=$(wc -l <node0.log); sleep 2
equal "$(wc -l <node0.log)" "$lines" 'at rest it does nothing'
