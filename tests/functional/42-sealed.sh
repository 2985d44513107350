#!/usr/bin/env bash
# What runs in a container, or for it, can't be changed from there: CVE-2019-5736. And the copy is made where /run is noexec.
source "$(dirname "$0")/common.sh"
source "$here/containers.sh"

mkdir -p "$RAYCTL_RUN_DIR"
mount -t tmpfs -o noexec,mode=755 none "$RAYCTL_RUN_DIR"
for _ in 1 2 3 4 5 6; do container sealed & done >paths
wait
equal "$(sort -u paths | wc -l)" 1
sealed=$(head -n 1 paths)
equal "$(stat -c '%a %U' "$sealed")" '555 root'
cmp "$sealed" "$DRIVER"
equal "$(grep -c " $(dirname "$sealed") " /proc/self/mountinfo)" 1 'mounted more than once'
grep_quiet " $(dirname "$sealed") ro,.* tmpfs none ro," /proc/self/mountinfo
if (echo x >>"$sealed") 2>/dev/null; then fail 'the copy can be written'; fi
if touch "$(dirname "$sealed")/new" 2>/dev/null; then fail 'its file system can be written'; fi

before=$(sha256sum "$DRIVER" | cut -d ' ' -f 1)
# root in the container tries PID 1 and whatever an exec comes from, by path, by a held descriptor, and by remounting
run_container evil -- sh -c '
  for exe in /proc/1/exe /.rayctl/rayctl; do
    (exec 3<$exe; echo x >/proc/self/fd/3) 2>&1; (echo x >$exe) 2>&1; (echo x >>$exe) 2>&1; (cp /bin/busybox $exe) 2>&1; (rm -f $exe) 2>&1
  done
  mount -o remount,rw,bind /.rayctl/rayctl 2>&1; mount -o remount,rw /.rayctl/rayctl 2>&1; mount -t tmpfs none /.rayctl 2>&1
  echo tried
  i=0; while [ $i -lt 300 ]; do i=$((i+1)); for p in /proc/[0-9]*; do case $p in /proc/1|/proc/$$) ;; *) (echo x >$p/exe) 2>/dev/null && echo "WROTE $p" $(readlink $p/exe);; esac; done; done
  sleep 1000'
for _ in $(seq 30); do container exec evil -- true; done
wait_for 20 grep -q ' F tried$' "$C/evil/log"
container logs evil >log
grep_none 'WROTE.*rayctl' log
equal "$(sha256sum "$DRIVER" | cut -d ' ' -f 1)" "$before"
equal "$(sha256sum "$sealed" | cut -d ' ' -f 1)" "$before"
equal "$(readlink "/proc/$(container shim-pid evil)/exe")" "$sealed" 'the shim runs from another file'

container unseal  # in use: it stays
[ -x "$sealed" ]
container remove evil
unsealed() { container unseal; ! test -e "$sealed"; }
wait_for 5 unsealed
equal "$(find "$RAYCTL_RUN_DIR" -mindepth 1)" '' 'something is left in the run directory'
