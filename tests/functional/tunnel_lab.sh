#!/usr/bin/env bash
# Two machines a and b (namespaces; 192.0.2.1 and .2, 2001:db8::1 and ::2 on the link `v-b`, `v-a`) with tunnels between
# them: `rayctl tunnel` or wireguard-go. Sourced after common.sh.
need_root; need network_namespaces tun
need_command jq openssl python3
WIREGUARD_GO=$("$top/tests/deps/go.sh" --prefix)/bin/wireguard
declare -A tunnel_ns=() secret_of=() public_of=()

make_pair() {
  make_netns a b
  connect_netns a 192.0.2.1/24 b 192.0.2.2/24
  ip -n a addr add 2001:db8::1/64 dev v-b nodad
  ip -n b addr add 2001:db8::2/64 dev v-a nodad
}
in_ns() { nsenter --net="/run/netns/$1" "${@:2}"; }

# make_key NAME: sets secret_of[NAME] and public_of[NAME], in base64
make_key() {
  local der=$T/.key.der
  openssl genpkey -algorithm X25519 -outform DER -out "$der"
  secret_of[$1]=$(tail -c 32 "$der" | base64)
  public_of[$1]=$(openssl pkey -inform DER -in "$der" -pubout -outform DER | tail -c 32 | base64)
  rm "$der"
}
key_hex() { base64 -d <<<"$1" | od -An -vtx1 | tr -d ' \n'; }

# peer KEY-NAME ALLOWED [ENDPOINT] [MORE-JSON]: one peer of a table
peer() {
  jq -nc --arg key "${public_of[$1]}" --arg ips "$2" --arg endpoint "${3:-}" --argjson more "${4:-{\}}" \
    '{public_key: $key, allowed_ips: ($ips | split(",")), endpoint: (if $endpoint == "" then null else $endpoint end)} + $more'
}
# table NAME KEY-NAME PORT [MORE-JSON] PEER...: replaces NAME/table.json
declare -A table_version=()
table() {
  local name=$1 key=$2 port=$3 more=$4; shift 4
  mkdir -p "$T/$name"
  table_version[$name]=$((${table_version[$name]:-0} + 1))
  (umask 077
    printf '%s\n' "$@" | jq -s --arg key "${secret_of[$key]}" --arg name "$name" --argjson port "$port" \
      --argjson version "${table_version[$name]}" --argjson more "$more" \
      '{version: $version, interface: $name, private_key: $key, listen_port: $port, mtu: 1420, peers: .} + $more' >"$T/$name/.new")
  mv "$T/$name/.new" "$T/$name/table.json"
}
# tunnel NAME NAMESPACE ADDRESS...: starts `rayctl tunnel` with NAME's table; its link is NAME
tunnel() {
  local name=$1 ns=$2 address; shift 2
  tunnel_ns[$name]=$ns
  in_ns "$ns" "$RAYCTL" tunnel --dir "$T/$name" || fail "tunnel $name"
  on_exit "kill $(field "$name" .pid)"
  for address; do ip -n "$ns" addr add "$address" dev "$name"; done
}
field() { jq -r "$2" "$T/$1/status.json"; }                          # field NAME JQ-FILTER
drops() { field "$1" "([.drops, .peers[].drops] | map(.$2 // 0) | add)"; }  # drops NAME REASON
handshakes() { field "$1" '[.peers[].handshakes] | add'; }

# wireguard_go NAME NAMESPACE KEY-NAME PORT ADDRESS PEER-KEY-NAME ALLOWED [ENDPOINT] [PRESHARED-KEY]
wireguard_go() {
  local name=$1 ns=$2 key=$3 port=$4 address=$5 peer=$6 allowed=$7 endpoint=${8:-} preshared=${9:-}
  rm -f "/var/run/wireguard/$name.sock"  # of one that was killed
  on_exit "rm -f '/var/run/wireguard/$name.sock'"
  LOG_LEVEL=error background "go-$name" in_ns "$ns" "$WIREGUARD_GO" -f "$name"
  wait_for 10 test -S "/var/run/wireguard/$name.sock"
  { printf 'private_key=%s\nlisten_port=%s\npublic_key=%s\n' "$(key_hex "${secret_of[$key]}")" "$port" "$(key_hex "${public_of[$peer]}")"
    [ -z "$preshared" ] || printf 'preshared_key=%s\n' "$(key_hex "$preshared")"
    [ -z "$endpoint" ] || printf 'endpoint=%s\n' "$endpoint"
    printf 'allowed_ip=%s\n' ${allowed//,/ }; } | wireguard_set "$name"
  ip -n "$ns" addr add "$address" dev "$name"
  ip -n "$ns" link set "$name" mtu 1420 up
}
wireguard_set() {  # NAME: the settings are on stdin
  python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(f"/var/run/wireguard/{sys.argv[1]}.sock")
s.sendall(("set=1\n" + sys.stdin.read() + "\n").encode())
answer = s.recv(1000).decode()
sys.exit(0 if "errno=0" in answer else f"wireguard-go refuses: {answer}")' "$1"
}

# pass NAMESPACE ADDRESS: one packet there and back, within two seconds (there is no ping on every machine)
serve_echo() {  # NAMESPACE: UDP port 7, all addresses
  background "echo-$1" in_ns "$1" python3 -c '
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(("::", 7))
while True:
    data, who = s.recvfrom(2000); s.sendto(data, who)'
}
pass() {
  in_ns "$1" python3 -c '
import socket, sys
a = socket.getaddrinfo(sys.argv[1], 7, type=socket.SOCK_DGRAM)[0]
s = socket.socket(a[0], a[1]); s.settimeout(0.4)
for i in range(5):
    try:
        s.sendto(b"x%d" % i, a[4]); s.recv(100); sys.exit()
    except OSError: pass
sys.exit(1)' "$2"
}

# capture.py LINK PORT SECONDS FILE: UDP payloads to PORT that cross LINK, one per line in hexadecimal
cat >"$T/capture.py" <<'PY'
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind((sys.argv[1], 0)); s.settimeout(0.2)
end, out = time.time() + float(sys.argv[3]), open(sys.argv[4], 'w')
while time.time() < end:
    try: f = s.recv(65600)
    except OSError: continue
    if f[12:14] == b'\x08\x00' and f[23] == 17 and int.from_bytes(f[36:38], 'big') == int(sys.argv[2]): print(f[42:].hex(), file=out, flush=True)
PY
# flood.py ADDRESS PORT SECONDS FILE: the messages of FILE again and again, from one socket
cat >"$T/flood.py" <<'PY'
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setblocking(False)
messages, end, n = [bytes.fromhex(line) for line in open(sys.argv[4])], time.time() + float(sys.argv[3]), 0
while time.time() < end:
    for m in messages * 100:
        try: s.sendto(m, (sys.argv[1], int(sys.argv[2]))); n += 1
        except OSError: pass
print(n)
PY
