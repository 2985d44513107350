#!/usr/bin/env bash
# Limits where Ray looks for them, out-of-memory told apart from other ends, on whatever layout the machine has.
source "$(dirname "$0")/common.sh"
source "$here/containers.sh"
need memory_controller

limit=$((64 << 20))
v2=/sys/fs/cgroup/memory.max v1=/sys/fs/cgroup/memory/memory.limit_in_bytes
run_container see -m $limit -- sh -c "cat $v2 || cat $v1; grep -E '^(total_)?inactive_file' /sys/fs/cgroup/memory.stat /sys/fs/cgroup/memory/memory.stat; cat /sys/fs/cgroup/memory.current /sys/fs/cgroup/memory/memory.usage_in_bytes; sleep 1000"
container stats see >stats
grep_quiet "^limit $limit$" stats
grep_quiet '^pids [23]$' stats
wait_for 5 grep -qE 'F [0-9]+$' "$C/see/log"
sleep 0.2
container logs see >log
grep_quiet "^$limit$" log
grep_quiet 'inactive_file [0-9]+$' log
equal "$(grep -cE '^[0-9]+$' log)" 2 'memory.current is not there'
container remove see

# more memory than allowed: killed, and the record says why
# (a tmpfs file counts like the object store)
run_container oom -m $limit -- sh -c 'exec dd if=/dev/zero of=/dev/null bs=200M count=1'
equal "$(container wait oom)" 'exit code 137 (out of memory: 1 process killed)'
equal "$(field oom oom)" true
equal "$(field oom oomKills)" 1
[ "$(field oom memoryPeak)" -gt $((limit * 9 / 10)) ]
[ "$(field oom memoryPeak)" -le "$limit" ]

# PID 1 outlives a killed child: the state says it while it runs; an end that isn't a failure is no OOM
run_container child -m $limit -- sh -c 'dd if=/dev/zero of=/dev/null bs=200M count=1; sleep 1; exit 0'
wait_for 5 grep -q '"oomKills": 1' "$C/child/state.json"
equal "$(container state child)" running
equal "$(container wait child)" 'exit code 0'
equal "$(field child oom)/$(field child oomKills)" false/1

# killed by somebody, not by the kernel
run_container other -m $limit -- sh -c 'kill -9 $$'
equal "$(container wait other)" 'exit code 137'
for id in oom child other; do container remove $id; done
equal "$(cgroup_directories)" '' 'cgroups are left'
