#!/usr/bin/env bash
# A container with a shim: what it sees, what is recorded, and that nothing is left of it.
source "$(dirname "$0")/common.sh"
source "$here/containers.sh"

run_container one -- sh -c 'echo out; echo err >&2; hostname; id; ls -l /proc/1/fd /proc/self/fd; cat /etc/hosts; exit 3'
equal "$(container wait one)" 'exit code 3'
equal "$(container state one)" stopped
container logs one >log
grep_quiet '^out$' log
grep_quiet '^err$' log
grep_quiet '^one$' log
grep_quiet '^uid=0\(root\) gid=0\(root\)' log
grep_quiet '^127.0.0.1 localhost$' log
grep_quiet 'stderr F err$' "$C/one/log"
# 0, 1, 2 of PID 1 and of ls
equal "$(grep -c -- ' -> ' log)" 6 "descriptors leak: $(grep -- ' -> ' log)"
equal "$(field one code)" 3
equal "$(field one oom)" false
grep_quiet '"started": "20..-..-..T..:..:..\.[0-9]{9}Z"' "$C/one/exit.json"
[ ! -s "$C/one/shim.log" ] || fail "the shim complains: $(cat "$C/one/shim.log")"

# again, in the same directory: a new run, the same log
container start one
container wait one
equal "$(container logs one | grep -c '^out$')" 2

# what can't start says why, leaves no process and no cgroup, and records it
container create bad "$T/rootfs" -g -- /no/such/program
expect 1 container start bad
equal "$(cat err)" "starting container 'bad': cannot run '/no/such/program': No such file or directory"
equal "$(field bad error)" "cannot run '/no/such/program': No such file or directory"
expect 1 container start nothing
equal "$(cat err)" "cannot find container 'nothing': there is none in '$C'"
for id in ../x '' .x 'a b'; do
  expect 1 container state "$id"
  grep_quiet "^cannot use container id" err
done
expect 1 container exec one -- true
equal "$(cat err)" "cannot reach container 'one': it is not running"

# /etc/hosts is one file with the host's: a change shows at once
run_container two -- sleep 1000
equal "$(container state two)" running
expect 1 container start two
equal "$(cat err)" "cannot start container 'two': it is running"
echo '10.0.0.1 head.q' >>"$C/two/hosts"
equal "$(container exec two -- tail -n 1 /etc/hosts)" '10.0.0.1 head.q'

# the shim is small, holds nothing of its starter, and nobody else may talk to it
shim=$(container shim-pid two)
rss=$(awk '/^VmRSS/ {print $2}' "/proc/$shim/status")
[ "$rss" -le 4096 ] || fail "the shim takes $rss KiB"
equal "$(readlink "/proc/$shim/fd/0")" /dev/null
equal "$(stat -c %a "$C/two/shim.sock")" 600
equal "$(awk '/^Threads/ {print $2}' "/proc/$shim/status")" 1

# pause: nothing runs, and an exec is refused instead of hanging
container freeze two
expect 1 container exec two -- true
equal "$(cat err)" 'cannot execute: the container is paused'
container thaw two
container exec two -- true

container remove two
container remove one
container remove bad
equal "$(container list)" ''
equal "$(cgroup_directories)" '' 'cgroups are left'
equal "$(ls -A "$C")" ''
expect 1 kill -0 "$shim"
