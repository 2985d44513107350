#!/usr/bin/env bash
# The network of a RUN step: egress, names by the host's upstreams, no metadata; two at once; a killed one is swept.
source "$(dirname "$0")/common.sh"
source "$here/net_lab.sh"
need_command dig dnsmasq
make_lab
ip -n sw addr add 169.254.169.254/32 dev br0
background serve-sw in_sw python3 serve.py 7001
background dns in_sw dnsmasq --keep-in-foreground --no-resolv --no-hosts --listen-address=192.0.2.254 --bind-interfaces --user=root \
  --pid-file= --address=/package.test/192.0.2.254 --address=/metadata.google.internal/192.0.2.254
echo 'nameserver 192.0.2.254' >resolv.conf
mount --bind resolv.conf /etc/resolv.conf
on_exit 'umount /etc/resolv.conf'
in_vm 0 iptables-nft -P FORWARD DROP
in_vm 0 iptables-nft -S >before
build() { LAB_RUN_DIR=$T/build LAB_COMMAND=$1 in_vm 0 "$DRIVER" build; }
mkdir build
build '
  inside() { nsenter --net="$NETNS" "$@"; }
  inside python3 send.py 192.0.2.254 7001 3000000 >seen
  inside dig +short +tries=1 @127.0.0.11 package.test >names
  inside dig +short +tries=1 +tcp @127.0.0.11 package.test >>names
  inside dig +tries=1 @127.0.0.11 metadata.google.internal | grep -o "status: [A-Z]*" >meta-name
  inside python3 send.py 169.254.169.254 7001 10 2>meta && exit 1
  inside ip -4 -o addr show eth0 >addresses
  cp build/resolv.conf build/hosts .
  nsenter --net=/run/netns/sw timeout 1 bash -c "echo >/dev/tcp/10.62.240.2/22" 2>inwards || true
' >log 2>&1 || { cat log; fail 'build network'; }
equal "$(cat seen)" 192.0.2.1
equal "$(sort -u names)" 192.0.2.254
grep_quiet 'No route to host' meta
equal "$(sort -u meta-name)" 'status: NXDOMAIN'
grep_quiet '10\.62\.240\.2/30' addresses
grep_quiet '^nameserver 127\.0\.0\.11$' resolv.conf
grep_quiet '10\.62\.240\.2.builder' hosts

# two at once have networks of their own; one is killed, the other goes on, the next sweeps
build 'sleep 30' >log1 2>&1 & first=$!
wait_for 5 bash -c 'nsenter --net=/run/netns/vm0 ip -br link | grep -q ^rcb-'
victim=$(in_vm 0 ip -br link | sed -nE 's/^rcb-([0-9]+)-0.*/\1/p')
build 'nsenter --net="$NETNS" ip -4 -o addr show eth0' >log2; grep_quiet '10\.62\.240\.6/30' log2
kill -9 "$victim"; wait "$first" || true
in_vm 0 nft list tables >tables; grep_quiet "rayctl-build-$victim-0" tables
in_vm 0 iptables-nft -S >rules; grep_quiet "rcb-$victim-0" rules
build true >/dev/null
in_vm 0 nft list tables >tables; grep_none rayctl-build tables
in_vm 0 ip -br link >links; grep_none '^rcb-' links
equal "$(ls build/netns)" ''
in_vm 0 iptables-nft -S >after; cmp before after
