#!/usr/bin/env bash
# --overlay host on machines that have only IPv6 between them: names lead to those addresses, and net check asks them.
# timeout: 180
source "$(dirname "$0")/common.sh"
source "$here/app_lab.sh"
need nftables
make_lab vm0 vm1
in_lab sysctl -qw net.ipv6.conf.all.disable_ipv6=0
in_lab ip addr add fd00:9::1/64 dev br0 nodad
for vm in vm0 vm1; do
  on_vm $vm sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0
  on_vm $vm ip addr flush dev eth0
  on_vm $vm ip addr add "fd00:9::1${vm#vm}/64" dev eth0 nodad
  on_vm $vm ip -6 route add default via fd00:9::1
done
app_image vm0 vm1
head_address='[fd00:9::10]' start_pair --overlay host
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
