#!/usr/bin/env bash
# `rayctl dns` as dig sees it: the zone, reverse names, forwarding, TCP, EDNS0, caps, reload, handover to a successor.
source "$(dirname "$0")/common.sh"
need_root; need network_namespaces; need_command dig dnsmasq jq python3
make_netns c1 c2
many=$(seq 2 61 | jq -R '"10.64.0.\(.)"' | jq -cs .)
table() {  # VERSION CONTAINER...
  local version=$1; shift
  jq -n --argjson v "$version" --argjson many "$many" --arg ids "$*" '{version: $v, pools: ["10.64.0.0/12"],
    names: {"ray-ms-0.q": ["10.64.0.2"], "head.q": ["10.64.0.2"], "wk.q": $many, "six.q": ["fd00::2"]},
    reverse: {"10.64.0.2": "ray-ms-0.q"}, upstreams: ["127.0.0.2#5300", "127.0.0.1#5300"],
    containers: [$ids | split(" ")[] | {id: ., netns: "/run/netns/\(.)"}]}' >table.tmp
  mv table.tmp "$T/dns/table.json"
}
background upstream dnsmasq --keep-in-foreground --no-resolv --no-hosts --port=5300 --listen-address=127.0.0.1 --bind-interfaces \
  --user=root --pid-file= --address=/example.test/192.0.2.7 --txt-record=big.test,"$(printf 'x%.0s' {1..200})","$(printf 'y%.0s' {1..200})","$(printf 'z%.0s' {1..200})"
mkdir dns; table 1 c1
rayctl dns --dir "$T/dns"
pid=$(jq .pid dns/status.json)
on_exit 'kill $(jq .pid dns/status.json)'
ask() { ip netns exec "${ns:-c1}" dig @127.0.0.11 +time=2 +tries=1 "$@"; }

equal "$(ask +short ray-ms-0.q)" 10.64.0.2
equal "$(ask +short HEAD.Q)" 10.64.0.2
equal "$(ask +short head)" 10.64.0.2
equal "$(ask +short -x 10.64.0.2)" ray-ms-0.q.
equal "$(ask +short six.q AAAA)" fd00::2
equal "$(ask +short wk.q +tcp | sort -u | wc -l)" 60
equal "$(ask +noedns +ignore wk.q | grep -c 'flags:.* tc')" 1 'over 512 bytes UDP says TC'
ask +noedns wk.q >out; grep_quiet ';; Truncated, retrying in TCP' out
ask six.q >out; grep_quiet 'NOERROR' out; grep_quiet 'ANSWER: 0, AUTHORITY: 1' out; grep_quiet 'SOA' out
ask nobody.q >out; grep_quiet 'NXDOMAIN' out; grep_quiet '5[[:space:]]+IN[[:space:]]+SOA' out; grep_quiet 'flags: qr aa rd ra' out
ask 9.9.64.10.in-addr.arpa PTR >out; grep_quiet NXDOMAIN out
ask +edns=1 +noednsneg head.q >out; grep_quiet BADVERS out
ask +opcode=notify head.q >out; grep_quiet NOTIMP out
ask head.q CH >out; grep_quiet REFUSED out
ask +bufsize=4096 head.q >out; grep_quiet 'udp: 1232' out
# the first upstream refuses, the second knows; case is kept (0x20)
ask eXample.tesT >out; grep_quiet 'eXample.tesT.*192.0.2.7' out
equal "$(ask +short +tcp example.test)" 192.0.2.7
equal "$(ask +short big.test TXT | wc -c)" 609
ask +noedns +ignore big.test TXT >out; grep_quiet 'flags:.* tc' out

# many messages on one connection; garbage; a client that sends a byte at a time stops nobody
ip netns exec c1 python3 - <<'PY'
import socket, struct, time
def q(i, name, t=1):
    return struct.pack('>6H', i, 0x100, 1, 0, 0, 0) + b''.join(bytes([len(l)]) + l for l in name) + b'\0' + struct.pack('>2H', t, 1)
def frame(m): return struct.pack('>H', len(m)) + m
def read(s, n):
    out = b''
    while len(out) < n:
        part = s.recv(n - len(out))
        if not part: raise EOFError
        out += part
    return out
slow = socket.create_connection(('127.0.0.11', 53)); slow.send(b'\0')
s = socket.create_connection(('127.0.0.11', 53), 3)
s.sendall(b''.join(frame(q(i, [b'head', b'q'] if i % 2 else [b'example', b'test'])) for i in range(1, 101)))
for i in range(1, 101):
    m = read(s, struct.unpack('>H', read(s, 2))[0])
    assert struct.unpack('>H', m[:2])[0] == i and m[3] & 15 == 0, i
