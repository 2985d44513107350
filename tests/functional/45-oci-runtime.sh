#!/usr/bin/env bash
# The OCI command line: life of a container, its state, the messages and files that engines read.
source "$(dirname "$0")/common.sh"
source "$here/bundle.sh"
bundle b

# the whole life, one command after the other
edit b '.process.args = ["sh", "-c", "echo started; exec sleep 1000"]'
on_exit "'$RAYCTL' oci delete -f life"
oci create life -b b --pid-file pid </dev/null >life.log 2>&1
equal "$(wc -l <pid)" 0 'a pid file ends without a newline'
expect 0 oci state life
equal "$(jq -r '[.ociVersion, .id, .status, .bundle, .rootfs, .owner] | join(" ")' out)" "1.2.0 life created $T/b $T/b/rootfs root"
equal "$(jq .pid out)" "$(cat pid)"
jq -e '.created | test("^2[0-9]{3}-[0-9]{2}-[0-9]{2}T.*Z$")' out >/dev/null
grep_none started life.log
expect 1 oci create life -b b
grep_quiet "error: cannot create container 'life': a container of that id already exists" err
oci start life
wait_for 5 grep -q started life.log
equal "$(oci state life | jq -r .status)" running
expect 1 oci start life
grep_quiet "cannot start container 'life': it is running" err
expect 1 oci delete life
grep_quiet "cannot delete container 'life': it is running \(stop it first, or use --force\)" err
equal "$(oci list -q)" life
equal "$(oci list -f json | jq -r '.[0].status')" running
equal "$(oci ps -f json life)" "[$(cat pid)]"
expect 0 oci pause life
equal "$(oci state life | jq -r .status)" paused
expect 1 oci exec life true
grep_quiet 'it is paused' err
expect 0 oci resume life
expect 1 oci resume life
expect 0 oci events --stats life
jq -e '.type == "stats" and .data.pids.current == 1' out >/dev/null
expect 0 oci kill life 10   # USR1: nobody listens, PID 1 lives on
expect 0 oci kill -a life SIGKILL
wait_for 5 sh -c "'$RAYCTL' oci state life | grep -q '\"status\": \"stopped\"'"
expect 1 oci kill life TERM
grep_quiet 'container not running' err
expect 0 oci delete life
expect 1 oci state life
grep_quiet "error: container 'life' does not exist" err
expect 1 oci delete life
expect 0 oci delete -f life

# exit codes, stdio, environment, log file, id before and after the options
edit b '.process.args = ["sh", "-c", "read x; echo got $x; echo bad >&2; exit 42"]'
code=0; echo hello | oci run x1 -b b >out 2>err || code=$?
equal "$code $(cat out) $(cat err)" '42 got hello bad'
edit b '.process.args = ["nosuch"]'
expect 1 oci --log "$T/log" --log-format json run -b b x2
equal "$(jq -r '.level + " " + .msg' log)" "error cannot run 'nosuch': executable file not found in \$PATH"
equal "$(oci list -q)" ''
expect 1 oci create x2 -b b   # found out before start
edit b '.process.args = ["/etc/passwd"]'
expect 1 oci run -b b x2
grep_quiet "cannot run '/etc/passwd': Permission denied" err

# a program that can't be executed after all is the error of start
printf '#!/nosuch\n' >b/rootfs/script; chmod 755 b/rootfs/script
edit b '.process.args = ["/script"]'
oci create x3 -b b </dev/null >/dev/null 2>&1
expect 1 oci start x3
grep_quiet "cannot run '/script' \(the file is there: its interpreter or loader is not\): No such file" err
oci delete x3

