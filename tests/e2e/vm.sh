#!/usr/bin/env bash
# A Debian 12 virtual machine (QEMU) to try things in that this machine's kernel can't do. As root; no network set-up is needed.
#
#   tests/e2e/vm.sh start [NAME]            boots it and waits until one can log in (about 40 s without KVM); NAME: vm
#   tests/e2e/vm.sh ssh [-n NAME] CMD…      runs a command in it as root (no CMD: a shell); stdin goes along
#   tests/e2e/vm.sh put [-n NAME] FILE… DIR copies files into it
#   tests/e2e/vm.sh console [NAME]          what it wrote to its console
#   tests/e2e/vm.sh list                    machines, with their addresses
#   tests/e2e/vm.sh stop [NAME|--all]       ends it, and removes its disk
#   tests/e2e/vm.sh prepare                 makes key and machine image alone, and prints the image's directory
#
# Machines see each other at 10.201.N.15 (`list`: private), the host's loopback at 10.201.255.254, and the world through
# it. Kernel 6.1 has WireGuard, VXLAN, nftables, overlayfs, cgroup v2; wireguard-tools, iperf3, tcpdump, nftables are there.
# VM_SIZE=2x2 (CPUs x GiB), VM_USER_DATA=FILE (instead of a login for root; then VM_USER=debian, who may sudo),
# VM_IMAGE=DIRECTORY (instead of the one that `prepare` makes), VM_PACKAGES='more packages'.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export PATH=$PATH:/usr/sbin:/sbin
state=${VM_STATE:-/var/tmp/rayctl-vm}
cluster=vm
user=${VM_USER:-root}
driver=${RAYCTL_BUILD:-$top/build/dev}/drivers/machine  # `make functional` and `make e2e` build it in their own mode
export RAYCTL_MACHINES=${RAYCTL_MACHINES:-/var/cache/rayctl/machines}

fail() { echo "vm.sh: $*" >&2; exit 1; }
machine() { "$driver" "$state" "$@"; }
address() { machine list $cluster | jq -re --arg key "$1" '.[] | select(.key == $key) | .public' || fail "no machine '$1' runs"; }
name_option() { name=vm; if [ "${1-}" = -n ]; then name=$2; shift 2; fi; rest=("$@"); }
ssh_options=(-i "$state/key" -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR -o ConnectTimeout=5
  -o ServerAliveInterval=15)

# Debian's machine image of images/machine, with tools for network tests
vm_image() {
  RAYCTL_MACHINE_PACKAGES="wireguard-tools iperf3 tcpdump nftables iputils-ping python3 busybox-static jq ${VM_PACKAGES-}" \
    "$top/images/machine/make-machine.sh"
}

prepare() {
  "$top/tests/deps/deps.sh" e2e
  mkdir -p "$state"
  exec 8>"$state/lock"; flock 8
  [ -s "$state/key" ] || ssh-keygen -q -t ed25519 -N '' -C vm.sh -f "$state/key"
  [ -x "$driver" ] || make -C "$top" MODE=dev "$driver" >&2
  vm_image
}

start() {
  local name=${1:-vm} image host began=$SECONDS
  image=$(prepare)
  image=${VM_IMAGE:-$image}
  if [ ! -f "${VM_USER_DATA-}" ]; then
    printf '#cloud-config\ndisable_root: false\nssh_authorized_keys: ["%s"]\n' "$(cat "$state/key.pub")" >"$state/user-data"
  fi
  machine prepare $cluster >/dev/null
  machine boot $cluster "$name" size="${VM_SIZE:-2x2}" image="$image" user-data="${VM_USER_DATA:-$state/user-data}" key="$(cat "$state/key.pub")"
  host=$(address "$name")
  until ssh "${ssh_options[@]}" "$user@$host" true 2>/dev/null; do
    [ $((SECONDS - began)) -lt "${VM_PATIENCE:-300}" ] || { machine console $cluster "$name" | tail -n 40; fail "no login at $host"; }
    sleep 1
  done
  echo "ready after $((SECONDS - began)) s: tests/e2e/vm.sh ssh${1:+ -n $1}" >&2
}

case ${1-} in
prepare) prepare ;;
start) start "${2-}" ;;
ssh)
  shift; name_option "$@"
  exec ssh "${ssh_options[@]}" "$user@$(address "$name")" "${rest[@]}" ;;
put)
  shift; name_option "$@"
  host=$(address "$name")
  exec scp -q -r "${ssh_options[@]}" "${rest[@]:0:${#rest[@]}-1}" "$user@$host:${rest[-1]}" ;;
console) machine console $cluster "${2:-vm}" ;;
list) machine list $cluster | jq -c '.[]' ;;
stop)
  if [ "${2-}" = --all ]; then
    machine list $cluster | jq -r '.[].key' | while read -r name; do machine terminate $cluster "$name" >/dev/null; done
    machine sweep $cluster
  else
    machine terminate $cluster "${2:-vm}" >/dev/null
  fi ;;
*) sed -n '2,/^set/{/^#/p}' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
esac
