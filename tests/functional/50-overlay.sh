#!/usr/bin/env bash
# Containers of three nodes see each other with large segments, in both directions; the outside sees the node; nothing
# gets in; everything is undone.
source "$(dirname "$0")/common.sh"
source "$here/net_lab.sh"
make_lab
for i in 0 1 2; do in_vm "$i" ip -br link >"before$i"; in_vm "$i" ip route >>"before$i"; done
nodes reconcile
for i in 0 1 2; do grep_quiet 'reconciled: [1-9][0-9]* changes, MTU 1450' "node$i.log"; done
nodes reconcile
for i in 0 1 2; do grep_quiet 'reconciled: 0 changes' "node$i.log"; done

for c in c0 c1 c2; do background "serve-$c" in_c "$c" python3 serve.py 7000; done
sleep 0.3
for from in c0 c1 c2 d0 d1 d2; do
  for to in c0 c1 c2; do
    [ "$from" = "$to" ] || equal "$(in_c "$from" python3 send.py "$(address "$to")" 7000 3000000)" "$(address "$from")" 'addresses stay'
  done
done
equal "$(in_c c0 ip -br link show eth0 | awk '{ print $3 }')" 02:72:0a:40:00:02
equal "$(in_c c0 ip -4 -o addr show scope global | wc -l)" 1 'Ray takes the first address: there is one'
equal "$(in_c c0 ip -6 -o addr show dev eth0 | wc -l)" 0

# egress has the node's address; the host reaches containers here and elsewhere
background serve-sw in_sw python3 serve.py 7001
sleep 0.3
equal "$(in_c c1 python3 send.py 192.0.2.254 7001 100000)" 192.0.2.2
equal "$(in_vm 0 python3 send.py "$(address c0)" 7000 1000)" 10.64.0.1
equal "$(in_vm 0 python3 send.py "$(address c1)" 7000 1000)" 10.64.0.0

# a stranger gets neither a route into the pool nor a VXLAN packet in
ip -n sw route add 10.64.0.0/26 via 192.0.2.1
expect 1 in_sw python3 send.py "$(address c0)" 7000 10
ip -n sw link add vx type vxlan id 4242 local 192.0.2.254 dstport 8472 dev br0
ip -n sw addr add 10.64.3.0/32 dev vx; ip -n sw link set vx up
ip -n sw neigh add 10.64.0.0 lladdr 02:76:0a:40:00:00 dev vx nud permanent
bridge -n sw fdb append 02:76:0a:40:00:00 dev vx dst 192.0.2.1
ip -n sw route replace 10.64.0.0/26 via 10.64.0.0 dev vx onlink
expect 1 in_sw python3 send.py "$(address c0)" 7000 10
in_vm 0 nft list table inet rayctl >rules
grep_quiet 'counter packets [1-9].*VXLAN from strangers' rules

# fail closed: with the link gone, or a peer unknown, nothing of the pool takes the default route
in_vm 0 ip link del rayctl.4242
expect 1 in_c c0 python3 send.py "$(address c1)" 7000 10; grep_quiet 'unreachable|No route|timed out' err
expect 2 in_vm 0 ip route get "$(address c1)"; grep_quiet 'unreachable|No route' err
in_vm 0 ip route del unreachable 10.64.0.0/12
expect 1 in_c c0 python3 send.py "$(address c1)" 7000 10
in_vm 0 nft list table inet rayctl >rules
grep_quiet 'counter packets [1-9].*nothing of the pool leaves in clear' rules

# what stands in the way is named
nodes remove
ip -n vm0 link add other type vxlan id 4242 dstport 8472 local 192.0.2.1 dev eth0
expect 1 driver 0 reconcile; grep_quiet "cannot make VXLAN link 'rayctl.4242' \(vni 4242, UDP port 8472, from 192.0.2.1\): .*already exists" err
ip -n vm0 link del other
background hog in_vm 0 python3 -c 'import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 8472)); time.sleep(60)'
wait_for 5 in_vm 0 grep -q :2118 /proc/thread-self/net/udp
expect 1 driver 0 reconcile; grep_quiet "UDP port 8472 is in use \(ss -ulpn 'sport = :8472' shows by what\)" err
kill "$pid"
UNDERLAY=192.0.2.77 expect 1 driver 0 reconcile; grep_quiet "this node's address '192.0.2.77' is on no link" err
in_vm 0 nft list table inet rayctl >rules; grep_quiet 'nothing of the pool leaves in clear' rules  # the guard stands all the same
nodes remove
for i in 0 1 2; do
  { in_vm "$i" ip -br link; in_vm "$i" ip route; } >"after$i"; cmp "before$i" "after$i"
  equal "$(in_vm "$i" nft list ruleset | wc -l)" 0
  equal "$(in_vm "$i" cat /proc/sys/net/ipv4/ip_forward)" 0 'the sysctl is as it was'
  equal "$(find "$mounted/$i" -mindepth 1 -printf '%P ')" 'netns '
done