# a created container can be deleted; ids, cgroup paths and wrong lines
edit b '.process.args = ["true"]'
oci create x4 -b b </dev/null >/dev/null 2>&1
expect 0 oci delete x4
for id in ../x . .x a/b "a b" ''; do expect 2 oci run -b b "$id"; done
edit b '.linux.cgroupsPath = "/a/../../b"'; expect 1 oci run -b b x5; grep_quiet "it has a '..'" err
edit b '.linux.cgroupsPath = "a.slice:b:c"'; expect 1 oci run -b b x5; grep_quiet 'systemd driver' err
edit b 'del(.linux.cgroupsPath)'
expect 2 oci run -b b --nosuch x5
expect 2 oci nosuch
expect 2 oci --systemd-cgroup list
expect 1 oci checkpoint x
expect 0 oci --version; grep_quiet '^oci-rayctl version [0-9.]+$' out
expect 0 oci features; jq -e '.linux.cgroup.v1 and .linux.cgroup.v2 and (.hooks | length) == 6' out >/dev/null
ln -s "$RAYCTL" oci-rayctl
expect 0 ./oci-rayctl list -q
equal "$(find "$RAYCTL_RUN_DIR/oci" -mindepth 1)" '' 'nothing is left behind'

# exec: user by name, cwd, environment, capability, process file, exit code, detached with pid file
background_container e b
expect 0 oci exec -u ray --cwd /tmp -e A=1 e sh -c 'echo $(id -u):$(id -g):$(id -G) $PWD $A $HOME'
equal "$(cat out)" '1000:100:100 44 /tmp 1 /home/ray'
expect 0 oci exec -u 7:8 e id
equal "$(cat out)" 'uid=7 gid=8'
expect 1 oci exec -u nobody e id
grep_quiet "the image's /etc/passwd has no user 'nobody'" err
expect 9 oci exec e sh -c 'exit 9'
expect 1 oci exec e nosuch
expect 0 oci exec --cap SYS_PTRACE e grep -E 'Cap(Inh|Eff)' /proc/self/status
equal "$(awk '{print $2}' out | xargs)" '0000000000000000 00000000a80c25fb'
echo '{"args":["sh","-c","echo $X; pwd"],"env":["X=file","PATH=/bin"],"cwd":"/etc","user":{"uid":0,"gid":0}}' >process.json
expect 0 oci exec -p process.json e
equal "$(xargs <out)" 'file /etc'
expect 0 oci exec -d --pid-file pid2 e sleep 500
kill -0 "$(cat pid2)"
equal "$(oci ps e | wc -l)" 3

# update
expect 0 oci update --memory 67108864 --pids-limit 50 e
expect 0 oci exec e cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max
equal "$(xargs <out)" '67108864 50'
expect 0 oci update --memory 65M e  # as runc takes it
equal "$(oci exec e cat /sys/fs/cgroup/memory/memory.limit_in_bytes)" 68157440
echo '{"memory":{"limit":71303168}}' | oci update -r - e
equal "$(oci exec e cat /sys/fs/cgroup/memory/memory.limit_in_bytes)" 71303168

# a profile is compiled once; an entry that isn't the profile's own, or where others may write, does not count
bundle s
edit s '.linux.seccomp = {"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["chmod","fchmodat","fchmodat2"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]} | del(.rayctl)'
cache=$RAYCTL_RUN_DIR/seccomp
for i in 1 2; do in_container 0 s 'chmod 700 /tmp 2>&1; true'; grep_quiet 'Function not implemented' out; done
equal "$(find "$cache" -type f | wc -l) $(stat -c %a "$cache")" '1 700'
printf x | dd of="$(find "$cache" -type f)" conv=notrunc 2>dd.log
in_container 0 s 'chmod 700 /tmp 2>&1; true'; grep_quiet 'Function not implemented' out
edit s '.linux.seccomp.syscalls[0].errnoRet = 1'
in_container 0 s 'chmod 700 /tmp 2>&1; true'; grep_quiet 'not permitted' out
equal "$(find "$cache" -type f | wc -l)" 2
find "$cache" -type f -exec truncate -s -8 {} +   # shorter programs: not taken when they may be another's
chmod 777 "$cache"
in_container 0 s 'chmod 700 /tmp 2>&1; true'; grep_quiet 'not permitted' out
