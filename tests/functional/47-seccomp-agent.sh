#!/usr/bin/env bash
# SCMP_ACT_NOTIFY: an agent outside of the container answers for its system calls, whichever they are.
# timeout: 120
source "$(dirname "$0")/common.sh"
source "$here/bundle.sh"
bundle b
python3 "$here/seccomp_agent.py" "$T/agent.sock" "$T/agent.log" & agent=$!
on_exit "kill $agent 2>/dev/null"
wait_for 5 test -S agent.sock
notify() { edit b '.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", listenerPath: $p, listenerMetadata: "mine", syscalls: [{names: $n, action: "SCMP_ACT_NOTIFY"}]}
  | del(.rayctl.seccomp) | .process.noNewPrivileges = $nnp' --arg p "$T/agent.sock" --argjson n "$1" --argjson nnp "$2"; }

# even the calls that a start itself needs may be held up
for privileges in true false; do
  for calls in '["mkdir"]' '["mkdir", "execve", "sendmsg", "recvmsg", "read", "close", "poll", "setgroups", "prctl", "openat"]'; do
    notify "$calls" $privileges
    edit b '.process.args = ["sh", "-c", "mkdir /tmp/fake /tmp/real && ls /tmp"]'
    rm -rf b/rootfs/tmp/real; expect 0 oci run -b b n
    equal "$(cat out)" real
  done
done
equal "$(jq -c '[.ociVersion, .fds, .metadata, .state.id, .state.status, .state.pid == .pid]' agent.log | sort -u)" '["1.2.0",["seccompFd"],"mine","n","creating",true]'

# create and start; a process that joins is answered too
edit b '.process.args = ["sleep", "1000"]'
on_exit "'$RAYCTL' oci delete -f n"
oci create -b b n </dev/null >/dev/null 2>&1
lines=$(wc -l <agent.log)
expect 0 oci start n
equal "$(wc -l <agent.log)" $((lines + 1)) 'the filter comes with the start'
expect 0 oci exec n sh -c 'mkdir /tmp/fake2 && ls /tmp'
equal "$(cat out)" real
equal "$(tail -n 1 agent.log | jq -c '[.state.id, .state.status, .state.pid != .pid]')" '["n","running",true]'
expect 0 oci delete -f n

# without an agent nothing starts, and nothing stays
kill $agent; wait $agent 2>/dev/null || true
expect 1 oci run -b b n
grep_quiet "error: handing the seccomp listener to its agent: cannot connect to '$T/agent.sock': Connection refused" err
oci create -b b n </dev/null >/dev/null 2>&1
expect 1 oci start n
grep_quiet 'handing the seccomp listener to its agent' err
wait_for 5 sh -c "'$RAYCTL' oci state n | grep -q stopped"
expect 0 oci delete n
equal "$(oci list -q)" ''
