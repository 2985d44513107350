#!/usr/bin/env bash
# A head and two workers, encrypted, whose "Ray" is a web server that says it is well: how long a node takes from its exec
# until links, routes and rules are in place (joined for the first time; back after a stop), and what rayctl's processes
# hold and need while nothing happens. REST_SECONDS (60), ROUNDS (7).
# timeout: 400
# network: host
source "$(dirname "$0")/lib.sh"
source "$here/app_lab.sh"
cat >ctx/Dockerfile <<'END'
FROM scratch
COPY --chmod=755 busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY --chmod=755 <<run /bin/run
#!/bin/sh
mkdir -p /srv/api
echo success >/srv/api/healthz
echo success >/srv/api/gcs_healthz
[ "\$1" != head ] || httpd -p 8265 -h /srv
exec httpd -f -p 52365 -h /srv
run
END
make_lab vm0 vm1 vm2
app_image vm0 vm1 vm2
worker=(--role worker --join "$lab_network.10" "${sizes[@]}")
start_head 2
wait_for 60 test -s "$T/vm0/state/cluster/worker-token"

# until_ready VM FLAG...: starts the node and prints the milliseconds until it says that its network is made
cat >until_ready.py <<'PY'
import subprocess, sys, time
log = open(sys.argv[1], 'ab', 0)
begin = time.perf_counter()
p = subprocess.Popen(sys.argv[3:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
open(sys.argv[2], 'w').write(str(p.pid))
for line in p.stderr:
    log.write(line)
    if b'this node is ' in line: break
else: sys.exit('it ended')
print(round((time.perf_counter() - begin) * 1000, 1), flush=True)
subprocess.Popen(['cat'], stdin=p.stderr, stdout=log, start_new_session=True)
PY
until_ready() {
  local vm=$1; shift
  nsenter "--net=/run/netns/$lab-$vm" python3 until_ready.py "$T/$vm/log" "$T/$vm/pid" \
    "$RAYCTL" --state-dir "$T/$vm/state" --run-dir "$T/$vm/run" node "$@"
}
in_place() {  # VM: what the overlay needs is there, as the kernel tells
  on_vm "$1" nft list table inet rayctl >table
  on_vm "$1" ip route >routes
  grep_quiet 'unreachable 10\.64\.0\.0/12' routes
  grep_quiet '10\.64\.0\.[0-9]+/26 dev rayctl\.wg' routes
  on_vm "$1" ip link show rayctl0 >link
}
for vm in vm1 vm2; do
  on_exit "stop_node $vm"
  first+=" $(until_ready $vm "${worker[@]}" --token-file "$T/vm0/state/cluster/worker-token")"
  in_place $vm
done
# shellcheck disable=SC2086
report_alone 'node start to overlay, first join' ms "$(median $first)"
halt() { on_vm vm2 "$RAYCTL" --state-dir "$T/vm2/state" --run-dir "$T/vm2/run" node stop >>"$T/vm2/log" 2>&1; }
for ((round = 0; round < ${ROUNDS:-7}; round++)); do
  halt
  wait_for 5 flock -n "$T/vm2/state/node.lock" true
  again+=" $(until_ready vm2 "${worker[@]}")"
  in_place vm2
done
# shellcheck disable=SC2086
report_alone 'node start to overlay, joined' ms "$(median $again)"

node vm0 status --wait 2m >status || { cat status; fail 'the cluster is not healthy'; }
sleep 15  # what the start needed is given back by then
# processes: "NAME PID" of all that is rayctl's
processes() {
  local vm pid word
  for vm in vm0 vm1; do
    for pid in $(ip netns pids "$lab-$vm"; pgrep -f "$T/$vm/run/"); do
      word=$(tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -m1 -xE 'node|dns|tunnel|shim') || continue
      echo "$([ $vm = vm0 ] && echo head || echo worker)-$word $pid"
    done
  done | sort -u
}
processes >before
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
while read -r name pid; do echo "$name $pid $(ticks "$pid")"; done <before >began
sleep "${REST_SECONDS:-60}"
while read -r name pid was; do
  cpu=$(awk -v t="$(($(ticks "$pid") - was))" -v hz="$(getconf CLK_TCK)" -v s="${REST_SECONDS:-60}" 'BEGIN { printf "%.2f", t / hz / s * 100 }')
  report_alone "at rest: $name, CPU" '% core' "$cpu"
  report_alone "at rest: $name, RSS" MB "$(awk '/^VmRSS/ { printf "%.1f", $2 / 1024 }' "/proc/$pid/status")"
  report_alone "at rest: $name, RSS that is its own" MB "$(awk '/^RssAnon/ { printf "%.1f", $2 / 1024 }' "/proc/$pid/status")"
done <began
