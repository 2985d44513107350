#!/usr/bin/env bash
# What a configuration asks for is what the container has: mounts, devices, users, limits, namespaces, hooks.
# timeout: 240
source "$(dirname "$0")/common.sh"
source "$here/bundle.sh"
need_command gcc
bundle b
fresh() { rm -rf x; cp -a b x; }
with_mount() { edit x '.mounts += [$m]' --argjson m "$1"; }
mounted() { grep_quiet "$1" out; }

# the defaults: as docker has them
in_container 0 b 'mount; stat -c "%n %a %F" /dev/shm /dev/null /dev/pts/ptmx /tmp; ls -l /dev/ptmx; hostname'
mounted ' on /proc type proc \(rw,nosuid,nodev,noexec'
mounted ' on /sys type sysfs \(ro,nosuid,nodev,noexec'
mounted ' on /proc/sys type proc \(ro'
mounted ' on /sys/firmware type tmpfs \(ro'
mounted '^/dev/shm 1777 directory'
mounted '^/dev/null 666 character special file'
mounted '^/dev/pts/ptmx 666 character'
mounted '/dev/ptmx -> pts/ptmx'
mounted '^rayctl$'

# what is read-only in the end is filled before
fresh; edit x '(.mounts[] | select(.destination == "/dev")).options += ["ro"]'
with_mount '{"destination":"/ro","type":"tmpfs","source":"t","options":["ro"]}'
with_mount '{"destination":"/ro/below","type":"tmpfs","source":"t"}'
in_container 0 x 'ls -d /dev/null /dev/pts/ptmx; touch /ro/below/x && echo below; touch /dev/x /ro/x 2>/dev/null || echo refused; echo x >/dev/null && echo null'
equal "$(xargs <out)" '/dev/null /dev/pts/ptmx below refused null'

# bind mounts: files and directories, read-only, missing mount points, links in the image that stay inside
echo secret >file; mkdir -p dir/below; mount -t tmpfs below dir/below
fresh; ln -s /var x/rootfs/run
with_mount "{\"destination\":\"/run/a/b/file\",\"type\":\"bind\",\"source\":\"$T/file\",\"options\":[\"bind\",\"ro\"]}"
with_mount "{\"destination\":\"/d\",\"source\":\"$T/dir\",\"options\":[\"rbind\",\"ro\"]}"
with_mount "{\"destination\":\"/r\",\"source\":\"$T/dir\",\"options\":[\"rbind\",\"rro\",\"nosuid\"]}"
with_mount "{\"destination\":\"/n\",\"source\":\"../dir\",\"options\":[\"bind\"]}"
in_container 0 x 'cat /var/a/b/file; for p in /d/x /d/below/x /r/below/x /n/x; do touch $p 2>/dev/null && echo $p; done
  mount | grep " /n/below" ; grep " /r/below .*ro," /proc/self/mountinfo >/dev/null && echo rro'
equal "$(xargs <out)" 'secret /d/below/x /n/x rro'
[ -e dir/x ] || fail 'a bind mount is the host directory itself'
rm -f dir/x dir/below/x
fresh; with_mount "{\"destination\":\"/d\",\"source\":\"$T/dir\",\"options\":[\"bind\",\"idmap\"]}"; in_container 1 x true
fresh; with_mount "{\"destination\":\"/d\",\"source\":\"$T/dir\",\"options\":[\"bind\",\"size=1m\"]}"; in_container 0 x true
grep_quiet "warning: mount '/d': option 'size=1m' has no effect on a bind mount" err
fresh; with_mount '{"destination":"/d","source":"/nosuch","options":["bind"]}'
in_container 1 x true; grep_quiet "error: cannot bind '/nosuch' on '/d': No such file or directory" err
fresh; with_mount '{"destination":"/d","type":"tmpfs","source":"t","options":["size=lots"]}'
in_container 1 x true; grep_quiet "mounting '/d': cannot mount a 'tmpfs' with 'size=lots' \(the kernel says: .*\): Invalid" err

