#!/usr/bin/env bash
# What hostile images, volumes and processes tried with other runtimes: a check for each (numbers of CVEs).
# timeout: 240
source "$(dirname "$0")/common.sh"
source "$here/bundle.sh"
need seccomp
bundle b
mkdir victim volume
untouched() { equal "$(ls -A victim)" '' "$1: the host was changed"; }
without() { edit "$1" "del(.mounts[] | select(.destination == \"$2\" or (.destination | startswith(\"$2/\"))))"; }
fresh() { rm -rf x; cp -a b x; }

# 2019-5736: the runtime's own executable, seen from inside, can't be written, not even once nobody runs it
sum=$(sha256sum <"$RAYCTL")
background_container e b
oci exec -d e /proc/self/exe init -- sleep 5 >e2.log 2>&1 </dev/null
expect 0 oci exec e sh -c 'for p in /proc/[0-9]*; do readlink $p/exe | grep -q rayctl && echo ${p#/proc/}; done; true'
inside=$(head -n 1 out)
[ -n "$inside" ] || fail 'the test must see a process whose executable is rayctl'
expect 0 oci exec e sh -c "exec 3</proc/$inside/exe; (echo x >/proc/$inside/exe) 2>&1; kill -9 $inside; sleep 0.2
  (echo x >/proc/self/fd/3) 2>&1; true"
equal "$(grep -cE 'Text file busy|Read-only file system' out)" 2
equal "$(sha256sum <"$RAYCTL")" "$sum"

# 2016-9962: at no time before its program runs can a process of the container look into the new one
if probe_user_namespaces; then
  fresh
  edit x '.linux.namespaces += [{"type": "user"}] | .process.args = ["true"]
    | .linux.uidMappings = [{"containerID": 0, "hostID": 100000, "size": 65536}] | .linux.gidMappings = .linux.uidMappings
    | del(.mounts[] | select(.destination == "/sys/fs/cgroup")) | .linux.sysctl = {}'
  chmod 755 . "$T"; chown -R 100000:100000 x/rootfs
  on_exit "'$RAYCTL' oci delete -f dump"
  oci create dump -b x </dev/null >dump.log 2>&1 || fail "$(cat dump.log)"
  equal "$(stat -c %u "/proc/$(oci state dump | jq .pid)/exe" "/proc/$(oci state dump | jq .pid)/fd" | xargs)" '0 0' 'it is dumpable'
fi

# 2022-29162, 24769, 27650: nothing is inheritable
in_container 0 b 'grep CapInh /proc/self/status'
equal "$(awk '{print $2}' out)" 0000000000000000

# 2016-3697, 2024-40635, 2026-30892: numbers are numbers, whole and in range
for user in 4294967296 4294967295 1000x -1 99999999999999999999 0:4294967296 'ray:' $'ray\nroot'; do
  expect 1 oci exec -u "$user" e id
done
fresh; edit x '.process.user.uid = 4294967296'; in_container 1 x id; grep_quiet 'process.user.uid: 4294967296 is out of range' err
edit x '.process.user.uid = -1'; in_container 1 x id

# 2019-16884, 19921, 2023-27561, 28642: /proc and /sys can't be replaced
for directory in proc sys; do
  fresh; rm -rf "x/rootfs/$directory"; ln -s /tmp "x/rootfs/$directory"
  in_container 1 x true; grep_quiet 'is a symbolic link in the image' err
done
fresh; edit x '.mounts += [{"destination": "/proc", "type": "bind", "source": $v, "options": ["bind"]}]' --arg v "$T/volume"
in_container 1 x true; grep_quiet "cannot mount on '/proc': it is inside /proc" err
fresh; ln -s /proc x/rootfs/innocent
edit x '.mounts += [{"destination": "/innocent/sys", "type": "bind", "source": $v, "options": ["bind"]}]' --arg v "$T/volume"
in_container 1 x true; grep_quiet "cannot mount on '/innocent/sys': it is inside /proc" err

# 2021-30465, 2024-45310: a volume whose directories turn into links under our hands
fresh; mkdir volume/sub; ln -s "../../../../../../../../../../$T/victim" volume/link
edit x '.mounts += [{"destination": "/v", "type": "bind", "source": $v, "options": ["rbind"]},
  {"destination": "/v/sub/deep", "type": "tmpfs", "source": "tmpfs"}]' --arg v "$T/volume"
