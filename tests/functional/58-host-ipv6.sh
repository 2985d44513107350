#!/usr/bin/env bash
# --overlay host on machines that have only IPv6 between them: names lead to those addresses, and net check asks them.
# timeout: 180
source "$(dirname "$0")/common.sh"
need_root
need network_namespaces overlayfs nftables
need_command busybox
D=$T
. "$top/tests/demo/lab.sh"
export -n RAYCTL_STATE_DIR RAYCTL_RUN_DIR
mkdir ctx; cp "$(command -v busybox)" ctx/
printf '#!/bin/busybox sh\nexec /bin/busybox sleep 1000\n' >ctx/run
printf 'FROM scratch\nCOPY --chmod=755 busybox run /bin/\nENV PATH=/bin\n' >ctx/Dockerfile
make_lab vm0 vm1
in_lab sysctl -qw net.ipv6.conf.all.disable_ipv6=0
in_lab ip addr add fd00:9::1/64 dev br0 nodad
for vm in vm0 vm1; do
  on_vm $vm sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0
  on_vm $vm ip addr flush dev eth0
  on_vm $vm ip addr add "fd00:9::1${vm#vm}/64" dev eth0 nodad
  on_vm $vm ip -6 route add default via fd00:9::1
  mkdir -p $vm
  on_exit "rm -rf --one-file-system '$T/$vm/state' '$T/$vm/run'"
  rayctl --state-dir "$T/$vm/state" --run-dir "$T/$vm/run" build -t app:1 ctx >build.log 2>&1 || { cat build.log; exit 1; }
done
sizes=(--memory 512M --cpus 1)
start_node vm0 --role head --image app:1 --workers 1 --overlay host "${sizes[@]}"
wait_for 30 test -s "$T/vm0/state/cluster/worker-token"
start_node vm1 --role worker --join '[fd00:9::10]' --token-file "$T/vm0/state/cluster/worker-token" "${sizes[@]}"
both_run() { [ "$(node vm0 ps | grep -c ' Up ')" = 2 ]; }
wait_for 90 both_run
node vm0 net check >checks
grep_quiet ' reach ray-wk-0 +ok +fd00:9::11 answers within [0-9.]+ ms$' checks
grep_quiet ' reach ray-ms-0 +ok +fd00:9::10 answers within [0-9.]+ ms$' checks
on_vm vm1 nft -f - <<'X'
table netdev narrow { chain in { type filter hook ingress device "eth0" priority 0; ip6 length > 1300 drop; }; }
X
expect 1 node vm0 net check ray-ms-0
grep_quiet ' reach ray-wk-0 +FAILURE +fd00:9::11 answers within [0-9.]+ ms, but no packet of 1500 bytes arrives' out
on_vm vm1 nft delete table netdev narrow
on_vm vm1 nft add table ip6 closed '{ chain in { type filter hook input priority 0; icmpv6 type echo-request drop; }; }'
expect 0 node vm0 net check ray-ms-0
grep_quiet ' reach ray-wk-0 +warning +no answer to echoes from fd00:9::11' out
