#!/usr/bin/env bash
# Each process of a node beside its supervisor is killed or stopped (SIGSTOP) under it: names and packets are back within
# 5 s, and it is said once. A container's shim or command that somebody stopped is left so: that is theirs, and nobody waits
# for it. The head's supervisor is away for longer than every limit: what runs goes on and talks.
# timeout: 300
source "$(dirname "$0")/common.sh"
source "$here/app_lab.sh"
need tun
make_lab vm0 vm1
app_image vm0 vm1
start_pair --overlay userspace
pid_of() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["pid"])' "vm1/run/$1/status.json"; }
resolves() { worker nslookup head.q 127.0.0.11 | grep -q 10.64.; }
talks() { worker timeout 2 /bin/busybox wget -qO- "http://$head:8265/bin/run" | cmp -s - ctx/run; }
wait_for 20 resolves
head=$(worker nslookup head.q 127.0.0.11 | awk '/^Address/ { a = $NF } END { print a }')
wait_for 20 talks
back() {  # CHECK WHAT: within 5 s
  local start=$EPOCHREALTIME
  until "$1" >/dev/null 2>&1; do
    awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { exit b - a > 5 }' || { tail -n 20 vm1/log; fail "not back: $2"; }
  done
  awk -v a="$start" -v b="$EPOCHREALTIME" -v what="$2" 'BEGIN { printf "%s: back after %.1f s\n", what, b - a }'
}
for what in 'dns resolves' 'tunnel talks'; do
  process=${what% *} check=${what#* }
  first=$(pid_of "$process")
  kill -9 "$first"; back "$check" "$process after kill -9"
  second=$(pid_of "$process"); [ "$first" != "$second" ] || fail 'another serves'
  kill -STOP "$second"; back "$check" "$process after SIGSTOP"
  equal "$(pid_of "$process")" "$second" 'it goes on'
done
grep_quiet 'network: the name server was stopped by somebody' vm1/log
grep_quiet 'network: the tunnel was stopped by somebody' vm1/log
equal "$(grep -c 'was stopped by somebody' vm1/log)" 2
# kept stopped: replaced
( while kill -STOP "$second" 2>/dev/null; do sleep 0.02; done ) & stopper=$!
on_exit "kill $stopper"
replaced() { [ "$(pid_of tunnel)" != "$second" ]; }
wait_for 6 replaced; back talks 'tunnel that is stopped again and again'

# the supervisor itself is stopped: names and packets go on
kill -STOP "$(cat vm1/pid)"; sleep 1; resolves; talks
kill -CONT "$(cat vm1/pid)"

# a container's shim and its command: left as they are
shim=$(ps -o ppid= -p "$inside" | tr -d ' ')
for who in "$shim" "$inside"; do
  kill -STOP "$who"; sleep 2
  timeout 10 "$RAYCTL" --state-dir "$T/vm0/state" --run-dir "$T/vm0/run" ps >ps || fail "ps waits for a stopped process"
  equal "$(grep -c ' Up ' ps)" 2
  equal "$(awk '{ print $3 }' "/proc/$who/stat")" T
  kill -CONT "$who"
done
sleep 1; both_run; resolves; talks
equal "$(grep -c 'exited' vm1/log || true)" 0

# the head's supervisor is gone for a minute: names and packets all the while, and afterwards the same containers
kill -9 "$(cat vm0/pid)"
for _ in $(seq 12); do sleep 5; resolves; talks; done
start_head 1 --overlay userspace
wait_for 30 both_run
kill -0 "$inside"; resolves; talks
grep_none "is down$" vm0/log
