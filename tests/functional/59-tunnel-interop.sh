#!/usr/bin/env bash
# `rayctl tunnel` (in a) with an independent WireGuard, wireguard-go (in b): handshakes both ways, new keys by either, a
# gigabyte of TCP, roaming, replays, cookies under load.
# timeout: 300
source "$(dirname "$0")/common.sh"
source "$here/tunnel_lab.sh"
need wireguard_go
make_pair
for name in a b; do make_key "$name"; done
psk=$(openssl rand -base64 32)
settings="{\"preshared_key\": \"$psk\"}"
table ta a 5100 '{"rekey_after": 10}' "$(peer b 10.9.0.2/32,fd99::2/128 192.0.2.2:5100 "$settings")"
tunnel ta a 10.9.0.1/24 fd99::1/64
background capture in_ns b python3 "$T/capture.py" v-a 5100 3 initiations.all
wireguard_go gb b b 5100 10.9.0.2/24 a 10.9.0.1/32,fd99::1/128 '' "$psk"
ip -n b addr add fd99::2/64 dev gb
serve_echo a; serve_echo b

# we begin, then the other one does (it learns our address from us)
pass a 10.9.0.2; pass a fd99::2; pass b 10.9.0.1
wait_for 3 eval '[ "$(handshakes ta)" = 1 ]'
sleep 2.5
grep '^01000000' initiations.all >to_go || fail 'no initiation was seen'

# a gigabyte each way, with checksums; an eighth of it over IPv6
cat >transfer.py <<'PY'
import hashlib, os, socket, sys
block = os.urandom(1 << 20)
def pump(s, n):
    h = hashlib.sha256()
    for i in range(n >> 20):
        b = i.to_bytes(4, 'big') + block[4:]; h.update(b); s.sendall(b)
    return h.digest()
def drain(s, n):
    h = hashlib.sha256()
    while n:
        b = s.recv(min(n, 1 << 20)); assert b, 'cut short'
        h.update(b); n -= len(b)
    return h.digest()
if sys.argv[1] == 'serve':
    l = socket.create_server(('::', 7200), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        s, _ = l.accept(); size = int.from_bytes(s.recv(8), 'big'); s.sendall(drain(s, size))
        h = pump(s, size); s.sendall(h); s.close()
s = socket.create_connection((sys.argv[1], 7200), 5); s.settimeout(60); size = int(sys.argv[2]) << 20
s.sendall(size.to_bytes(8, 'big')); mine = pump(s, size)
assert s.recv(32, socket.MSG_WAITALL) == mine, 'what was sent and what arrived differ'
theirs = drain(s, size); assert s.recv(32, socket.MSG_WAITALL) == theirs, 'what came back differs'
PY
background server in_ns b python3 transfer.py serve
sleep 0.4
in_ns a timeout 100 python3 transfer.py 10.9.0.2 1024 || fail 'TCP'
in_ns a timeout 100 python3 transfer.py fd99::2 128 || fail 'TCP over IPv6'
in_ns a python3 - <<'PY' || fail 'datagrams of all sizes'
import os, socket
for family, address in ((socket.AF_INET, '10.9.0.2'), (socket.AF_INET6, 'fd99::2')):
    s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(1); s.connect((address, 7))
    for size in list(range(1, 40)) + list(range(1300, 1400)) + [1999]:  # the last ones are fragments
        data = os.urandom(size)
        for _ in range(5):
            s.send(data)
            try: got = s.recv(3000)
            except OSError: continue
            if got == data: break
        else: raise SystemExit(f'{address}: {size} bytes')
PY

# we ask for new keys with the first packet after 10 s; the other one accepts each
wait_for 30 eval 'pass a 10.9.0.2 && [ "$(handshakes ta)" -ge 3 ]'
pass a 10.9.0.2

# both ends move, one after the other
ip -n a addr add 192.0.2.11/24 dev v-b; ip -n a addr del 192.0.2.1/24 dev v-b
ip -n a addr show dev v-b | grep -q 192.0.2.11 || ip -n a addr add 192.0.2.11/24 dev v-b
wait_for 8 pass a 10.9.0.2
pass b 10.9.0.1
ip -n b addr add 192.0.2.12/24 dev v-a; ip -n b addr del 192.0.2.2/24 dev v-a
ip -n b addr show dev v-a | grep -q 192.0.2.12 || ip -n b addr add 192.0.2.12/24 dev v-a
wait_for 8 pass b 10.9.0.1
wait_for 3 eval '[ "$(field ta ".peers[].endpoint")" = 192.0.2.12:5100 ]'
pass a 10.9.0.2

# what was seen on the way is worth nothing later
(in_ns b python3 "$T/capture.py" v-a 5100 2 again.all) & capture=$!
(in_ns a python3 "$T/capture.py" v-b 5100 2 to_us.all) & capture2=$!
sleep 0.5
for _ in 1 2 3; do pass b 10.9.0.1; done
wait "$capture" "$capture2"
grep '^04000000' to_us.all >data || fail 'no data was seen'
in_ns b python3 "$T/flood.py" 192.0.2.11 5100 0.2 data >/dev/null
wait_for 3 eval '[ "$(drops ta replayed)" -gt 10 ]'
equal "$(field ta '.peers[].endpoint')" 192.0.2.12:5100 'a replay moves nobody'
pass a 10.9.0.2

# the other one has lost everything and begins: an initiation of its own, which is then the flood under which it begins again
(in_ns a python3 "$T/capture.py" v-b 5100 3 to_us.all) & capture=$!
sleep 0.3
printf 'public_key=%s\nremove=true\npublic_key=%s\npreshared_key=%s\nendpoint=192.0.2.11:5100\nallowed_ip=10.9.0.1/32\nallowed_ip=fd99::1/128\n' \
  "$(key_hex "${public_of[a]}")" "$(key_hex "${public_of[a]}")" "$(key_hex "$psk")" >forget
wireguard_set gb <forget
wait_for 8 pass b 10.9.0.1
wait "$capture"
grep '^01000000' to_us.all | head -n 1 >initiation || fail 'the other one did not begin'
in_ns b python3 "$T/flood.py" 192.0.2.11 5100 0.5 initiation >/dev/null
wait_for 3 eval '[ "$(drops ta old_handshake)" -gt 0 ]'
(in_ns b python3 "$T/flood.py" 192.0.2.11 5100 14 initiation >flooded) & flood=$!
sleep 1
begin=$(handshakes ta)
wireguard_set gb <forget
wait_for 30 eval 'pass b 10.9.0.1 && [ "$(handshakes ta)" -gt '"$begin"' ]'
wait "$flood"
wait_for 3 eval '[ "$(drops ta cookie_sent)" -gt 100 ]'
# and we, killed and started again, find through a flood of theirs
(in_ns a python3 "$T/flood.py" 192.0.2.12 5100 12 to_go >flooded) & flood=$!
sleep 1
kill -9 "$(field ta .pid)"
table ta a 5100 '{"rekey_after": 10}' "$(peer b 10.9.0.2/32,fd99::2/128 192.0.2.12:5100 "$settings")"
in_ns a "$RAYCTL" tunnel --dir "$T/ta"
on_exit 'kill $(jq .pid $T/ta/status.json)'
# (its queue may be so full that it loses our messages, of which there is one in 5 s: then at the latest after the flood)
wait_for 30 eval 'pass a 10.9.0.2 && [ "$(handshakes ta)" -gt 0 ]'
wait "$flood"
pass a 10.9.0.2
