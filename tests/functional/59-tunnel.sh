#!/usr/bin/env bash
# `rayctl tunnel` between two machines: kill -9 and adoption, handover, table changes, a deleted link, drops, nothing in
# clear, no secret to be seen.
# timeout: 180
source "$(dirname "$0")/common.sh"
source "$here/tunnel_lab.sh"
make_pair
for name in a b stranger; do make_key "$name"; done
psk=$(openssl rand -base64 32)
to_b=$(peer b 10.9.0.2/32,fd99::2/128 192.0.2.2:5100 "{\"preshared_key\": \"$psk\"}")
to_a=$(peer a 10.9.0.1/32,fd99::1/128 '' "{\"preshared_key\": \"$psk\"}")
table ta a 5100 '{}' "$to_b"
table tb b 5100 '{}' "$to_a"
tunnel ta a 10.9.0.1/24 fd99::1/64
tunnel tb b 10.9.0.2/24 fd99::2/64
serve_echo a; serve_echo b
ip -n a link show ta | grep -q 'mtu 1420' || fail 'MTU'

# packets pass, both families; b learned a's address by itself
pass a 10.9.0.2; pass a fd99::2
wait_for 3 eval '[ "$(field tb ".peers[].endpoint")" = 192.0.2.1:5100 ]'
wait_for 3 eval '[ "$(handshakes ta)" = 1 ]'

# what the process shows of itself holds no key
pid=$(field ta .pid)
tr '\0' ' ' <"/proc/$pid/cmdline" >cmdline; cat "/proc/$pid/environ" ta/status.json ta/log >>cmdline
for secret in "${secret_of[a]}" "$psk"; do ! grep -qaF "$secret" cmdline || fail 'a secret shows'; done
equal "$(stat -c %a ta/table.json)" 600
equal "$(awk '/Max core/ { print $5 $6 }' "/proc/$pid/limits")" 00
equal "$(stat -c %a ta/handover)" 600

# killed: the link and its route stay, so that nothing leaves another way; a new one takes the link and goes on
in_ns a timeout 20 python3 - <<'PY' &
import socket  # everything that crosses the underlay for a while: the canary must never be in it
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(('v-b', 0)); s.settimeout(0.5)
import time; end = time.time() + 6; seen = 0
while time.time() < end:
    try: data = s.recv(65600)
    except OSError: continue
    seen += 1
    if b'canary-in-clear' in data: open('leak', 'w').write('x')
open('sniffed', 'w').write(str(seen))
PY
sniffer=$!
canary() { in_ns a python3 -c 'import socket
try: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"canary-in-clear" * 9, ("10.9.0.2", 7))
except OSError: pass'; }
ip -n a route add default via 192.0.2.2  # the way that traffic would take if it could
canary
kill -9 "$pid"
canary
ip -n a link show ta >out; grep_quiet 'ta' out
ip -n a route get 10.9.0.2 >out; grep_quiet 'dev ta' out
equal "$(in_ns a "$RAYCTL" tunnel --dir "$T/ta" 2>&1)" ''
on_exit 'kill $(jq .pid $T/ta/status.json)'
wait_for 4 pass b 10.9.0.1  # though it is b that begins, which knows nothing of the death
canary
pass a 10.9.0.2
[ "$(field ta .pid)" != "$pid" ] || fail 'the same process'

# a second one can't start beside it
expect 1 in_ns a "$RAYCTL" tunnel --dir "$T/ta"
grep_quiet 'cannot carry packets: another process holds' err

# handover to a successor under traffic: no packet is lost, no handshake needed
sleep 1.1  # the status is written once a second
before=$(handshakes ta) pid=$(field ta .pid)
in_ns a python3 - <<'PY' >stream &
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1); s.connect(('10.9.0.2', 7)); lost = 0
end = time.time() + 2.5
while time.time() < end:
    s.send(b'y' * 100)
    try: s.recv(200)
    except OSError: lost += 1
