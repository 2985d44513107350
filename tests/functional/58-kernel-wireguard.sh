#!/usr/bin/env bash
# The kernel's WireGuard beside rayctl's own, in one cluster: they talk to each other, heal, change keys, and leave nothing
# behind. Where the kernel lacks it, tests/e2e/31-kernel-wireguard.sh runs this in a virtual machine.
source "$(dirname "$0")/common.sh"
source "$here/net_lab.sh"
need tun wireguard
export MODES='wireguard userspace wireguard'
make_lab
for i in 0 1 2; do in_vm "$i" ip -br link >"before$i"; in_vm "$i" ip route >>"before$i"; done
nodes reconcile
for i in 0 1 2; do grep_quiet 'reconciled: [1-9][0-9]* changes, MTU 1420' "node$i.log"; done
grep_quiet 'change: create link rayctl.wg \(WireGuard, MTU 1420\)' node0.log
grep_quiet "change: add peer node 1 at 192.0.2.2:51820 for 10.64.0.64/26" node0.log
nodes reconcile
for i in 0 1 2; do grep_quiet 'reconciled: 0 changes' "node$i.log"; done
equal "$(in_vm 0 ip -d -o link show rayctl.wg | grep -o wireguard)" wireguard
for c in c0 c1 c2; do background "serve-$c" in_c "$c" python3 serve.py 7000; done
sleep 0.5
pairs() {
  local from to
  for from in c0 c1 c2 d0 d1 d2; do
    for to in c0 c1 c2; do
      [ "$from" = "$to" ] || equal "$(in_c "$from" python3 send.py "$(address "$to")" 7000 "$1")" "$(address "$from")" 'addresses stay'
    done
  done
}
pairs 2000000

background watch node 0 watch 600
wait_for 5 grep -q 'reconciled: 0' node0.log
heals() {
  local start=$EPOCHREALTIME
  "$@"
  until in_c c0 python3 send.py "$(address c1)" 7000 100000 >/dev/null 2>&1 && in_c c0 python3 send.py "$(address c2)" 7000 100000 >/dev/null 2>&1; do
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { exit b - a > 15 }' || { cat node0.log; fail "not healed: $*"; }
  done
}
heals in_vm 0 ip link del rayctl.wg
heals in_vm 0 ip link set rayctl.wg down
heals in_vm 0 ip route flush proto 82
if command -v wg >/dev/null; then
  equal "$(in_vm 0 wg show rayctl.wg peers | wc -l)" 2
  # nobody tells of a peer that was removed: the regular look puts it right (the driver looks at events: make one)
  in_vm 0 wg set rayctl.wg peer "$(in_vm 0 wg show rayctl.wg peers | head -n 1)" remove
  in_vm 0 ip link add event type bridge; in_vm 0 ip link del event
  wait_for 5 bash -c '[ "$(nsenter --net=/run/netns/vm0 wg show rayctl.wg peers | wc -l)" = 2 ]'
fi
end_watch 0

# other keys everywhere, as after a rotation: the subnets move to them
export LAB_KEYS=2
nodes reconcile
grep_quiet 'change: add peer node 1 at' node0.log; grep_quiet 'change: remove peer' node0.log; grep_none 'create link' node0.log
pairs 100000

nodes remove
for i in 0 1 2; do
  { in_vm "$i" ip -br link; in_vm "$i" ip route; } >"after$i"; cmp "before$i" "after$i"
  equal "$(in_vm "$i" nft list ruleset | wc -l)" 0
done
