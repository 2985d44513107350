#!/usr/bin/env bash
# The encrypted overlay in user space: containers of three nodes see each other, and nothing of it crosses the underlay
# in clear: not in normal times, not while its link is gone, not while its process is dead.
source "$(dirname "$0")/common.sh"
source "$here/net_lab.sh"
need tun
export LAB_MODE=userspace
make_lab
for i in 0 1 2; do in_vm "$i" ip -br link >"before$i"; in_vm "$i" ip route >>"before$i"; done
nodes reconcile
for i in 0 1 2; do grep_quiet 'reconciled: [1-9][0-9]* changes, MTU 1420' "node$i.log"; done
nodes reconcile
for i in 0 1 2; do grep_quiet 'reconciled: 0 changes' "node$i.log"; done

# a canary in every packet; whoever listens on the switch must not see it
cat >sniff.py <<'PY'
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 26)
print('listening', flush=True)
seen = 0
while True:
    frame = s.recv(1 << 17); seen += 1
    if b'canary-in-the-mine' in frame: print('CANARY', frame[:60].hex(), flush=True)
    if seen == 1 or seen % 100 == 0: print('frames', seen, flush=True)
PY
cat >canary.py <<'PY'
import socket, sys, time
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); end = time.time() + float(sys.argv[2])
while time.time() < end:
    try: u.sendto(b'canary-in-the-mine' * 20, (sys.argv[1], 9999))
    except OSError: pass
    time.sleep(0.01)
PY
for i in 0 1 2; do background "sniff$i" in_sw python3 sniff.py; done
wait_for 5 grep -q listening sniff0.log
for c in c0 c1 c2; do background "serve-$c" in_c "$c" python3 serve.py 7000; done
sleep 0.3
for from in c0 c1 c2 d0 d1 d2; do
  for to in c0 c1 c2; do
    [ "$from" = "$to" ] || equal "$(in_c "$from" python3 send.py "$(address "$to")" 7000 3000000)" "$(address "$from")" 'addresses stay'
  done
done
in_c c0 python3 canary.py "$(address c1)" 1
wait_for 5 grep -q frames sniff0.log

# kill -9 of the process: traffic stops, or another takes over; in clear it goes nowhere
background watch node 0 watch 60
wait_for 5 grep -q 'reconciled: 0' node0.log
background bird in_c c0 python3 canary.py "$(address c1)" 20
heals() {  # COMMAND...: afterwards traffic flows again, soon
  local start=$EPOCHREALTIME
  "$@"
  until in_c c0 python3 send.py "$(address c1)" 7000 100000 >/dev/null 2>&1; do
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { exit b - a > 5 }' || { cat node0.log; fail "not healed: $*"; }
  done
}
tunnel_pid() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["pid"])' "$mounted/0/tunnel/status.json"; }
first=$(tunnel_pid)
heals kill -9 "$first"
[ "$(tunnel_pid)" != "$first" ] || fail 'no other tunnel was started'
heals in_vm 0 ip link del rayctl.wg
heals in_vm 0 ip link set rayctl.wg down
heals in_vm 0 ip route flush proto 82
heals in_vm 0 ip addr flush dev rayctl.wg
in_vm 0 nft flush ruleset
wait_for 2 in_vm 0 nft list chain inet rayctl leaving
heals in_vm 0 ip link set rayctl.wg mtu 1280
equal "$(in_vm 0 ip -o link show rayctl.wg | grep -o 'mtu [0-9]*')" 'mtu 1420'
kill "$pid" 2>/dev/null || true
grep_none CANARY sniff0.log
end_watch 0
nodes remove
for i in 0 1 2; do
  { in_vm "$i" ip -br link; in_vm "$i" ip route; } >"after$i"; cmp "before$i" "after$i"
  equal "$(in_vm "$i" nft list ruleset | wc -l)" 0
  equal "$(find "$mounted/$i" -mindepth 1 -printf '%P ')" 'netns '
done
