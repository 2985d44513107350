#!/usr/bin/env bash
# TCP and round trips through `rayctl tunnel`, in both constructions, beside a VXLAN made by hand and wireguard-go: all at
# once between two namespaces, used in turn. Both ends share this machine's cores. SECONDS_EACH, ROUNDS.
# timeout: 400
source "$(dirname "$0")/lib.sh"
source "$here/tunnel_lab.sh"
need wireguard_go vxlan
need_command iperf3
make_pair
for name in a b; do make_key "$name"; done
for cipher in chacha20poly1305 aes256gcm; do
  net=$([ "$cipher" = aes256gcm ] && echo 1 || echo 0) port=$((51000 + net))
  table "a$net" a "$port" '{}' "$(peer b "10.9.$net.2/32" "192.0.2.2:$port" "{\"cipher\": \"$cipher\"}")"
  table "b$net" b "$port" '{}' "$(peer a "10.9.$net.1/32" "192.0.2.1:$port" "{\"cipher\": \"$cipher\"}")"
  tunnel "a$net" a "10.9.$net.1/24"
  tunnel "b$net" b "10.9.$net.2/24"
done
wireguard_go ago a a 51002 10.9.2.1/24 b 10.9.2.2/32 192.0.2.2:51002
wireguard_go bgo b b 51002 10.9.2.2/24 a 10.9.2.1/32 192.0.2.1:51002
for i in 1 2; do
  ns=$([ "$i" = 1 ] && echo a || echo b)
  ip -n "$ns" link add hand type vxlan id 77 local "192.0.2.$i" remote "192.0.2.$((3 - i))" dstport 4790 dev "v-$([ "$i" = 1 ] && echo b || echo a)"
  ip -n "$ns" addr add "10.9.3.$i/24" dev hand
  ip -n "$ns" link set hand mtu 1450 up
done
background iperf in_ns b iperf3 -s
wait_for 5 in_ns b grep -q ':1451 .* 0A ' /proc/net/tcp6  # 5201 listens
gigabits() {  # ADDRESS; iperf3's server may still be busy with the one before
  local try
  for try in 1 2 3 4; do
    in_ns a iperf3 -c "$1" -t "${SECONDS_EACH:-2}" -O 0.3 -J >iperf.json && break
    sleep "0.$try"
  done
  jq -e '.end.sum_received.bits_per_second / 1e7 | round / 100' iperf.json
}
declare -A figures=()
for ((round = 0; round < ${ROUNDS:-5}; round++)); do
  for net in 0 1 2 3; do figures[$net]+=" $(gigabits "10.9.$net.2")"; done
done
# shellcheck disable=SC2086
chacha=$(median ${figures[0]}) aes=$(median ${figures[1]}) go=$(median ${figures[2]}) vxlan=$(median ${figures[3]})
report 'tunnel TCP, ChaCha20-Poly1305' 'Gb/s' higher "$chacha" 'VXLAN by hand' "$vxlan"
report 'tunnel TCP, ChaCha20-Poly1305' 'Gb/s' higher "$chacha" 'wireguard-go' "$go"
report 'tunnel TCP, AES-256-GCM' 'Gb/s' higher "$aes" 'our ChaCha20' "$chacha"

# round trips: 64 bytes of UDP, one at a time
round_trip_program
background rtt in_ns b python3 rtt.py serve
sleep 0.5
figures=()
for ((round = 0; round < ${ROUNDS:-5}; round++)); do
  for net in 0 1 2 3; do figures[$net]+=" $(in_ns a python3 rtt.py "10.9.$net.2")"; done
done
# shellcheck disable=SC2086
chacha=$(median ${figures[0]}) go=$(median ${figures[2]}) vxlan=$(median ${figures[3]})
report 'tunnel UDP round trip, p50' us lower "$chacha" 'VXLAN by hand' "$vxlan"
report 'tunnel UDP round trip, p50' us lower "$chacha" 'wireguard-go' "$go"
