#!/usr/bin/env bash
# PID 1 of a container: passes signals on, reaps orphans, ends as its child does, leaves the terminal to it.
source "$(dirname "$0")/common.sh"
need_root
need_command python3 setsid

as_pid_1() { unshare --pid --fork --kill-child --mount-proc "$RAYCTL" init "$@"; }

expect 7 as_pid_1 -- sh -c 'exit 7'
expect 0 as_pid_1 true
expect 143 as_pid_1 -- sh -c 'kill -TERM $$'
expect 127 as_pid_1 -- no-such-program
equal "$(cat err)" "rayctl init: cannot execute 'no-such-program': No such file or directory"
expect 126 as_pid_1 -- /etc/passwd
equal "$(cat err)" "rayctl init: cannot execute '/etc/passwd': Permission denied"
expect 2 as_pid_1 -x true
grep_quiet "unknown option" err
expect 2 as_pid_1

# nothing blocked, nothing ignored; the child is not PID 1 and leads its own process group
expect 0 as_pid_1 -- grep -E '^(SigBlk|SigIgn|NSpid|NSpgid):' /proc/self/status
equal "$(awk '{print $2}' out | sort | uniq -c | xargs)" '2 0000000000000000 2 2'

# orphans are reaped: 50 of them, none is left as a zombie
expect 0 as_pid_1 -- sh -c 'for i in $(seq 50); do (sleep 0.01 & ) ; done; sleep 0.3; ! grep -l "^State:.Z" /proc/[0-9]*/status'

# every signal goes to the child, only to it, or with -g to its group
cat >child.py <<'P'
import os, signal, sys
got = []
signal.signal(signal.SIGUSR1, lambda *a: got.append("USR1"))
signal.signal(signal.SIGWINCH, lambda *a: got.append("WINCH"))
signal.signal(signal.SIGRTMIN + 3, lambda *a: got.append("RTMIN+3"))
def end(*a): print(*got, flush=True); sys.exit(9)
signal.signal(signal.SIGTERM, end)
open("ready", "w").close()
while True: signal.pause()
P
signals_reach() {  # the pid of rayctl init as the host sees it, below `unshare`
  local init
  wait_for 5 test -e ready
  init=$(pgrep -P "$pid")
  for s in USR1 WINCH RTMIN+3 TERM; do kill -s "$s" "$init"; sleep 0.1; done
  local code=0; wait "$pid" || code=$?
  equal "$code" 9
}
unshare --pid --fork --kill-child --mount-proc "$RAYCTL" init -- python3 child.py >signals & pid=$!
signals_reach
equal "$(cat signals)" 'USR1 WINCH RTMIN+3'

for option in '' -g; do
  rm -f ready
  # a grandchild of the same group: it tells when it gets TERM
  unshare --pid --fork --kill-child --mount-proc "$RAYCTL" init $option -- sh -c \
    'trap "" TERM; (trap "echo grandchild; exit" TERM; : >ready; while :; do sleep 0.05; done) & wait; sleep 0.2; exit 3' >group$option & pid=$!
  wait_for 5 test -e ready
  kill -TERM "$(pgrep -P "$pid")"; sleep 0.4
  [ "$option" = -g ] || kill -KILL "$(pgrep -P "$pid")"
  wait "$pid" || true
done
equal "$(cat group)" '' 'a signal for the child reached its group'
equal "$(cat group-g)" grandchild

# on a terminal the child is in the foreground, and Ctrl-C is for it alone
cat >terminal.py <<'P'
import os, pty, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], [sys.argv[1], "init", "--", "sh", "-c",
             "trap 'echo interrupted; exit 5' INT; python3 -c 'import os; print(os.tcgetpgrp(0) == os.getppid())'; echo ready; while :; do sleep 0.05; done"])
text = b""
while b"ready" not in text: text += os.read(fd, 1000)
os.write(fd, b"\x03")
try:
    while True: text += os.read(fd, 1000)
except OSError: pass
print(text.decode().replace("\r", ""), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
P
expect 0 python3 terminal.py "$RAYCTL"
grep_quiet '^True$' out
grep_quiet '^(\^C)?interrupted$' out
grep_quiet '^ 5$' out

# small and quick: it is the first thing in every container
as_pid_1 -- sh -c 'awk "/^RssAnon|^RssShmem/ {sum += \$2} END {print sum}" /proc/1/status' >private
[ "$(cat private)" -lt 1024 ] || fail "$(cat private) KiB of private memory"
