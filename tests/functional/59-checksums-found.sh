#!/usr/bin/env bash
# Nodes whose network cards get checksums inside VXLAN wrong: each finds it out by itself, says so once, in status and in net
# check, and from then on TCP passes.
# timeout: 240
source "$(dirname "$0")/common.sh"
source "$here/app_lab.sh"
need vxlan
make_lab vm0 vm1
for vm in vm0 vm1; do  # off the switch: the two are joined by the card alone, and packets cross one by one
  on_vm $vm ip link set eth0 gso_max_segs 1
  in_lab ip link set $vm nomaster gso_max_segs 1
done
app_image vm0 vm1
background card nsenter --net="/run/netns/$lab-sw" python3 "$here/card.py" vm0 vm1
wait_for 5 grep -q ready card.log
start_pair --overlay vxlan
talks() { worker timeout 3 /bin/busybox wget -qO- http://10.64.0.2:8265/bin/run | cmp -s - ctx/run; }
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
