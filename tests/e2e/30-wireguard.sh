#!/usr/bin/env bash
# `rayctl tunnel` with the kernel's WireGuard, which is the implementation that counts: both in network namespaces of one
# virtual machine (a: ours, b: the kernel's). Handshakes both ways, new keys by either, TCP with checksums, roaming, a
# preshared key, a wrong one.
# timeout: 1500
source "$(dirname "$0")/lib.sh"
export VM_PATIENCE=${VM_PATIENCE:-600}
vm start wireguard
stage 'boot until one can log in'
vm ssh -n wireguard mkdir -p /root/try/bin /root/try/tests
strip -o rayctl "$RAYCTL" 2>/dev/null || cp "$RAYCTL" rayctl
vm put -n wireguard rayctl /root/try/bin
vm put -n wireguard "$top/tests/functional" "$top/tests/deps" /root/try/tests
vm ssh -n wireguard 'cat >/root/try/tests/functional/inside.sh && RAYCTL=/root/try/bin/rayctl timeout 900 bash /root/try/tests/functional/inside.sh' <<'INSIDE'
source /root/try/tests/functional/common.sh
source "$here/tunnel_lab.sh"
need_command wg
make_pair
for key in a b; do make_key "$key"; done
psk=$(head -c 32 /dev/urandom | base64)
settings="{\"preshared_key\": \"$psk\"}"
table ta a 5100 '{"rekey_after": 15}' "$(peer b 10.9.0.2/32,fd99::2/128 192.0.2.2:5100 "$settings")"
tunnel ta a 10.9.0.1/24 fd99::1/64
ip -n b link add kernel type wireguard
kernel() { in_ns b wg set kernel "$@"; }
kernel private-key <(echo "${secret_of[b]}") listen-port 5100 peer "${public_of[a]}" preshared-key <(echo "$psk") \
  allowed-ips 10.9.0.1/32,fd99::1/128
ip -n b addr add 10.9.0.2/24 dev kernel
ip -n b addr add fd99::2/64 dev kernel
ip -n b link set kernel mtu 1420 up
serve_echo a; serve_echo b
wait_for 30 pass a 10.9.0.2  # all starts slowly here
pass a fd99::2; pass b 10.9.0.1
equal "$(in_ns b wg show kernel endpoints | cut -f2)" 192.0.2.1:5100
echo 'ok: we begin'

cat >transfer.py <<'PY'
import hashlib, os, socket, sys
if sys.argv[1] == 'serve':
    l = socket.create_server(('::', 7200), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        s, _ = l.accept(); h = hashlib.sha256()
        while b := s.recv(1 << 18): h.update(b)
        s.sendall(h.digest()); s.close()
s = socket.create_connection((sys.argv[1], 7200), 20); s.settimeout(120); h = hashlib.sha256(); block = os.urandom(1 << 20)
for i in range(int(sys.argv[2])):
    b = i.to_bytes(4, 'big') + block[4:]; h.update(b); s.sendall(b)
s.shutdown(socket.SHUT_WR); assert s.recv(32, socket.MSG_WAITALL) == h.digest(), 'what was sent and what arrived differ'
PY
background server-b in_ns b python3 transfer.py serve
background server-a in_ns a python3 transfer.py serve
for ns in a b; do wait_for 30 in_ns "$ns" grep -q ':1C20 .* 0A ' /proc/net/tcp6; done  # 7200 listens
in_ns a python3 transfer.py 10.9.0.2 64
in_ns b python3 transfer.py 10.9.0.1 64
in_ns a python3 transfer.py fd99::2 8
echo 'ok: TCP both ways'
wait_for 30 eval 'pass a 10.9.0.2 && [ "$(handshakes ta)" -ge 3 ]'
echo 'ok: we make new keys'

ip -n a addr add 192.0.2.11/24 dev v-b; ip -n a addr del 192.0.2.1/24 dev v-b
ip -n a addr show dev v-b | grep -q 192.0.2.11 || ip -n a addr add 192.0.2.11/24 dev v-b
wait_for 10 pass a 10.9.0.2
equal "$(in_ns b wg show kernel endpoints | cut -f2)" 192.0.2.11:5100
echo 'ok: we move'

# the kernel begins: a new device with the same key knows nothing of us but the table's address
table ta a 5100 '{}' "$(peer b 10.9.0.2/32,fd99::2/128 192.0.2.2:5100 "$settings")"
in_ns b wg set kernel peer "${public_of[a]}" remove
kernel peer "${public_of[a]}" preshared-key <(echo "$psk") allowed-ips 10.9.0.1/32,fd99::1/128 endpoint 192.0.2.11:5100
begin=$(handshakes ta)
wait_for 10 pass b 10.9.0.1
wait_for 5 eval '[ "$(handshakes ta)" -gt '"$begin"' ]'
echo 'ok: the kernel begins'
# and, being the initiator now, makes new keys after its 120 s
begin=$(handshakes ta)
for _ in $(seq 1 26); do pass b 10.9.0.1; sleep 5; done
wait_for 5 eval '[ "$(handshakes ta)" -gt '"$begin"' ]'
echo 'ok: the kernel makes new keys'

kernel peer "${public_of[a]}" preshared-key <(head -c 32 /dev/urandom | base64)
kill -9 "$(field ta .pid)"
in_ns a "$RAYCTL" tunnel --dir "$T/ta"
on_exit 'kill $(jq .pid $T/ta/status.json)'
! pass a 10.9.0.2 || fail 'with another preshared key'
wait_for 10 eval '[ "$(drops ta bad_handshake)" -gt 0 ]'
kernel peer "${public_of[a]}" preshared-key <(echo "$psk")
wait_for 15 pass a 10.9.0.2
echo 'ok: another preshared key is refused, the right one accepted'
INSIDE
stage 'tunnels'
show_stages
