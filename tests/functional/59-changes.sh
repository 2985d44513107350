#!/usr/bin/env bash
# A node comes back from a reboot with another network card and address; another one is removed from the cluster: the
# others lose no packet over it.
# timeout: 240
source "$(dirname "$0")/common.sh"
source "$here/net_lab.sh"
need tun
export CONTAINERS=c
make_lab
cat >pings.py <<'PY'
# pings.py serve | ADDRESS FILE: an echo each 5 ms until FILE is there; prints sent and lost
import os, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if sys.argv[1] == 'serve':
    s.bind(('0.0.0.0', 7002))
    while True:
        m, a = s.recvfrom(100); s.sendto(m, a)
s.settimeout(1); sent = lost = 0
while not os.path.exists(sys.argv[2]):
    m = b'%d' % sent; s.sendto(m, (sys.argv[1], 7002)); sent += 1
    try:
        while s.recv(100) != m: pass
    except TimeoutError: lost += 1
    time.sleep(0.005)
print(sent, lost)
PY
peers() { local i words=; for i in 0 1 2; do [ "$i" = "$1" ] || [ -z "${at[$i]}" ] || words+="$i=${at[$i]} "; done; echo "${words% }"; }
all() { local i; for i in 0 1 2; do [ -z "${at[$i]}" ] || LAB_PEERS=$(peers "$i") UNDERLAY=${at[$i]} node "$i" reconcile; done; }
for LAB_MODE in userspace vxlan; do
  export LAB_MODE
  at=(192.0.2.1 192.0.2.2 192.0.2.3)
  ip -n vm1 addr flush dev eth0; ip -n vm1 addr add 192.0.2.2/24 dev eth0; ip -n vm1 route replace default via 192.0.2.254
  for i in 0 2; do ip -n vm$i neigh flush dev eth0; done  # who had the address before had another card
  all
  for c in c0 c1 c2; do
    background "pong-$LAB_MODE-$c" in_c $c python3 pings.py serve
    background "serve-$LAB_MODE-$c" in_c $c python3 serve.py 7000
  done
  reach() { in_c "$1" python3 send.py "$(address "$2")" 7000 100000; }
  wait_for 10 reach c0 c1; wait_for 10 reach c2 c1; wait_for 10 reach c0 c2

  # node 1 gets another card and address
  rm -f end; background "steady-$LAB_MODE" in_c c0 python3 pings.py "$(address c2)" "$T/end"; steady=$pid
  old=$(ip -n vm1 -br link show eth0 | awk '{ print $3 }')
  ip -n vm1 link del eth0
  ip -n sw link add port1 type veth peer name eth0 netns vm1
  ip -n sw link set port1 master br0 up
  ip -n vm1 addr add 192.0.2.77/24 dev eth0; ip -n vm1 link set eth0 up; ip -n vm1 route add default via 192.0.2.254
  [ "$old" != "$(ip -n vm1 -br link show eth0 | awk '{ print $3 }')" ] || fail 'the card is the same'
  at[1]=192.0.2.77
  LAB_PEERS=$(peers 1) UNDERLAY=192.0.2.77 node 1 reconcile
  if [ $LAB_MODE = userspace ]; then wait_for 5 reach c1 c0; fi  # it is followed by those that it speaks to, whatever the head knows
  all
  wait_for 5 reach c0 c1; wait_for 5 reach c2 c1

  # node 2 is removed: it reaches nobody any more, and the two others notice nothing of it
  touch end; wait "$steady"; read -r sent lost <"steady-$LAB_MODE.log"
  [ "$sent" -gt 20 ] && [ "$lost" = 0 ] || fail "$lost of $sent packets between others were lost while node 1 changed"
  rm -f end; background "calm-$LAB_MODE" in_c c0 python3 pings.py "$(address c1)" "$T/end"; calm=$pid
  sleep 1; at[2]=; NODES='0 1' all; sleep 1; touch end
  wait "$calm"; read -r sent lost <"calm-$LAB_MODE.log"
  [ "$sent" -gt 50 ] && [ "$lost" = 0 ] || fail "$lost of $sent packets between others were lost by the removal"
  ! in_c c2 timeout 4 python3 send.py "$(address c0)" 7000 1000 >out 2>&1 || fail 'a removed node still reaches others'
  for i in 0 1 2; do node $i remove; done
done
