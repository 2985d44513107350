#!/usr/bin/env bash
# NODES (5,000) simulated nodes that speak the real control protocol from one process: how long until all have joined, what
# the head holds and costs once nothing happens, and how long until all are back after the head was started anew. Then half
# of them fall silent, which must take nobody down, and a tenth leaves.
# timeout: 600
source "$(dirname "$0")/lib.sh"
need_root
driver=$RAYCTL_BUILD/drivers/control nodes=${NODES:-5000}
[ -x "$driver" ] || fail "build first: no $driver"
ulimit -n "$(ulimit -Hn)"
start_head() { background head "$driver" head "$T/h" "$T/hr" "127.0.0.1:${port:-0}" pending=2000; head=$pid; wait_for 20 grep -q ready "$T/head.log"; port=$(sed -n 's/ready //p' "$T/head.log"); }
start_head
rayctl --state-dir "$T/h" --run-dir "$T/hr" token create --uses $((nodes * 2)) --file "$T/token" >/dev/null
mkfifo crowd; background swarm bash -c "exec $driver swarm $nodes 127.0.0.1:$port token=$T/token <$T/crowd"; crowd=$pid; exec 9>crowd
wait_for 300 grep -q '^connected' "$T/swarm.log"
report_alone "$nodes nodes join" s "$(sed -nE 's/^connected [0-9]+ in ([0-9.]+) s.*/\1/p' "$T/swarm.log" | head -n 1)"
rss() { awk -v what="^Vm${2:-RSS}:" '$0 ~ what { printf "%.0f\n", $2 / 1024 }' "/proc/$1/status"; }
ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
seconds_of() { awk -v t="$(ticks "$1")" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.1f\n", t / hz }'; }
report_alone "$nodes nodes: head after joins" MB "$(rss "$head")"
report_alone "$nodes nodes: head after joins, CPU" s "$(seconds_of "$head")"
report_alone "$nodes nodes: the crowd, CPU" s "$(seconds_of "$crowd")"
wait_for 240 grep -q '^complete' "$T/swarm.log"
report_alone "$nodes nodes: head, the most until here" MB "$(rss "$head" HWM)"
report_alone "$nodes nodes know each other" s "$(sed -nE 's/^complete [0-9]+ in ([0-9.]+) s.*/\1/p' "$T/swarm.log" | head -n 1)"
sleep 10
before=$(ticks "$head"); sleep 20; after=$(ticks "$head")
report_alone "$nodes nodes: head at rest" '% core' "$(awk -v t=$((after - before)) -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.1f\n", t / hz / 20 * 100 }')"
report_alone "$nodes nodes: head at rest" MB "$(rss "$head")"
lines=$(grep -c '^connected' "$T/swarm.log")
kill -9 "$head"; wait "$head" 2>/dev/null || true
begin=$EPOCHREALTIME
start_head
back() { [ "$(grep -c '^connected' "$T/swarm.log")" -gt "$lines" ]; }
wait_for 240 back
report_alone "$nodes nodes back after kill -9" s "$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f\n", b - a }')"
half=$((nodes / 2)) tenth=$((nodes / 10))
downs() { grep -c ' is down$' "$T/head.log" || true; }
before=$(downs)
echo "mute $half" >&9
wait_for 40 grep -q 'many nodes fell silent at once' "$T/head.log"
echo unmute >&9
wait_for 30 grep -q 'the nodes that fell silent are back' "$T/head.log"
equal "$(downs)" "$before" 'nodes that a mass cut takes down'
echo "leave $tenth" >&9
gone() { [ "$(grep -c 'this machine is shut down' "$T/head.log")" -ge "$tenth" ]; }
wait_for 30 gone
