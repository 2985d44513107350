#!/usr/bin/env bash
# TCP from container to container on two nodes through our overlay (bridge, route, VXLAN, rules), beside a VXLAN made by
# hand with ip (bridged, no rules) and the veth underneath. Both ends share this machine's cores. SECONDS_EACH, ROUNDS.
# timeout: 300
source "$(dirname "$0")/lib.sh"
source "$here/net_lab.sh"
need_command iperf3 jq
make_lab
on_exit "NODES='0 1' nodes remove"
NODES='0 1' nodes reconcile
make_netns hand0 hand1
for i in 0 1; do
  # else bridged frames pass our rules, too (Docker sets it), and the VXLAN by hand pays for them
  in_vm "$i" sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true
  ip -n "vm$i" link add hand type bridge
  ip -n "vm$i" link add handvx type vxlan id 77 local "192.0.2.$((i + 1))" remote "192.0.2.$((2 - i))" dstport 4790 dev eth0
  ip -n "vm$i" link set handvx mtu 1450 master hand up
  ip -n "vm$i" link set hand up
  ip -n "hand$i" link add eth0 mtu 1450 type veth peer name handport netns "vm$i"
  ip -n "vm$i" link set handport mtu 1450 master hand up
  ip -n "hand$i" addr add "198.51.100.$((i + 1))/24" dev eth0
  ip -n "hand$i" link set eth0 up
done
in_hand() { nsenter --net="/run/netns/hand$1" "${@:2}"; }
background s-ours in_c c1 iperf3 -s
background s-hand in_hand 1 iperf3 -s
background s-veth in_vm 1 iperf3 -s -B 192.0.2.2
wait_for 5 in_c c0 python3 -c 'import socket; socket.create_connection(("10.64.0.66", 5201), 1)'
sleep 1
gigabits() { "$@" -t "${SECONDS_EACH:-2}" -O 0.3 -J | jq '.end.sum_received.bits_per_second / 1e7 | round / 100'; }
declare -A figures=()
for ((round = 0; round < ${ROUNDS:-7}; round++)); do
  figures[ours]+=" $(gigabits in_c c0 iperf3 -c 10.64.0.66)"
  figures[hand]+=" $(gigabits in_hand 0 iperf3 -c 198.51.100.2)"
  figures[veth]+=" $(gigabits in_vm 0 iperf3 -c 192.0.2.2)"
done
# shellcheck disable=SC2086
ours=$(median ${figures[ours]}) hand=$(median ${figures[hand]}) veth=$(median ${figures[veth]})
report 'overlay TCP, one stream' 'Gb/s' higher "$ours" 'VXLAN by hand' "$hand"
report 'overlay TCP, one stream' 'Gb/s' higher "$ours" 'plain veth' "$veth"

# round trips: 64 bytes of UDP, one at a time
round_trip_program
background r-ours in_c c1 python3 rtt.py serve
background r-hand in_hand 1 python3 rtt.py serve
sleep 0.5
figures=()
for ((round = 0; round < ${ROUNDS:-7}; round++)); do
  figures[ours]+=" $(in_c c0 python3 rtt.py 10.64.0.66)"
  figures[hand]+=" $(in_hand 0 python3 rtt.py 198.51.100.2)"
done
# shellcheck disable=SC2086
report 'overlay UDP round trip, p50' us lower "$(median ${figures[ours]})" 'VXLAN by hand' "$(median ${figures[hand]})"