s.shutdown(socket.SHUT_WR); assert s.recv(1) == b''
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(0.3); u.connect(('127.0.0.11', 53))
for junk in (b'', b'x' * 11, b'\0\1\x81\x80\0\1\0\0\0\0\0\0\0\0\1\0\1'):   # too short, and an answer
    u.send(junk)
    try: u.recv(512); raise SystemExit('answered %r' % junk)
    except TimeoutError: pass
u.send(b'\0\1\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1'); assert u.recv(512)[3] & 15 == 1   # a pointer to itself
begin = time.time()
try: slow.settimeout(5); assert slow.recv(1) == b''
except ConnectionResetError: pass
assert time.time() - begin < 4, 'a slow client is cut off after 3 s'
many = [socket.create_connection(('127.0.0.11', 53), 1) for _ in range(40)]; time.sleep(0.2)
def closed(c):
    c.setblocking(False)
    try: return c.recv(1) == b''
    except BlockingIOError: return False
    except ConnectionResetError: return True
open_ones = sum(not closed(c) for c in many)
assert open_ones == 32, open_ones
PY

# the table is replaced: a namespace comes, another goes, a broken table changes nothing
table 2 c2; wait_for 3 jq -e '.table == 2 and .serving == ["c2"]' dns/status.json
equal "$(ns=c2 ask +short head.q)" 10.64.0.2
expect 9 ip netns exec c1 dig @127.0.0.11 +time=1 +tries=1 head.q
echo '{"version": 3, "zone": 5}' >table.tmp; mv table.tmp dns/table.json
wait_for 3 jq -e '.errors.table' dns/status.json
equal "$(ns=c2 ask +short head.q)" 10.64.0.2
table 4 c1 gone; wait_for 3 jq -e '.table == 4 and .errors.gone' dns/status.json
grep_quiet "cannot open network namespace '/run/netns/gone': No such file" dns/status.json
ip netns add gone; on_exit 'ip netns del gone'; ip -n gone link set lo up
wait_for 3 jq -e '.errors == {} and .serving == ["c1", "gone"]' dns/status.json

# a second one is refused; a successor takes over without an unanswered query
expect 1 rayctl dns --dir "$T/dns"; grep_quiet "cannot serve names: another process holds '$T/dns/lock'" err
ip netns exec c1 python3 - <<'PY' &
import socket, struct, time
q = struct.pack('>6H', 7, 0x100, 1, 0, 0, 0) + b'\4head\1q\0\0\1\0\1'
end, n = time.time() + 1.5, 0
while time.time() < end:
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(2); u.connect(('127.0.0.11', 53))
    u.send(q); assert u.recv(512)[:2] == b'\0\7'; n += 1
    u.close()
assert n > 500, n
PY
client=$!
sleep 0.3
rayctl dns --dir "$T/dns" --replace "$pid"
wait_for 5 jq -e ".pid != $pid" dns/status.json
wait "$client" || fail 'a query went unanswered during the handover'
wait_for 7 bash -c "! kill -0 $pid"
equal "$(ask +short head.q)" 10.64.0.2
expect 2 rayctl dns; grep_quiet 'usage: rayctl dns --dir' err
# no upstream at all: an answer all the same
kill "$(pgrep -x dnsmasq)"; ask +time=6 other.test >out; grep_quiet SERVFAIL out
last=$(jq .pid dns/status.json); rm -r dns
wait_for 3 bash -c "! kill -0 $last"

# the supervisor's side: started once, found again, replaced when it can't see this mount namespace's files
driver=${RAYCTL_BUILD:-$top/build/release}/drivers/net
LAB_RUN_DIR=$T/run LAB_NETNS=/run/netns/c2 LAB_COMMAND='ip netns exec c2 dig +short @127.0.0.11 head.q; ls run/dns
  unshare --mount --propagation private "$driver" mounts' driver=$driver "$driver" names >out 2>&1 || { cat out; fail names; }
grep_quiet '^first: start the name server$' out
grep_quiet '^again: $' out
grep_quiet "^error: cannot serve names to container 'gone': cannot open network namespace '/nowhere/gone': No such file" out
grep_quiet '^10\.64\.0\.2$' out
grep_quiet '^mounts: restart the name server in this mount namespace$' out
grep_quiet '^stopped: yes$' out
[ ! -e run/dns ] || fail 'run/dns is still there'
