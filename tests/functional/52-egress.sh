#!/usr/bin/env bash
# Containers can't reach metadata services, nor forge addresses or the overlay's own packets; hosts whose firewall drops
# forwarded traffic are told to let ours through, at the top of their chain, and get it back as it was.
source "$(dirname "$0")/common.sh"
source "$here/net_lab.sh"
need_command iptables-nft
make_lab
for a in 169.254.169.254/32 168.63.129.16/32 100.100.100.200/32 198.51.100.1/32; do ip -n sw addr add "$a" dev br0; done
background serve-sw in_sw python3 serve.py 7001
in_vm 0 iptables-nft -P FORWARD DROP
in_vm 0 iptables-nft -P INPUT DROP
in_vm 0 iptables-nft -A INPUT -i lo -j ACCEPT
in_vm 0 nft add table inet other
in_vm 0 nft add chain inet other forward '{ type filter hook forward priority 10; policy accept; }'
in_vm 0 nft add rule inet other forward counter reject
in_vm 0 iptables-nft -S >before; in_vm 0 nft list table inet other >>before
nodes reconcile
grep_quiet "permit 'iifname \"rayctl0\" ip saddr 10.64.0.0/12 counter accept' in the host's chain 'ip filter FORWARD'" node0.log
grep_quiet "in the host's chain 'inet other forward'" node0.log
grep_quiet "permit 'udp dport 8472 counter accept' in the host's chain 'ip filter INPUT'" node0.log
background serve-c1 in_c c1 python3 serve.py 7000
background serve-c0 in_c c0 python3 serve.py 7000
sleep 0.3
equal "$(in_c c0 python3 send.py 198.51.100.1 7001 1000)" 192.0.2.1
equal "$(in_c c0 python3 send.py "$(address c1)" 7000 1000)" "$(address c0)"
equal "$(in_c c1 python3 send.py "$(address c0)" 7000 1000)" "$(address c1)"
equal "$(in_c d0 python3 send.py "$(address c0)" 7000 1000)" "$(address d0)"  # bridge-nf-call-iptables
in_vm 0 iptables-nft -S FORWARD >out  # iptables can still read its chain
grep_quiet 'rayctl0.*ACCEPT' out
in_vm 0 iptables-nft -I FORWARD 1 -j DROP  # pushed down: put up again
node 0 reconcile; grep_quiet "permit .* 'ip filter FORWARD'" node0.log
equal "$(in_c c0 python3 send.py 198.51.100.1 7001 1000)" 192.0.2.1
in_vm 0 iptables-nft -D FORWARD -j DROP
node 0 reconcile; grep_quiet 'reconciled: 0 changes' node0.log

# the container's own routes refuse at once, and without them the firewall drops
for a in 169.254.169.254 168.63.129.16 100.100.100.200; do
  expect 1 in_c c0 python3 send.py "$a" 7001 10; grep_quiet 'No route to host' err
done
for a in 169.254.0.0/16 168.63.129.16 100.100.100.200; do in_c c0 ip route del unreachable "$a"; done
for a in 169.254.169.254 168.63.129.16 100.100.100.200; do
  expect 1 in_c c0 python3 send.py "$a" 7001 10; grep_quiet 'timed out' err
done
in_vm 0 nft list table inet rayctl >rules
node 0 reconcile; grep_quiet 'reconciled: 3 changes' node0.log; grep_quiet 'add route unreachable 169.254.0.0/16' node0.log
grep_quiet '169.254.0.0/16 counter packets [1-9].*drop' rules
# another's address, and packets that would pass for this node's overlay
in_c c0 ip addr add 10.64.0.9/32 dev lo
in_c d0 ip addr add 10.64.0.70/32 dev lo
in_c d0 python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("10.64.0.70", 0)); s.sendto(b"x", ("198.51.100.1", 9))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"\x08\0\0\0\0\x10\x92\0" + b"x" * 40, ("192.0.2.2", 8472))'
in_vm 0 nft list table inet rayctl >rules
grep_quiet 'ip saddr != @peers4 counter packets [1-9].*drop' rules
in_vm 0 nft list table netdev rayctl >rules  # another's address doesn't get past its own link
grep_quiet "counter packets 1 .*drop comment \"rayctl: no packet but $(address d0) " rules

node 0 remove
{ in_vm 0 iptables-nft -S; in_vm 0 nft list table inet other; } | sed 's/packets [0-9]* bytes [0-9]*/packets 0 bytes 0/' >after
sed -i 's/packets [0-9]* bytes [0-9]*/packets 0 bytes 0/' before
cmp before after
