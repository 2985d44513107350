#!/usr/bin/env bash
# A node behind NAT dials out and stays reachable; a cut of the underlay, a stopped and a
# killed process: afterwards traffic flows again, and meanwhile none of it in clear.
source "$(dirname "$0")/common.sh"
source "$here/net_lab.sh"
need tun
export LAB_MODE=userspace NODES='0 1' CONTAINERS=c
make_lab
# node 1 moves behind a router: 198.51.100.2 there, and nobody can open a connection to it
make_netns nat
ip -n sw link set port1 nomaster; ip -n sw link set port1 netns nat
ip -n vm1 addr flush dev eth0; ip -n vm1 addr add 198.51.100.2/24 dev eth0; ip -n vm1 route replace default via 198.51.100.1
ip -n nat addr add 198.51.100.1/24 dev port1; ip -n nat link set port1 up
ip -n sw link add tonat type veth peer name wan netns nat; ip -n sw link set tonat master br0 up
ip -n nat addr add 192.0.2.9/24 dev wan; ip -n nat link set wan up
nsenter --net=/run/netns/nat sysctl -qw net.ipv4.ip_forward=1
nsenter --net=/run/netns/nat nft -f - <<'END'
table ip nat {
  chain post {
    type nat hook postrouting priority 100;
    oifname "wan" masquerade
  }
  chain closed {
    type filter hook forward priority 0;
    ct state established,related accept
    iifname "wan" drop
  }
}
END
export LAB_NAT=1
node 0 reconcile
UNDERLAY=198.51.100.2 node 1 reconcile
background serve0 in_c c0 python3 serve.py 7000
background serve1 in_c c1 python3 serve.py 7000
reach() { in_c c0 python3 send.py "$(address c1)" 7000 200000 && in_c c1 python3 send.py "$(address c0)" 7000 200000; }
wait_for 30 reach  # node 1 speaks first: its keepalive opens the way

# a cut of 12 s: flows are back within 5 s
in_sw ip link set tonat down; sleep 12; in_sw ip link set tonat up
wait_for 5 reach
# the process is stopped for a while, and goes on
stopped=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["pid"])' "$mounted/1/tunnel/status.json")
kill -STOP "$stopped"; sleep 3; kill -CONT "$stopped"
wait_for 10 reach
# killed: the next look starts another, and it speaks first again
kill -9 "$stopped"
UNDERLAY=198.51.100.2 node 1 reconcile
wait_for 30 reach
