#!/usr/bin/env bash
# Machines that have only IPv6 between them: the same overlay, encrypted or not.
source "$(dirname "$0")/common.sh"
source "$here/net_lab.sh"
need tun
make_lab
for i in 0 1; do
  in_vm "$i" sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0
  ip -n "vm$i" addr flush dev eth0; ip -n "vm$i" addr add "fd00:9::$((i + 1))/64" dev eth0 nodad
done
export NODES='0 1' CONTAINERS=c
serving=
for LAB_MODE in userspace vxlan; do
  export LAB_MODE
  LAB_PEERS='1=fd00:9::2' UNDERLAY=fd00:9::1 node 0 reconcile
  LAB_PEERS='0=fd00:9::1' UNDERLAY=fd00:9::2 node 1 reconcile
  grep_quiet "MTU $([ $LAB_MODE = vxlan ] && echo 1430 || echo 1420)$" node0.log
  [ -n "$serving" ] || background serve in_c c1 python3 serve.py 7000
  serving=yes
  wait_for 10 in_c c0 python3 send.py "$(address c1)" 7000 1000000
done
