#!/usr/bin/env bash
# For tests of src/run: `source "$(dirname "$0")/containers.sh"` after common.sh. The command `container` is the driver
# tests/drivers/container.cc; $T/rootfs holds a busybox and a few users; containers are in $C, their cgroups below
# $CGROUP, which is gone at the end or the test fails.
need_root
need_command busybox
DRIVER=${RAYCTL_BUILD:-$top/build/release}/drivers/container
[ -x "$DRIVER" ] || fail "no $DRIVER: type: make functional"
container() { "$DRIVER" "$@"; }
export C=$T/containers CGROUP=/rayctl-test-${T##*.}

make_rootfs() {  # DIRECTORY
  local applet
  mkdir -p "$1"/{bin,etc,tmp,home/ray}
  cp "$(command -v busybox)" "$1/bin/busybox"
  for applet in $(busybox --list | grep -v '^busybox$'); do ln -s busybox "$1/bin/$applet"; done
  printf 'root:x:0:0::/root:/bin/sh\nray:x:1000:100::/home/ray:/bin/sh\n' >"$1/etc/passwd"
  printf 'root:x:0:\nusers:x:100:\nadm:x:4:ray\n' >"$1/etc/group"
}
make_rootfs "$T/rootfs"

cgroup_directories() { find /sys/fs/cgroup -type d -path "*$CGROUP*" 2>/dev/null; }
cleanup_cgroups() {
  local file
  find /sys/fs/cgroup -path "*$CGROUP*" -name freezer.state 2>/dev/null | while read -r file; do echo THAWED >"$file"; done
  find /sys/fs/cgroup -path "*$CGROUP*" -name cgroup.procs 2>/dev/null | xargs -r cat | sort -u | xargs -r kill -9
  sleep 0.2
  cgroup_directories | sort -r | xargs -r rmdir
}
on_exit cleanup_cgroups

# run_container ID [OPTION…] -- ARGV…: creates and starts it
run_container() {
  local id=$1; shift
  container create "$id" "$T/rootfs" "$@"
  container start "$id"
}
field() { sed -nE "s/.*\"$2\": \"?([^\",]*)\"?,?$/\1/p" "$C/$1/exit.json"; }  # ID KEY, of exit.json
milliseconds() { date +%s%3N; }