# a tmpfs keeps the mode of what it hides, and its content with tmpcopyup
fresh; mkdir -m 1750 x/rootfs/kept; mkdir x/rootfs/kept/sub; echo one >x/rootfs/kept/sub/f; chown 7:8 x/rootfs/kept/sub/f; ln -s sub/f x/rootfs/kept/l
with_mount '{"destination":"/kept","type":"tmpfs","source":"t","options":["tmpcopyup","ro","size=1m"]}'
in_container 0 x 'stat -c %a /kept; cat /kept/l; stat -c %u:%g /kept/sub/f; touch /kept/x 2>/dev/null || echo ro'
equal "$(xargs <out)" '1750 one 7:8 ro'

# a read-only root, and the host's own root as a volume (crun #2262)
fresh; edit x '.root.readonly = true'; with_mount '{"destination":"/host","source":"/","options":["rbind","ro"]}'
in_container 0 x 'touch /x 2>/dev/null || echo ro; ls /host/proc/1 >/dev/null && echo host; stat -c %a /dev/shm; touch /tmp/x 2>/dev/null || echo ro'
equal "$(xargs <out)" 'ro host 1777 ro'

# propagation: what the host mounts later appears in a slave and not in a private mount; nothing goes out
mkdir -p shared; mount -t tmpfs shared shared; mount --make-shared shared; mkdir shared/late
fresh
with_mount "{\"destination\":\"/s\",\"source\":\"$T/shared\",\"options\":[\"rbind\",\"rslave\"]}"
with_mount "{\"destination\":\"/p\",\"source\":\"$T/shared\",\"options\":[\"rbind\",\"rprivate\"]}"
mv x keep; background_container p keep
mount -t tmpfs late shared/late; touch shared/late/here
expect 0 oci exec p sh -c 'ls /s/late /p/late'; equal "$(xargs <out)" '/p/late: /s/late: here'
fresh; edit x '.linux.rootfsPropagation = "shared"'
with_mount "{\"destination\":\"/s\",\"source\":\"$T/shared\",\"options\":[\"rbind\",\"rshared\"]}"
in_container 0 x 'grep -c shared: /proc/self/mountinfo'
grep -q ' on .*rootfs' <(mount) && fail 'the root was mounted on the host'

# devices: nodes with owner and mode; the cgroup lets through what was asked for and nothing else
fresh; edit x '.linux.devices = [{"type":"c","path":"/dev/sub/kmsg","major":1,"minor":11,"fileMode":384,"uid":1,"gid":2}, {"type":"p","path":"/dev/fifo"}]'
in_container 0 x 'stat -c "%F %a %u %g %t:%T" /dev/sub/kmsg /dev/fifo; (exec </dev/sub/kmsg) 2>&1; echo x >/dev/null && head -c 1 /dev/zero | wc -c'
equal "$(sed -n 1,2p out | xargs)" 'character special file 600 1 2 1:b fifo 666 0 0 0:0'
grep_quiet 'Operation not permitted' out
equal "$(tail -n 1 out)" 1

# user, groups, umask, working directory (made when missing), HOME of the image's passwd
fresh; edit x '.process.user = {"uid":1000,"gid":100,"additionalGids":[44],"umask":63} | .process.cwd = "/a/b" | .process.capabilities.ambient = ["CAP_CHOWN"] | .process.capabilities.inheritable = ["CAP_CHOWN"]'
in_container 0 x 'id -u; id -G; umask; pwd; echo $HOME; grep CapEff /proc/self/status'
equal "$(xargs <out)" '1000 100 44 0077 /a/b /home/ray CapEff: 0000000000000001'

# setuid works, and with noNewPrivileges it doesn't
fresh
printf '#include <stdio.h>\n#include <unistd.h>\nint main(void) { return !printf("%%d\\n", geteuid()); }\n' >suid.c
gcc -static -o x/rootfs/bin/suid suid.c
chmod 4755 x/rootfs/bin/suid
edit x '.process.user = {"uid":1000,"gid":100} | .process.capabilities |= {bounding: .bounding}'
in_container 0 x 'id -u; suid'; equal "$(xargs <out)" '1000 0'
edit x '.process.noNewPrivileges = true'
in_container 0 x 'suid; grep -E "^(NoNewPrivs|Seccomp):" /proc/self/status'
equal "$(xargs <out)" '1000 NoNewPrivs: 1 Seccomp: 2'

