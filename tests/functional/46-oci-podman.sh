#!/usr/bin/env bash
# podman drives `rayctl oci` through a container's life, as it drives crun and runc: the same checks on all three.
# timeout: 300
source "$(dirname "$0")/common.sh"
source "$here/bundle.sh"
need memory_controller
need_command podman crun runc
[ ! -d /sys/fs/cgroup/unified ] || cgroup_layout v1   # crun refuses the hybrid layout
root_directory root
tar -C root -cf image.tar .
ln -s "$RAYCTL" oci-rayctl

unset DOCKER_CONFIG  # podman wants the file to be there
round_trip() {
  local engine=(podman --root "$T/$1" --runroot "$T/$1-run" --storage-driver vfs --cgroup-manager=cgroupfs
    --events-backend file --runtime "$2")
  local flags=(--network none --ulimit nofile=256:256 --ulimit nproc=4096:4096)
  on_exit "${engine[*]} rm -fa -t 0"
  [ -d "$T/$1" ] || "${engine[@]}" import image.tar busybox >/dev/null 2>&1
  expect 5 "${engine[@]}" run --rm "${flags[@]}" busybox sh -c 'echo out; exit 5'; equal "$(cat out)" out
  expect 0 "${engine[@]}" run -d --name c --memory 64m "${flags[@]}" busybox sleep 1000
  expect 0 "${engine[@]}" exec c sh -c 'cat /proc/1/cmdline | xargs -0; cat $(find /sys/fs/cgroup -name memory.limit_in_bytes -o -name memory.max)'
  equal "$(xargs <out)" 'sleep 1000 67108864'
  expect 9 "${engine[@]}" exec c sh -c 'exit 9'
  expect 127 "${engine[@]}" exec c nosuch
  expect 0 "${engine[@]}" exec -t c tty; grep_quiet '^/dev/pts/0' out
  expect 0 "${engine[@]}" exec -u ray -w /tmp c sh -c 'id -u; pwd'; equal "$(xargs <out)" '1000 /tmp'
  expect 0 "${engine[@]}" pause c
  equal "$("${engine[@]}" inspect -f '{{.State.Status}}' c)" paused
  expect 0 "${engine[@]}" unpause c
  expect 0 "${engine[@]}" update --memory 80m c
  expect 0 "${engine[@]}" exec c sh -c 'cat $(find /sys/fs/cgroup -name memory.limit_in_bytes -o -name memory.max)'
  equal "$(cat out)" 83886080
  expect 0 "${engine[@]}" kill -s USR1 c
  expect 0 "${engine[@]}" stop -t 1 c
  equal "$("${engine[@]}" inspect -f '{{.State.ExitCode}}' c)" 137
  expect 0 "${engine[@]}" start c
  expect 0 "${engine[@]}" rm -f -t 0 c
  expect 127 "${engine[@]}" run --rm "${flags[@]}" busybox nosuch
  expect 126 "${engine[@]}" run --rm "${flags[@]}" busybox /etc/passwd
  expect 0 "${engine[@]}" run --rm -t "${flags[@]}" busybox tty; grep_quiet '^/dev/pts/0' out
  mkdir -p "$T/v"
  expect 1 "${engine[@]}" run --rm --read-only --tmpfs /t:size=1m --user ray -v "$T/v:/v:ro" "${flags[@]}" busybox \
    sh -c 'id -u; touch /t/x && echo tmpfs; touch /v/x'
  equal "$(xargs <out)" '1000 tmpfs'
  expect 0 "${engine[@]}" run --rm --privileged "${flags[@]}" busybox ls /dev/null
  expect 0 "${engine[@]}" run --rm --cap-drop all --security-opt no-new-privileges "${flags[@]}" busybox grep -E 'CapEff|NoNew|Seccomp:' /proc/self/status
  equal "$(awk '{print $2}' out | xargs)" '0000000000000000 1 2'
  expect 0 "${engine[@]}" run --rm --pid host --ipc host --uts host "${flags[@]}" busybox readlink /proc/self/ns/uts
  equal "$(cat out)" "$(readlink /proc/self/ns/uts)"
  equal "$("${engine[@]}" ps -aq)" ''
}
round_trip rayctl "$T/oci-rayctl"
round_trip crun "$(command -v crun)"
round_trip runc "$(command -v runc)"
