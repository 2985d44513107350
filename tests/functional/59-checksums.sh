#!/usr/bin/env bash
# A network card that doesn't compute the checksums it was left to inside VXLAN: echoes are answered and TCP hangs, until
# the node notices and lets the kernel compute them; also when its link is made anew. A good one is left alone.
# timeout: 180
source "$(dirname "$0")/common.sh"
source "$here/net_lab.sh"
export NODES='0 1' CONTAINERS=c
make_lab
plug() {  # NAMESPACE SWITCH LINK OTHER: the two ends of the wire go through the card
  local l
  for l in "$3" "$4"; do ip -n "$2" link set "$l" nomaster gso_max_segs 1; done
  background "card-$2" nsenter --net="/run/netns/$2" python3 "$here/card.py" "$3" "$4"; card=$pid
  wait_for 5 grep -q ready "card-$2.log"
}
for i in 0 1; do in_vm "$i" ip link set eth0 gso_max_segs 1; done
plug sw sw port0 port1
nodes reconcile
background serve in_c c1 python3 serve.py 7000
sleep 0.5
send() { in_c c0 python3 send.py "$(address c1)" 7000 300000; }
touch good
nodes paths
for i in 0 1; do grep_none '^checksums|^change' "node$i.log"; done
equal "$(send)" "$(address c0)"
rm good
expect 1 send
node 0 paths
grep_quiet "^checksums: this machine's network card computes wrong checksums inside VXLAN" node0.log
grep_quiet '^change: compute the checksums of link rayctl\.4242 in the kernel$' node0.log
node 0 paths; grep_quiet '^reconciled: 0 changes' node0.log
expect 1 send  # the other one answers with wrong ones, still
node 1 paths
equal "$(send)" "$(address c0)"
for i in 0 1; do in_vm "$i" ip link del rayctl.4242; done
nodes reconcile
expect 1 send
nodes paths
equal "$(send)" "$(address c0)"