# limits: what can't be granted is a warning, with strict an error
hard=$(ulimit -Hn)
fresh; edit x '.process.rlimits = [{"type":"RLIMIT_NOFILE","soft":100,"hard":200}, {"type":"RLIMIT_CORE","soft":0,"hard":0}]'
in_container 0 x 'ulimit -Sn; ulimit -Hn'; equal "$(xargs <out)" '100 200'
if ! prlimit --nofile=$((hard + 1)):$((hard + 1)) true 2>/dev/null; then
  edit x ".process.rlimits = [{\"type\":\"RLIMIT_NOFILE\",\"soft\":$((hard + 1)),\"hard\":$((hard + 1))}]"
  in_container 0 x 'ulimit -Hn'; equal "$(cat out)" "$hard"; grep_quiet 'warning: RLIMIT_NOFILE is' err
  edit x '.rayctl.strict = true'; in_container 1 x true; grep_quiet 'cannot set RLIMIT_NOFILE' err
fi
fresh; edit x '.process.oomScoreAdj = 500'; in_container 0 x 'cat /proc/self/oom_score_adj'; equal "$(cat out)" 500
fresh; edit x '.process.capabilities.bounding += ["CAP_NOSUCH"]'
in_container 0 x true; grep_quiet "warning: capability 'CAP_NOSUCH' is unknown and left out" err

# sysctls, names, personality, priorities
fresh; edit x '.linux.sysctl = {"net.ipv4.ip_forward":"1","kernel.shmmax":"12345","net/ipv4/conf/lo/forwarding":"1"} | .hostname = "box" | .domainname = "dom" | .linux.personality = {"domain":"LINUX32"} | .process.ioPriority = {"class":"IOPRIO_CLASS_IDLE","priority":0} | .process.scheduler = {"policy":"SCHED_BATCH","nice":5}'
in_container 0 x 'cd /proc/sys; cat net/ipv4/ip_forward kernel/shmmax kernel/hostname kernel/domainname; uname -m; cut -d" " -f19,41 /proc/self/stat'
equal "$(xargs <out)" '1 12345 box dom i686 5 3'

# namespaces: new ones differ, joined ones are the same
ip netns add "n$$"; on_exit "ip netns del n$$"
fresh; edit x '(.linux.namespaces[] | select(.type == "network")).path = $p | .linux.sysctl = {}' --arg p "/run/netns/n$$"
in_container 0 x 'readlink /proc/self/ns/net'
equal "$(cat out)" "$(ip netns exec "n$$" readlink /proc/self/ns/net)"
host=$(oci exec p sh -c 'for n in pid net ipc uts cgroup mnt; do readlink /proc/self/ns/$n; done' | xargs)
for n in pid net ipc uts cgroup mnt; do case $host in *$(readlink "/proc/self/ns/$n")*) fail "the $n namespace is the host's" ;; esac; done
peer=$(oci state p | jq .pid)
fresh; edit x '(.linux.namespaces[] | select(.type == "pid" or .type == "ipc" or .type == "uts")) |= (.path = "/proc/" + $p + "/ns/" + .type) | del(.hostname)' --arg p "$peer"
in_container 0 x 'cat /proc/1/cmdline | xargs -0'; equal "$(cat out)" 'sleep 1000'
fresh; edit x '.linux.namespaces += [{"type":"time"}] | .linux.timeOffsets = {"boottime":{"secs":864000}}'
in_container 0 x 'cut -d. -f1 /proc/uptime'; [ "$(cat out)" -gt 864000 ] || fail 'the time namespace has no offset'
before=$(readlink /proc/self/ns/time)
equal "$before" "$(readlink /proc/self/ns/time)"

