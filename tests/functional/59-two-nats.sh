#!/usr/bin/env bash
# Two nodes behind NAT boxes of their own: neither can be called, so they talk through the head, which calls neither but is
# called by both; each hop is encrypted, and on no wire is anything in clear. The head's own firewall forwards nothing.
source "$(dirname "$0")/common.sh"
source "$here/net_lab.sh"
need tun
export LAB_MODE=userspace CONTAINERS=c LAB_NAT='1 2'
make_lab
make_netns nat1 nat2
for i in 1 2; do  # node $i moves behind nat$i: 198.51.100.2 there, both alike
  in_nat() { nsenter --net=/run/netns/nat$i "$@"; }
  ip -n sw link set "port$i" nomaster; ip -n sw link set "port$i" netns "nat$i"
  ip -n "vm$i" addr flush dev eth0; ip -n "vm$i" addr add "198.51.100.$((i + 1))/24" dev eth0; ip -n "vm$i" route replace default via 198.51.100.1
  ip -n "nat$i" addr add 198.51.100.1/24 dev "port$i"; ip -n "nat$i" link set "port$i" up
  ip -n sw link add "tonat$i" type veth peer name wan netns "nat$i"; ip -n sw link set "tonat$i" master br0 up
  ip -n "nat$i" addr add "192.0.2.$((i + 8))/24" dev wan; ip -n "nat$i" link set wan up
  in_nat sysctl -qw net.ipv4.ip_forward=1
  in_nat nft -f - <<'END'
table ip nat {
  chain post { type nat hook postrouting priority 100; oifname "wan" masquerade; }
  chain closed { type filter hook forward priority 0; ct state established,related accept; iifname "wan" drop; }
}
END
done
in_vm 0 nft -f - <<'END'  # what 'iptables -P FORWARD DROP' makes; Docker and ufw do
table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }
END
node 0 reconcile
for i in 1 2; do UNDERLAY=198.51.100.$((i + 1)) node $i reconcile; done
for c in c0 c1 c2; do background "serve-$c" in_c $c python3 serve.py 7000; done
pair() { in_c "$1" python3 send.py "$(address "$2")" 7000 "$3" | grep -qx "$(address "$1")"; }
for way in 'c1 c0' 'c2 c0' 'c0 c1' 'c0 c2'; do wait_for 30 pair ${way% *} ${way#* } 1000; done
wait_for 10 pair c1 c2 1000
for way in 'c1 c2' 'c2 c1'; do pair ${way% *} ${way#* } 3000000 || fail "$way"; done

# in clear nowhere: not on the head's wire either
cat >sniff.py <<'PY'
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); print('listening', flush=True)
while True:
    if b'canary-in-the-mine' in s.recv(1 << 17): print('CANARY', flush=True)
PY
background sniff in_sw python3 sniff.py
wait_for 5 grep -q listening sniff.log
in_c c1 python3 -c 'import socket, sys, time
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(100): u.sendto(b"canary-in-the-mine" * 20, (sys.argv[1], 9999)); time.sleep(0.005)' "$(address c2)"
grep_none CANARY sniff.log
# what isn't between those behind NAT isn't passed on
in_vm 0 nft list table inet rayctl >rules
equal "$(grep -c 'between nodes behind NAT' rules)" 2
nodes reconcile; grep_quiet 'reconciled: 0 changes' node0.log
nodes remove
equal "$(in_vm 0 nft list chain ip filter FORWARD | grep -c rayctl || true)" 0