edit x '.process.args = ["touch", "/v/sub/deep/mark"]'
cat >swap.py <<'P'
import ctypes
libc = ctypes.CDLL(None)
while True: libc.renameat2(-100, b"volume/sub", -100, b"volume/link", 2)
P
python3 swap.py & swapper=$!
on_exit "kill $swapper"
for i in $(seq 40); do oci run -b x "race$i" >>race.log 2>&1 </dev/null || true; done
kill "$swapper"
untouched 'racing links'
rm -rf volume/*; ln -s "$T/victim" volume/link
edit x '(.mounts[] | select(.destination == "/v/sub/deep")).destination = "/v/link/made"'
in_container 0 x true
untouched 'a link to a path of the host'
[ -d "x/rootfs$T/victim/made" ] || fail 'the link leads to the same path within the container'

# 2024-21626: no descriptor of the host leads out through the working directory
for fd in $(seq 3 20); do
  fresh; edit x ".process.cwd = \"/proc/self/fd/$fd\""; in_container 1 x 'cat etc/hostname'
  expect 1 oci exec --cwd "/proc/self/fd/$fd" e ls
done
# … and none is open: in the container, in an exec, in hooks
fds='cd /proc/self/fd; for f in *; do [ -e $f ] && open="$open $f"; done; echo $open'
in_container 0 b "$fds"; equal "$(cat out)" '0 1 2'
expect 0 oci exec e sh -c "$fds"; equal "$(cat out)" '0 1 2'
fresh; edit x '.process.args = ["sh", "-c", $s]' --arg s "$fds"
exec 3</dev/null 4</dev/null 5</dev/null
expect 0 oci run --preserve-fds 2 -b x keep; equal "$(cat out)" '0 1 2 3 4'
exec 3<&- 4<&- 5<&-

# 2025-31133, 52565: device files of the image aren't trusted
fresh; without x /dev; rm -rf x/rootfs/dev; mkdir x/rootfs/dev; ln -s /etc/passwd x/rootfs/dev/null
in_container 1 x true; grep_quiet "cannot make device '/dev/null': something else is there" err
fresh; without x /dev; rm -rf x/rootfs/dev; mkdir -p x/rootfs/dev/pts; ln -s /etc/passwd x/rootfs/dev/console
edit x '.process.terminal = true | .mounts += [{"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666"]}]'
in_container 1 x true; grep_quiet "'/dev/console': a part of that path is a symbolic link" err
in_container 0 b 'stat -c %t:%T /proc/keys; chmod 0 /proc/keys 2>&1; stat -c %a /proc/keys'
equal "$(grep -v chmod out | xargs)" '1:3 666'
grep_quiet 'Read-only file system' out

# 2026-41579, 47766: /dev as a link
fresh; without x /dev; rm -rf x/rootfs/dev; ln -s ../../victim x/rootfs/dev
in_container 1 x true; grep_quiet "making device '/dev/null': cannot open '/dev'" err
untouched '/dev as a link'
fresh; rm -rf x/rootfs/dev; ln -s ../../victim x/rootfs/dev
in_container 1 x true
untouched '/dev as a link below a tmpfs'

# 2025-52881: what the runtime writes to /proc is where it should be, and only what belongs to the container
for name in kernel.core_pattern kernel.sysrq vm.swappiness net/../kernel/core_pattern /kernel/hostname kernel; do
  fresh; edit x ".linux.sysctl = {\"$name\": \"0\"}"; in_container 1 x true; grep_quiet "cannot set sysctl '$name'" err
done
fresh; edit x 'del(.linux.namespaces[] | select(.type == "network")) | .linux.sysctl = {"net.ipv4.ip_forward": "1"}'
in_container 1 x true; grep_quiet 'it needs a network namespace' err

# 2022-0492: no control file can be written, no new mounts or namespaces made
in_container 0 b 'for f in $(find /sys/fs/cgroup -name release_agent -o -name cgroup.procs -o -name cgroup.max.depth); do (echo 0 >$f) 2>&1; done
  mount -t tmpfs x /tmp 2>&1; unshare -m true 2>&1; true'
equal "$(grep -cE 'Operation not permitted|permission denied' out)" 2
equal "$(grep -c cgroup out)" "$(grep -c 'Read-only file system' out)"

# 2023-25809: nor where there is no cgroup namespace
fresh; edit x 'del(.linux.namespaces[] | select(.type == "cgroup"))'
in_container 0 x 'for f in $(find /sys/fs/cgroup -name cgroup.procs); do (echo 0 >$f) 2>&1 | grep -v "Read-only" ; done; true'
equal "$(cat out)" ''

# 2020-15257: what waits for `start` waits on a path of root's alone
edit b '.process.args = ["true"]'
on_exit "'$RAYCTL' oci delete -f wait"
oci create wait -b b </dev/null >wait.log 2>&1
equal "$(stat -c %a "$RAYCTL_RUN_DIR/oci/wait")" 700
grep_none '@.*start' /proc/net/unix

# 2025-23266: a hook has its own environment only, and an absolute path
cat >hook.sh <<'H'
#!/bin/sh
{ /usr/bin/env; ls /proc/self/fd | xargs; cat; } >"$(dirname "$0")/hook.out"
H
chmod 755 hook.sh
fresh; edit x '.process.env += ["LD_PRELOAD=/evil.so"] | .hooks = {"createRuntime": [{"path": $h, "env": ["A=1"]}]}' --arg h "$T/hook.sh"
in_container 0 x true
grep_none 'LD_PRELOAD|RAYCTL|HOME' hook.out
grep_quiet '^A=1$' hook.out
edit x '.hooks.createRuntime[0].path = "hook.sh"'; in_container 1 x true; grep_quiet 'is not an absolute path' err
