#!/usr/bin/env bash
# Names that aren't ours: servers that are silent, refuse, fail, lie or change; what comes back, and how soon.
source "$(dirname "$0")/common.sh"
need_root; need network_namespaces; need_command dig jq python3
make_netns c1 c2
# upstream.py PORT KIND: answers A 192.0.2.PORT%250 in its KIND of way; says on stdout what it is asked
cat >upstream.py <<'PY'
import socket, struct, sys, threading
port, kind = int(sys.argv[1]), sys.argv[2]
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', port))
t = socket.socket(); t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); t.bind(('127.0.0.1', port)); t.listen(16)
def answer(q, flags=0x8180, records=1, id=None, question=None, ttl=300):
    question = question or q[12:q.index(b'\0', 12) + 5]
    rr = b'\xc0\x0c\0\1\0\1' + struct.pack('>IH', ttl, 4) + bytes([192, 0, 2, port % 250])
    return (id or q[:2]) + struct.pack('>5H', flags, 1, records, 0, 0) + question + rr * records
def name(q):
    out, at = [], 12
    while q[at]: out.append(q[at + 1:at + 1 + q[at]].decode()); at += 1 + q[at]
    return '.'.join(out)
def tcp():
    while True:
        c, _ = t.accept(); print('tcp', flush=True)
        if kind == 'silent': held.append(c); continue
        q = c.recv(4096)[2:]; a = answer(q, records=60 if name(q).lower().startswith('big') else 1)
        if kind in ('servfail', 'refuse'): a = answer(q, 0x8182 if kind == 'servfail' else 0x8185, 0)
        for b in struct.pack('>H', len(a)) + a: c.sendall(bytes([b]))   # in single bytes
        c.close()
held = []
threading.Thread(target=tcp, daemon=True).start()
print('ready', flush=True)
ports = set()
while True:
    q, a = u.recvfrom(4096); ports.add((a[1], q[:2])); print('udp', name(q), len(ports), flush=True)
    if kind == 'silent': continue
    if kind == 'servfail': u.sendto(answer(q, 0x8182, 0), a)
    elif kind == 'refuse': u.sendto(answer(q, 0x8185, 0), a)
    elif kind == 'liar':   # a wrong id, another question, a query, rubbish, another port's: then the truth
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        u.sendto(answer(q, id=bytes([q[0] ^ 1, q[1]])).replace(b'\xc0\0\2', b'\6\6\6'), a)
        u.sendto(answer(q, question=b'\4evil\0\0\1\0\1'), a)
        u.sendto(q, a); u.sendto(b'', a); u.sendto(b'\xff' * 300, a)
        other.sendto(answer(q).replace(b'\xc0\0\2', b'\6\6\6'), a)
        u.sendto(answer(q), a)
    elif kind == 'nx': u.sendto(answer(q, 0x8183, 0), a)
    elif name(q).lower().startswith('big'): u.sendto(answer(q, 0x8380, 0), a)   # TC
    else: u.sendto(answer(q), a)
