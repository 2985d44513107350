#!/usr/bin/env bash
# PEERS (5,000) peers of a node, in each mode that this kernel has: how long it takes to install them (routes, neighbours,
# forwarding entries, keys, rules), and to find that nothing is to be done. ROUNDS (3).
# timeout: 300
source "$(dirname "$0")/lib.sh"
source "$here/net_lab.sh"
count=${PEERS:-5000}
make_netns many
ip -n many link add eth0 type veth peer name far
ip -n many addr add 198.18.0.0/15 dev eth0
ip -n many link set eth0 up; ip -n many link set far up
modes=(vxlan)
! probe_tun || modes+=(userspace)
! probe_wireguard 2>/dev/null || modes+=(wireguard)
for mode in "${modes[@]}"; do
  install='' cpu='' again=''
  for ((round = 0; round < ${ROUNDS:-3}; round++)); do
    LAB_RUN_DIR=$T/$mode LAB_MODE=$mode LAB_NODE=0 LAB_UNDERLAY=198.18.0.0 LAB_COUNT=$count \
      nsenter --net=/run/netns/many "$DRIVER" peers >out 2>err || { cat err; fail "$mode"; }
    install+=" $(sed -nE '1s/.* in ([0-9.]+) ms, .*/\1/p' out)"
    cpu+=" $(sed -nE '1s/.*, ([0-9.]+) ms of CPU$/\1/p' out)"
    again+=" $(sed -nE '3s/^[0-9]+ peers: 0 changes in ([0-9.]+) ms, .*/\1/p' out)"
  done
  # shellcheck disable=SC2086
  report_alone "$count peers installed, $mode" ms "$(median $install)"
  # shellcheck disable=SC2086
  report_alone "$count peers installed, $mode, our CPU" ms "$(median $cpu)"
  # shellcheck disable=SC2086
  report_alone "$count peers looked over, $mode" ms "$(median $again)"
done
