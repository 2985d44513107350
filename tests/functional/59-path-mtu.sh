#!/usr/bin/env bash
# A network that drops large packets and says nothing: what passes is found, connections flow again, those that stood
# still too; when the network is mended, so are the sizes.
source "$(dirname "$0")/common.sh"
source "$here/net_lab.sh"
need tun
export NODES='0 1' CONTAINERS=c
make_lab
# Packets cross the switch one by one, as on a wire; longer ones than $1 don't.
for i in 0 1; do in_vm "$i" ip link set eth0 gso_max_segs 1; in_sw ip link set "port$i" gso_max_segs 1; done
narrow() {
  in_sw nft -f - <<END
table netdev narrow
delete table netdev narrow
table netdev narrow {
  chain zero { type filter hook ingress device "port0" priority 0; ip length > $1 counter drop; }
  chain one { type filter hook ingress device "port1" priority 0; ip length > $1 counter drop; }
}
END
}
for mode in userspace vxlan; do
  LAB_MODE=$mode
  nodes reconcile
  background "serve-$mode" in_c c1 python3 serve.py 7000; serve=$pid
  sleep 0.5
  wait_for 10 in_c c0 python3 send.py "$(address c1)" 7000 100000
  nodes paths
  for i in 0 1; do grep_none '^path: ' "node$i.log"; grep_quiet '^reconciled: 0 changes' "node$i.log"; done
  narrow 1400
  background "waits-$mode" in_c c0 bash -c "until python3 '$T/send.py' $(address c1) 7000 400000; do sleep 0.2; done"; waits=$pid
  sleep 2
  kill -0 "$waits" || fail 'the network lets large packets through'
  nodes paths
  inner=$([ $mode = vxlan ] && echo 1340 || echo 1320)  # of those that are tried; a tunnel of ours adds 60 and pads to 16
  for i in 0 1; do
    grep_quiet "^path: something on the way to node $((1 - i)) drops packets of more than $inner bytes and doesn't say so" "node$i.log"
    grep_quiet "^10\.64\.0\..* mtu $inner" <(in_vm "$i" ip route show proto 82)
  done
  wait_for 20 bash -c "! kill -0 $waits 2>/dev/null"
  equal "$(cat "waits-$mode.log")" "$(address c0)"
  in_sw nft delete table netdev narrow
  nodes paths
  for i in 0 1; do
    in_vm "$i" ip route show proto 82 >routes
    grep_none ' mtu ' routes
    grep_none 'drops packets' "node$i.log"
  done
  kill "$serve"
  nodes remove
done
