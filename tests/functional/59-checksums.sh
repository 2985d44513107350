#!/usr/bin/env bash
# A network card that doesn't compute the checksums it was left to inside VXLAN: echoes are answered and TCP hangs, until
# the node notices and lets the kernel compute them; also when its link is made anew. A good one is left alone.
# timeout: 180
source "$(dirname "$0")/common.sh"
source "$here/net_lab.sh"
need overlayfs
need_command busybox
export NODES='0 1' CONTAINERS=c
make_lab
# card.py LINK LINK: passes frames on as bytes, in which TCP's and UDP's sums are as unfinished as a card gets them, and
# finishes them; inside VXLAN only when there is a file `good`
cat >card.py <<'PY'
import os, select, socket, sys
def total(b):
    if len(b) % 2: b += b'\0'
    s = sum(int.from_bytes(b[i:i + 2], 'big') for i in range(0, len(b), 2))
    while s >> 16: s = (s & 0xffff) + (s >> 16)
    return s
def finish(f):  # an IPv4 packet
    h = (f[0] & 15) * 4; end = int.from_bytes(f[2:4], 'big'); at = {6: 16, 17: 6}.get(f[9])
    if at is None: return f
    if f[9] == 17 and int.from_bytes(f[h + 2:h + 4], 'big') == 8472:
        if os.path.exists('good'): f = f[:h + 30] + finish(f[h + 30:])
    l4 = bytearray(f[h:end])
    if f[9] == 17 and l4[6:8] == b'\0\0': return f
    l4[at:at + 2] = b'\0\0'
    s = ~total(f[12:20] + bytes([0, f[9]]) + len(l4).to_bytes(2, 'big') + bytes(l4)) & 0xffff
    l4[at:at + 2] = (s or 0xffff).to_bytes(2, 'big')
    return f[:h] + bytes(l4)
ends = []
for link in sys.argv[1:]:
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
    s.setsockopt(socket.SOL_SOCKET, 33, 1 << 24); s.bind((link, 3)); ends.append(s)
print('ready', flush=True)
while True:
    for s in select.select(ends, [], [])[0]:
        f = s.recv(65600)
        if f[12:14] == b'\x08\x00': f = f[:14] + finish(f[14:])
        try: ends[1 - ends.index(s)].send(f)
        except OSError: pass
PY
plug() {  # NAMESPACE SWITCH LINK OTHER: the two ends of the wire go through the card
  local l
  for l in "$3" "$4"; do ip -n "$2" link set "$l" nomaster gso_max_segs 1; done
  background "card-$2" nsenter --net="/run/netns/$2" python3 card.py "$3" "$4"; card=$pid
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