print(lost)
PY
stream=$!
sleep 0.5
in_ns a "$RAYCTL" tunnel --dir "$T/ta" --replace "$pid" 2>err || { cat err; fail handover; }
wait "$stream"
equal "$(cat stream)" 0 'packets lost in the handover'
sleep 1.1
[ "$(field ta .pid)" != "$pid" ] && [ ! -e "/proc/$pid" ] || fail 'the predecessor lives'
equal "$(handshakes ta)" "$before"

# the link is deleted: it is made again at once (addresses and routes are the supervisor's)
made=$(field ta .links_made)
ip -n a route add unreachable 10.9.0.0/24 metric 4294967295  # so is this: the link's own route goes with the link
ip -n a link del ta
canary
wait_for 2 ip -n a link show ta
ip -n a addr add 10.9.0.1/24 dev ta
wait_for 3 pass a 10.9.0.2
equal "$(field ta .links_made)" $((made + 1))
grep_quiet "the link 'ta' was gone: made it again" ta/log
ip -n a link set ta mtu 1300; ip -n a link set ta down
wait_for 3 eval 'ip -n a link show ta | grep -q "UP.* mtu 1420"'

# a table that can't be used changes nothing and says why; a port that is taken too
cp ta/table.json good.json
echo '{"version": 9' >ta/table.new; mv ta/table.new ta/table.json
wait_for 2 eval 'field ta .errors.table | grep -q "table.json"'
pass a 10.9.0.2
in_ns a python3 -c 'import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 5199)); open("held", "w"); time.sleep(60)' & holder=$!
on_exit "kill $holder"
wait_for 5 test -e held
table ta a 5199 '{}' "$to_b"
wait_for 2 eval 'field ta .errors.table | grep -q "cannot listen on UDP port 5199: Address already in use"'
wait_for 3 pass a 10.9.0.2
table ta a 5101 '{}' "$to_b"  # another port: b follows
wait_for 2 eval '[ "$(field ta .table)" = 3 ]'
equal "$(field ta '.errors | length')" 0
wait_for 12 pass a 10.9.0.2
wait_for 3 eval '[ "$(field tb ".peers[].endpoint")" = 192.0.2.1:5101 ]'

# garbage, a stranger, a peer that left: counted, nothing passes
in_ns b python3 -c 'import os, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in (0, 1, 3, 4, 31, 32, 64, 92, 148, 1000, 9000):
    for first in (b"\1\0\0\0", b"\2\0\0\0", b"\3\0\0\0", b"\4\0\0\0", b"\xff\0\0\0"): s.sendto((first + os.urandom(n))[:n], ("192.0.2.1", 5101))'
wait_for 3 eval '[ "$(drops ta bad_mac1)" -gt 0 ] && [ "$(drops ta unknown_session)" -gt 0 ] && [ "$(drops ta unknown_message)" -gt 0 ]'
pass a 10.9.0.2
table tb stranger 5100 '{}' "$(peer a 10.9.0.1/32 192.0.2.1:5101)"
! pass b 10.9.0.1 || fail 'a stranger got in'
wait_for 3 eval '[ "$(drops ta unknown_peer)" -gt 0 ]'
table tb b 5100 '{}' "$(peer a 10.9.0.1/32 192.0.2.1:5101)"  # without the preshared key
! pass a 10.9.0.2 || fail 'without the preshared key'
wait_for 8 eval '[ "$(drops tb bad_handshake)" -gt 0 ] || [ "$(drops ta bad_handshake)" -gt 0 ]'

wait "$sniffer" || true
[ -s sniffed ] && [ "$(cat sniffed)" -gt 0 ] || fail 'the sniffer saw nothing'
[ ! -e leak ] || fail 'plain text on the underlay'
# stopped: the link goes too
kill "$(field ta .pid)"
wait_for 3 eval '! ip -n a link show ta'
