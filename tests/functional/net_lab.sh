#!/usr/bin/env bash
# Three "VMs" vm0…vm2 on a switch: network namespaces, 192.0.2.1…3, default route to the switch's 192.0.2.254. What a
# node does there is done by tests/drivers/net.cc. Sourced after common.sh.
need_root; need network_namespaces vxlan nftables
DRIVER=${RAYCTL_BUILD:-$top/build/release}/drivers/net
[ -x "$DRIVER" ] || fail "build first: no $DRIVER"
mounted=$T/nodes; mkdir -p "$mounted"

make_lab() {
  local i
  make_netns sw vm0 vm1 vm2
  ip -n sw link add br0 type bridge
  ip -n sw addr add 192.0.2.254/24 dev br0
  ip -n sw link set br0 up
  for i in 0 1 2; do
    ip -n sw link add "port$i" type veth peer name eth0 netns "vm$i"
    ip -n sw link set "port$i" master br0 up
    ip -n "vm$i" addr add "192.0.2.$((i + 1))/24" dev eth0
    ip -n "vm$i" link set eth0 up
    ip -n "vm$i" route add default via 192.0.2.254
    in_vm "$i" sysctl -qw net.ipv4.ip_forward=0
  done
}
in_vm() { local i=$1; shift; nsenter --net="/run/netns/vm$i" "$@"; }        # not ip netns exec: that hides mounts made inside
in_sw() { nsenter --net=/run/netns/sw "$@"; }
in_c() { local c=$1; shift; nsenter --net="$mounted/${c:1}/netns/$c" "$@"; }  # c0 is the first container of node 0, d0 the second

# node I ACTION: what the driver prints is in node$I.log; NODES says which nodes there are
node() { driver "$@" >"$T/node$1.log" 2>&1 || { cat "$T/node$1.log" >&2; fail "node $1: $2"; }; }
mode_of() { local modes; read -ra modes <<<"${MODES:-}"; echo "${modes[$1]:-${LAB_MODE:-vxlan}}"; }  # MODES='wireguard userspace'
driver() {
  local i=$1 j peers=''; shift
  for j in ${NODES:-0 1 2}; do [ "$j" = "$i" ] || peers+="$j=192.0.2.$((j + 1)) "; done
  mkdir -p "$mounted/$i"
  LAB_RUN_DIR=$mounted/$i LAB_NODE=$i LAB_UNDERLAY=${UNDERLAY:-192.0.2.$((i + 1))} LAB_PEERS=${LAB_PEERS:-$peers} LAB_CONTAINERS="$(printf "%s$i " ${CONTAINERS:-c d})" \
    LAB_MODE=$(mode_of "$i") LAB_ACTION=$1 LAB_SECONDS=${2:-0} in_vm "$i" "$DRIVER" node
}
end_watch() { touch "$mounted/$1/end-watch"; wait_for 5 test ! -e "$mounted/$1/end-watch"; }  # the driver removes it
nodes() { local i; for i in ${NODES:-0 1 2}; do node "$i" "$@"; done; }
address() { echo "10.64.0.$((${1:1} * 64 + 2 + $(printf '%d' "'${1:0:1}") - $(printf '%d' "'c")))"; }  # of container c0, d2

# serve.py PORT: answers with who connected, and how many bytes of which sha256 came
cat >"$T/serve.py" <<'PY'
import hashlib, socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('0.0.0.0', int(sys.argv[1]))); s.listen(50)
while True:
    c, a = s.accept(); h = hashlib.sha256(); n = 0
    while True:
        b = c.recv(1 << 16)
        if not b: break
        h.update(b); n += len(b)
    c.sendall(('%s %d %s' % (a[0], n, h.hexdigest())).encode()); c.close()
PY
# send.py ADDRESS PORT BYTES: prints who the server saw; fails when a byte was lost on the way
cat >"$T/send.py" <<'PY'
import hashlib, os, socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 3); data = os.urandom(int(sys.argv[3]))
s.settimeout(10); s.sendall(data); s.shutdown(socket.SHUT_WR)
who, n, digest = s.recv(200).decode().split()
assert int(n) == len(data) and digest == hashlib.sha256(data).hexdigest()
print(who)
PY
