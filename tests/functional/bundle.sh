#!/usr/bin/env bash
# For tests of containers: bundles with a busybox root, and how to run something in them.
need_root
need mount_namespaces
need_command busybox jq

oci() { "$RAYCTL" oci "$@"; }

# root_directory DIR: a root file system of busybox alone
root_directory() {
  mkdir -p "$1/bin" "$1/etc" "$1/tmp"
  cp "$(command -v busybox)" "$1/bin/busybox"
  "$1/bin/busybox" --list | sed "s|^|$1/bin/|" | grep -v '/busybox$' | xargs -n 1 ln -sf busybox
  printf 'root:x:0:0::/root:/bin/sh\nray:x:1000:100::/home/ray:/bin/sh\n' >"$1/etc/passwd"
  printf 'root:x:0:\nusers:x:100:\nvideo:x:44:ray\n' >"$1/etc/group"
}
# bundle DIR: a root directory and docker's config.json, without a terminal
bundle() {
  mkdir -p "$1"
  root_directory "$1/rootfs"
  oci spec -b "$1"
  edit "$1" '.process.terminal = false | .root.readonly = false'
}
edit() {  # DIR JQ-FILTER [JQ-OPTION...]
  local directory=$1 filter=$2; shift 2
  jq "$@" "$filter" "$directory/config.json" >"$directory/config.new"
  mv "$directory/config.new" "$directory/config.json"
}
# in_container CODE DIR SCRIPT: runs the script as the bundle's process; output in out and err as with expect
serial=0
in_container() {
  local code=$1 directory=$2
  edit "$directory" '.process.args = ["sh", "-c", $script]' --arg script "$3"
  serial=$((serial + 1))
  expect "$code" oci run -b "$directory" "t$$-$serial"
}
# background_container ID DIR: sleeps until it is killed at the test's end
background_container() {
  edit "$2" '.process.args = ["sleep", "1000"]'
  on_exit "'$RAYCTL' oci delete -f '$1'"
  oci run -d -b "$2" "$1" </dev/null >"$T/$1.log" 2>&1
}
# What the machine's control groups look like in the test's mount namespace: v1 | v2; hybrid is as it comes here.
cgroup_layout() {
  case $1 in
    v1) umount /sys/fs/cgroup/unified ;;
    v2) umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup ;;
  esac
}
