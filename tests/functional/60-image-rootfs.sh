#!/usr/bin/env bash
# images/base/make-rootfs.sh: a Debian root with the shape of rayproject/ray, the same bytes each time, kept for the next run.
# timeout: 300
# network: host
source "$(dirname "$0")/common.sh"
need_root
need_command mmdebstrap
make_rootfs=$top/images/base/make-rootfs.sh
unset RAYCTL_ROOTFS_CACHE RAYCTL_APT_SOURCES SOURCE_DATE_EPOCH

context=$("$make_rootfs" 2>log) || { cat log >&2; fail 'make-rootfs.sh'; }
equal "$(ls -A "$context")" rootfs.tar 'the build context holds more than the root'
expect 0 "$make_rootfs"
equal "$(cat out)" "$context"
[ ! -s err ] || fail "the second run makes it again: $(cat err)"
RAYCTL_ROOTFS_CACHE=$T/again expect 0 "$make_rootfs"
mkdir root again-root && tar -xf "$context/rootfs.tar" -C root && tar -xf "$(cat out)/rootfs.tar" -C again-root
cmp "$(cat out)/rootfs.tar" "$context/rootfs.tar" || fail "two runs differ: $(diff <(tar -tvf "$(cat out)/rootfs.tar") <(tar -tvf "$context/rootfs.tar") | head -n 20) $(diff -r --no-dereference root again-root | head -n 20)"
SOURCE_DATE_EPOCH=1 RAYCTL_ROOTFS_CACHE=/dev/null/x expect 1 "$make_rootfs"  # another date is another root

equal "$(stat -c '%a %u' root/usr/bin/sudo)" '4755 0'
equal "$(find root/dev root/var/lib/apt/lists root/var/cache/apt root/var/log -type f -size +0 -o -type b -o -type c)" '' 'caches, logs, devices'
for file in etc/hostname etc/resolv.conf; do [ ! -e "root/$file" ] || fail "/$file is this machine's"; done
equal "$(find root -newermt '@1767225600' | head -n 3)" '' 'times'
grep_quiet '^deb .* bookworm main' root/etc/apt/sources.list.d/0000sources.list
in_root() { chroot root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
equal "$(in_root su ray -c 'id -un; id -u; id -g; echo $HOME; stat -c %U:%G $HOME' | xargs)" 'ray 1000 100 /home/ray ray:users'
equal "$(in_root su ray -c 'sudo -n id -u' 2>err)" 0 'sudo asks'
in_root su ray -c 'bash -c "command -v vim python3"' >out
# Compiled code that names its source by time would be stale: each start of Python would compile it again.
in_root python3 -v -c 'import json, asyncio' 2>trace
grep_none '# wrote|bytecode is stale' trace

expect 1 "$make_rootfs" --fresh
grep_quiet "cannot use '--fresh': the only option is --refresh" err
RAYCTL_APT_SOURCES=/dev/null expect 1 "$make_rootfs"
grep_quiet "cannot use '/dev/null': it has no line that begins with 'deb '" err
