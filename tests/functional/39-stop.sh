#!/usr/bin/env bash
# TERM, the grace, KILL: what comes when; nothing survives; zombies don't gather.
source "$(dirname "$0")/common.sh"
source "$here/containers.sh"

stop_takes() {  # ID GRACE FROM TO: milliseconds
  local start took
  start=$(milliseconds)
  container stop "$1" "$2" >out
  took=$(($(milliseconds) - start))
  [ "$took" -ge "$3" ] && [ "$took" -le "$4" ] || fail "stop took $took ms, not $3 to $4"
}

run_container polite -- sh -c 'trap "echo bye; exit 7" TERM; while :; do sleep 0.05; done'
stop_takes polite 30000 0 1500
equal "$(cat out)" 'exit code 7'
equal "$(container logs polite)" bye
equal "$(field polite stopRequested)" true
container stop polite 1000 >out
equal "$(cat out)" 'exit code 7'

run_container slow -- sh -c 'trap "sleep 1; exit 0" TERM; while :; do sleep 0.05; done'
stop_takes slow 10000 900 3000
equal "$(cat out)" 'exit code 0'

run_container deaf -- sh -c 'trap "" TERM; (trap "" TERM; while :; do sleep 0.05; done) & while :; do sleep 0.05; done'
sleep 0.2
stop_takes deaf 1000 950 3000
equal "$(cat out)" 'killed by signal 9 (Killed)'
equal "$(field deaf oom)" false

# without rayctl's init PID 1 may ignore TERM altogether; a grace of 0 asks nobody
run_container bare -g -- sleep 1000
stop_takes bare 0 0 1500
equal "$(cat out)" 'killed by signal 9 (Killed)'

# the image's own stop signal
run_container usr1 -S 10 -- sh -c 'trap "exit 11" USR1; while :; do sleep 0.05; done'
sleep 0.2
stop_takes usr1 10000 0 1500
equal "$(cat out)" 'exit code 11'

# a paused one is thawed to hear it
run_container paused -- sh -c 'trap "exit 12" TERM; while :; do sleep 0.05; done'
sleep 0.2
container freeze paused
stop_takes paused 10000 0 2000
equal "$(cat out)" 'exit code 12'

# the shim sees to it, even when the one who asked is gone; TERM to the shim stops the container as well
run_container orphan -- sh -c 'trap "" TERM; while :; do sleep 0.05; done'
sleep 0.2
"$DRIVER" stop orphan 1500 & pid=$!
sleep 0.3
kill -9 "$pid"
container wait orphan >out
equal "$(cat out)" 'killed by signal 9 (Killed)'
run_container term -- sh -c 'trap "exit 13" TERM; while :; do sleep 0.05; done'
sleep 0.2
kill -TERM "$(container shim-pid term)"
equal "$(container wait term)" 'exit code 13'

# orphans of the container are reaped by its PID 1
run_container zombies -- sh -c 'for i in 1 2 3 4 5 6 7 8 9; do (sleep 0.01 &); done; sleep 0.5; ps -o stat,args | grep -c "^Z"; sleep 1000'
wait_for 5 test -s "$C/zombies/log"
equal "$(container logs zombies)" 0

for id in $(container list); do container remove "$id"; done
equal "$(cgroup_directories)" '' 'cgroups are left'
