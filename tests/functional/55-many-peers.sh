#!/usr/bin/env bash
# A thousand peers are installed at once, and looked over in a fraction of a second: nothing is done twice.
source "$(dirname "$0")/common.sh"
source "$here/net_lab.sh"
make_netns many
ip -n many link add eth0 type veth peer name far
ip -n many addr add 198.18.0.0/15 dev eth0
ip -n many link set eth0 up; ip -n many link set far up
LAB_RUN_DIR=$T LAB_NODE=0 LAB_UNDERLAY=198.18.0.0 LAB_COUNT=1000 nsenter --net=/run/netns/many "$DRIVER" peers >out
cat out
grep_quiet '^1000 peers: 300[0-9] changes in' out
equal "$(grep -c '^1000 peers: 0 changes in' out)" 2
sed -nE 's/^1000 peers: 0 changes in ([0-9]+).*/\1/p' out | while read -r ms; do [ "$ms" -lt 1000 ] || fail "$ms ms to find nothing to do"; done
nsenter --net=/run/netns/many nft list ruleset >rules; equal "$(wc -c <rules)" 0
