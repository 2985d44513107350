#!/usr/bin/env bash
# The control stream over a path that drops large packets and says nothing: what IPv6 asks of a path is enough from the
# first packet, and less is found out; a stream that the path narrows under heals, too. Bulk goes on at its speed.
# timeout: 180
source "$(dirname "$0")/common.sh"
need_root; need network_namespaces nftables
driver=$RAYCTL_BUILD/drivers/control
make_netns a b
connect_netns a 192.0.2.1/24 b 192.0.2.2/24
ip -n a link set v-b gso_max_segs 1; ip -n b link set v-a gso_max_segs 1  # packets cross one by one, as on a wire
in_ns() { nsenter --net="/run/netns/$1" "${@:2}"; }
narrow() {  # BYTES: larger ones don't arrive, either way
  local ns link
  for ns in a b; do
    link=v-$([ $ns = a ] && echo b || echo a)
    in_ns $ns nft -f - <<X
table netdev narrow
delete table netdev narrow
table netdev narrow { chain in { type filter hook ingress device "$link" priority 0; ip length > $1 counter drop; }; }
X
  done
}
dropped() { in_ns "$1" nft list table netdev narrow | sed -nE 's/.*packets ([0-9]+).*/\1/p'; }
background head in_ns a "$driver" head "$T/h" "$T/hr" 192.0.2.1:7443 suspect=8000 down=12000
wait_for 10 grep -q ready head.log
in_ns a "$RAYCTL" --state-dir "$T/h" --run-dir "$T/hr" token create --uses 1000 --file "$T/token" >/dev/null
mkfifo crowd; background swarm in_ns a bash -c "exec $driver swarm 60 192.0.2.1:7443 token=$T/token <$T/crowd"; exec 9>crowd
wait_for 60 grep -q '^connected' swarm.log

worker() { background "$1" in_ns b "$driver" worker "$T/$1" "$T/$1-r" 192.0.2.1:7443 token="$T/token" name="$1" heartbeat=1000 backoff=300 "${@:2}"; }
narrow 1280
worker wa
wait_for 8 grep -q 'view wa .* nodes 62' wa.log
[ "$(stat -c %s wa/cluster/view.json 2>/dev/null || wait_for 5 test -s wa/cluster/view.json; stat -c %s wa/cluster/view.json)" -gt 10000 ] || fail 'the view is too small to tell'
equal "$(dropped a) $(dropped b)" '0 0'

narrow 600
worker wb
wait_for 45 grep -q 'view wb .* nodes 63' wb.log
[ "$(dropped b)" -gt 0 ] || fail 'nothing was too large'
# one that was connected before stands still, as the crowd's news is too large for it, and heals
echo 'leave 10' >&9
gone() { python3 -c 'import json; print(sum(n["status"] != "joined" for n in json.load(open("wa/cluster/view.json"))["nodes"]))'; }
all_gone() { [ "$(gone)" -ge 10 ]; }
wait_for 60 all_gone
grep_quiet '^disconnected the head was silent' wa.log
