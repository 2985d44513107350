#!/usr/bin/env bash
# Underlays of the clouds' sizes (1500, 1460 of Google, 9001 of Amazon): 64 KiB cross whole, both ways, the containers'
# links are as large as the underlay allows, and not one packet is cut into fragments.
source "$(dirname "$0")/common.sh"
source "$here/net_lab.sh"
need tun
export NODES='0 1' CONTAINERS=c
make_lab
fragments() { in_vm "$1" awk '/^Ip:/ && ++line == 1 { for (i = 1; i <= NF; ++i) at[$i] = i } /^Ip:/ && line == 2 { print $at["FragCreates"] + $at["ReasmReqds"]; exit }' /proc/net/snmp; }
first=yes
for size in 1500 1460 9001; do
  in_sw ip link set br0 mtu $size
  for i in 0 1; do in_sw ip link set "port$i" mtu $size; in_vm $i ip link set eth0 mtu $size; done
  for LAB_MODE in vxlan userspace; do
    export LAB_MODE
    nodes reconcile
    inner=$((size - ($([ $LAB_MODE = vxlan ] && echo 50 || echo 80))))
    for c in c0 c1; do equal "$(in_c $c ip -o link show eth0 | sed -nE 's/.* mtu ([0-9]+) .*/\1/p')" $inner "$LAB_MODE at $size"; done
    if [ -n "$first" ]; then for c in c0 c1; do background "serve-$c" in_c $c python3 serve.py 7000; done; fi
    first=
    wait_for 10 in_c c0 python3 send.py "$(address c1)" 7000 65536
    equal "$(in_c c1 python3 send.py "$(address c0)" 7000 65536)" "$(address c1)"
    equal "$(in_c c0 python3 send.py "$(address c1)" 7000 2000000)" "$(address c0)"
  done
done
for i in 0 1; do equal "$(fragments $i)" 0 'fragments'; done