# a user namespace
if probe_user_namespaces; then
  fresh; chmod 755 . ; chown -R 100000:100000 x/rootfs
  edit x '.linux.namespaces += [{"type":"user"}] | .linux.uidMappings = [{"containerID":0,"hostID":100000,"size":65536}] | .linux.gidMappings = .linux.uidMappings | .linux.sysctl = {}'
  in_container 0 x 'cat /proc/self/uid_map; id -u; touch /made; stat -c %u /made /dev/null; echo x >/dev/null'
  equal "$(xargs <out)" '0 100000 65536 0 0 65534'
  equal "$(stat -c %u x/rootfs/made)" 100000
  # what only the host's root reaches can be bound all the same; nodes are the host's, whatever they are called
  mkdir -p -m 700 closed/dir; echo reached >closed/dir/f; mount -t tmpfs shared closed/dir --make-shared; echo reached >closed/dir/f; mkdir closed/dir/sub
  cp -a x keep2
  edit x '.linux.devices = [{"path":"/dev/nil","type":"c","major":1,"minor":3}, {"path":"/dev/queue","type":"p","fileMode":420}]'
  with_mount "{\"destination\":\"/closed\",\"source\":\"$T/closed/dir\",\"options\":[\"bind\",\"ro\"]}"
  with_mount '{"destination":"/closed/sub","type":"tmpfs","source":"t"}'
  in_container 0 x 'cat /closed/f; touch /closed/x 2>/dev/null && echo written; echo x >/dev/nil; stat -c %F /dev/nil /dev/queue; sleep 0.2; touch /closed/sub/x && echo mounted' &
  inside=$!
  while kill -0 $inside 2>/dev/null; do grep_none " $T/closed/dir/sub" /proc/self/mountinfo; sleep 0.05; done
  wait $inside
  equal "$(xargs <out)" 'reached character special file fifo mounted'
  equal "$(grep -c " $T/closed/dir" /proc/self/mountinfo)" 1 'a mount of the container came back to the host'
  umount closed/dir; rm -rf x
  background_container u keep2
  expect 0 oci exec u sh -c 'id -u; id -G; cat /proc/self/uid_map; touch /by-exec'
  equal "$(xargs <out)" '0 0 0 100000 65536'
  equal "$(stat -c %u keep2/rootfs/by-exec)" 100000
  expect 0 oci delete -f u
fi

# hooks: each kind at its time with the state, a failing or hanging one ends the start
cat >hook.sh <<'H'
#!/bin/sh
name=$1; shift
printf '%s %s\n' "$name" "$(cat | sed -E 's/.*"status":"([a-z]*)".*/\1/')" >>"$LOG"
"$@"
H
chmod 755 hook.sh
fresh; cp hook.sh x/rootfs/hook.sh; touch x/rootfs/log
all='{}'
for kind in prestart createRuntime createContainer poststart poststop; do
  all=$(jq -c --arg k "$kind" --arg h "$T/hook.sh" --arg l "$T/log" '.[$k] = [{"path":$h,"args":["h",$k],"env":["PATH=/bin:/usr/bin","LOG=" + $l]}]' <<<"$all")
done
all=$(jq -c '.startContainer = [{"path":"/hook.sh","args":["h","startContainer"],"env":["PATH=/bin","LOG=/log"]}]' <<<"$all")
edit x '.hooks = $h' --argjson h "$all"
in_container 0 x 'cat /log'
equal "$(cat out)" 'startContainer creating'
equal "$(xargs <log)" 'prestart creating createRuntime creating createContainer creating poststart running poststop stopped'
fresh; edit x '.hooks.createRuntime = [{"path":"/bin/sh","args":["sh","-c","echo because; exit 3"]}]'
in_container 1 x true; grep_quiet "createRuntime hook '/bin/sh' failed: exit code 3: because" err
fresh; edit x '.hooks.createContainer = [{"path":"/bin/sleep","args":["sleep","20"],"timeout":1}]'
in_container 1 x true; grep_quiet "createContainer hook '/bin/sleep' did not end within 1 s" err
equal "$(oci list -q)" p

# without pivot_root, for hosts whose root is an initramfs
fresh; edit x '.process.args = ["sh", "-c", "ls -d /bin /work /root 2>/dev/null; mount | head -n 1"]'
expect 0 oci run --no-pivot -b x no-pivot
equal "$(head -n 1 out)" /bin

# refused by name
for change in '.linux.intelRdt = {}' '.process.selinuxLabel = "a"' '.linux.namespaces += [{"type":"user"}]' '.windows = {}' \
  '.mounts[0].uidMappings = []' '.linux.seccomp = {"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"x"} | del(.rayctl)' \
  '.process.apparmorProfile = "docker-default"' '.ociVersion = "2.0.0"'; do
  fresh; edit x "$change"; in_container 1 x true; grep_quiet '^error: (config.json|cannot use)' err
done
