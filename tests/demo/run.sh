#!/usr/bin/env bash
# make demo: builds the Ray image, pushes it to a registry, starts a head and two workers that pull it from there, each
# on a "machine" of its own (network namespaces on this one), and runs scripts/driver.py on the head.
#   make demo KEEP=1   leaves the cluster up until Ctrl-C and says how to look around
# What stays for the next run: packages, the Debian root, the build cache (RAYCTL_DEMO_CACHE, /var/cache/rayctl/demo).
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
RAYCTL=${RAYCTL:-$top/bin/rayctl}
CACHE=${RAYCTL_DEMO_CACHE:-/var/cache/rayctl/demo}
[ "$(id -u)" = 0 ] || { echo "make demo: it makes network namespaces and containers: type: sudo make demo" >&2; exit 1; }

exit_commands=()
on_exit() { exit_commands=("$*" "${exit_commands[@]}"); }
at_exit() {
  local status=$? command
  trap '' INT TERM
  trap - EXIT
  set +e
  [ "$status" = 0 ] || show_logs
  for command in "${exit_commands[@]}"; do eval "$command" >/dev/null 2>&1; done
  exit "$status"
}
trap at_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

D=$(mktemp -d /var/tmp/rayctl-demo.XXXXXX)
on_exit "rm -rf --one-file-system '$D'"
# shellcheck source=tests/demo/lab.sh
. "$top/tests/demo/lab.sh"
show_logs() {
  local log
  for log in "$D"/vm?/log; do [ ! -s "$log" ] || { echo "--- $log"; tail -n 15 "$log"; }; done
}

started=$(date +%s.%N)
phases=()
phase() {  # NAME: says how long it took since the one before
  local now
  now=$(date +%s.%N)
  phases+=("$(printf '%-28s %6.1f s' "$1" "$(awk "BEGIN {print $now - $started}")")")
  started=$now
}
say() { printf '\n== %s\n' "$*"; }

image=$lab_registry/ray:demo
build() { "$RAYCTL" --state-dir "$CACHE" --run-dir "$D/build" build "$@"; }

on_exit '"$RAYCTL" --state-dir "$CACHE" --run-dir "$D/build" node stop'  # what RUN steps were started from
say 'Debian root file system (mmdebstrap)'
mkdir -p "$CACHE"
root=$("$top/images/base/make-rootfs.sh")
phase 'Debian root'

say 'rayctl build: the base image, then Ray from PyPI and scripts/'
build -t ray-base:bookworm -f "$top/images/base/Dockerfile" "$root"
build -t "$image" --ca-bundle host -f "$top/images/ray/Dockerfile" "$top"
phase 'build'

say 'three machines, a registry with TLS and a password, rayctl push'
make_lab vm0 vm1 vm2
lab_start_registry
DOCKER_CONFIG=$D/registry in_lab "$RAYCTL" --state-dir "$CACHE" --run-dir "$D/build" push --registry-ca "$D/registry/ca.pem" "$image"
phase 'registry and push'

say 'rayctl node: a head and two workers'
common=(--memory 4G --cpus 1 --registry-auth "$D/registry/config.json" --registry-ca "$D/registry/ca.pem")
start_node vm0 --role head --image "$image" --workers 2 "${common[@]}"
token=$D/vm0/state/cluster/worker-token
for _ in $(seq 300); do [ ! -s "$token" ] || break; sleep 0.1; done
for vm in vm1 vm2; do
  start_node $vm --role worker --join "$lab_network.10" --token-file "$token" "${common[@]}"
done
node vm0 status --wait 3m
phase 'nodes until Ray is healthy'
node vm0 ps

say 'rayctl exec head python driver.py'
node vm0 exec head sh -c 'cd ~/ray/scripts && python driver.py'
phase 'driver.py'

say 'seconds of each phase'
printf '%s\n' "${phases[@]}"

if [ -n "${KEEP:-}" ]; then
  cat <<END

The cluster stays up until Ctrl-C here. In another terminal:
  alias r='$RAYCTL --state-dir $D/vm0/state --run-dir $D/vm0/run'
  r status; r ps; r logs head; r exec -it head
END
  while :; do sleep 1; done
fi