PY
start() { background "up$1" python3 upstream.py "$1" "$2"; wait_for 5 grep -q ready "up$1.log"; }
start 5301 silent; silent=$pid; start 5302 servfail; start 5303 refuse; start 5304 good; start 5305 liar; start 5306 nx; start 5307 silent
version=0
table() {  # UPSTREAM-PORT...
  version=$((version + 1))
  jq -n --argjson v "$version" --arg ports "$*" '{version: $v, pools: ["10.64.0.0/12"], names: {"head.q": ["10.64.0.2"]},
    upstreams: [$ports | split(" ")[] | select(. != "") | "127.0.0.1#\(.)"], resolv_conf: env.RESOLV, containers: [("c1", "c2") | {id: ., netns: "/run/netns/\(.)"}]}' >table.tmp
  mv table.tmp dns/table.json
  [ ! -e dns/status.json ] || wait_for 3 jq -e ".table == $version" dns/status.json
}
mkdir dns host; export RESOLV=$T/host/resolv.conf; table 5304
rayctl dns --dir "$T/dns"
on_exit 'kill $(jq .pid dns/status.json)'
ask() { ip netns exec c1 dig @127.0.0.11 +time=6 +tries=1 "$@"; }
took() { local begin=$EPOCHREALTIME; "$@" >took.out; awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%d\n", (b - a) * 1000 }'; }
within() { local limit=$1 ms; shift; ms=$(took "$@"); [ "$ms" -le "$limit" ] || fail "$ms ms instead of $limit: $*"; }

# failures lead to the next server, at once; the last failure is told when nobody knows better
table 5302 5303 5304; within 1200 ask +short a.test; equal "$(cat took.out)" 192.0.2.54
within 1200 ask +short +tcp a.test; equal "$(cat took.out)" 192.0.2.54
table 5302; within 1200 ask a.test; grep_quiet 'status: SERVFAIL' took.out
table 5303; within 1200 ask a.test; grep_quiet 'status: REFUSED' took.out
table 5399 5304; within 1200 ask +short a.test; equal "$(cat took.out)" 192.0.2.54 'a closed port'
table 5306 5304; ask a.test >out; grep_quiet 'status: NXDOMAIN' out  # an answer is an answer

# forged answers are passed over
table 5305; equal "$(ask +short a.test)" 192.0.2.55
# each query from a port and with an id of its own
table 5304; for i in $(seq 20); do ask +short "p$i.test" >/dev/null; done
[ "$(tail -n 1 up5304.log | awk '{ print $3 }')" -gt 18 ] || fail 'ports and ids are used again'
ask CaSe.TEST >out; grep_quiet '^CaSe.TEST.*192.0.2.54' out

# truncation by the upstream is passed on; TCP then fetches everything, however slowly it comes
ask +ignore +noall +comments big.test >out; grep_quiet 'flags:.* tc' out
equal "$(ask +short big.test | wc -l)" 60
equal "$(ask +tcp +short big.test | wc -l)" 60

# a silent server is waited for once: the others are asked first from then on, by UDP as by TCP
table 5301 5304
within 3500 ask +short s1.test; equal "$(cat took.out)" 192.0.2.54
for i in 2 3 4; do within 1000 ask +short "s$i.test"; equal "$(cat took.out)" 192.0.2.54; done
equal "$(grep -c udp up5301.log)" 1 'queries that the silent one got'
within 3500 ask +short +tcp s5.test; within 1000 ask +short +tcp s6.test; equal "$(cat took.out)" 192.0.2.54
table 5301 5304 5302  # a change of names or servers doesn't make it forget
within 1000 ask +short s7.test
# it is tried again after a while, and when it speaks it is the first again
kill "$silent"; wait "$silent" || true
start 5301 good
restored() { [ "$(ask +short s8.test)" = 192.0.2.51 ]; }
wait_for 15 restored
within 1000 ask +short s9.test; equal "$(cat took.out)" 192.0.2.51
# all are silent: an answer before clients give up, nothing is left behind, and other names go on meanwhile
table 5307
ask s10.test >last &
last=$!
sleep 0.3; within 1000 ask +short head.q; equal "$(cat took.out)" 10.64.0.2
wait "$last"; grep_quiet 'status: SERVFAIL' last
awk '/Query time/ { exit !($4 >= 3000 && $4 <= 4900) }' last || { cat last; fail 'how long a client waits'; }

# one container's queries don't take what the others need: above 256 in flight they fail at once
cat >many.py <<'PY'
import socket, struct, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setblocking(False); s.connect(('127.0.0.11', 53)); failed = 0
def reap():
    global failed
    try:
        while True: failed += s.recv(512)[3] & 15 == 2
    except BlockingIOError: pass
for i in range(400):
    s.send(struct.pack('>6H', i, 0x100, 1, 0, 0, 0) + b'\6%06d\4many\4test\0\0\1\0\1' % i)
    if i % 20 == 19: time.sleep(0.01); reap()
time.sleep(1); reap()
print(failed)
PY
equal "$(ip netns exec c1 python3 many.py)" $((400 - 256)) 'queries that fail at once'
background other ip netns exec c2 dig @127.0.0.11 +time=3 +tries=1 other.test
wait_for 2 grep -q 'udp other.test' up5307.log
equal "$(ip netns exec c2 dig @127.0.0.11 +short head.q)" 10.64.0.2
wait_for 10 jq -e '.in_flight == 0 or (has("in_flight") | not)' dns/status.json

# upstreams of the host: read from its file, and again when that changes, is replaced, or comes by a link
start 53 good
echo 'nameserver 127.0.0.9' >"$RESOLV"; table
echo 'nameserver 127.0.0.1' >host/next; mv host/next "$RESOLV"
follows() { [ "$(ask +short f.test)" = 192.0.2.53 ]; }
follows_not() { ! follows; }
wait_for 8 follows
echo 'nameserver 127.0.0.9' >host/a; echo '# nothing' >host/b
ln -sf a host/link; mv -T host/link "$RESOLV"; wait_for 8 follows_not
echo 'nameserver 127.0.0.1' >host/c; ln -sf c host/link; mv -T host/link "$RESOLV"
wait_for 8 follows
# a file of rubbish: our own names stay
head -c 3000 /dev/urandom >"$RESOLV"; sleep 0.3; equal "$(ask +short head.q)" 10.64.0.2
