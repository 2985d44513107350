# For tests in virtual machines: `source "$(dirname "$0")/lib.sh"`. common.sh of the functional tests, and:
#   $HOST            this machine's loopback, seen from a machine
#   start_host       a registry (HTTP, 127.0.0.1 alone) and a web server with rayctl: $REGISTRY_HERE, $REGISTRY, $BINARY_URL
#   build_stand_in   $IMAGE: a stand-in for Ray (stand-in/Dockerfile) in that registry
#   build_ray        $IMAGE: real Ray there, built as the guide says, from the cache of `make demo`
#   build_python_stand_in   $IMAGE: a stand-in that driver.py runs on (stand-in-ray/Dockerfile), on the same base
#   guide …          functional/guide.py
#   vm …             tests/e2e/vm.sh, with a state directory of this test's own; all machines end with the test
#   stage NAME       prints how long it took since the one before
source "$(dirname "${BASH_SOURCE[0]}")/../functional/common.sh"
e2e=$top/tests/e2e
HOST=10.201.255.254
export RAYCTL_MACHINES=${RAYCTL_MACHINES:-/var/cache/rayctl/machines}
need_root
need_command "qemu-system-$(uname -m)" qemu-img docker-registry ssh jq curl

export VM_STATE=$T/vms
vm() { "$e2e/vm.sh" "$@"; }
on_exit 'vm stop --all'

stages=() stage_began=$SECONDS
stage() { stages+=("$(printf '%-44s %4d s' "$1" $((SECONDS - stage_began)))"); echo "== ${stages[-1]}"; stage_began=$SECONDS; }
show_stages() { printf '%s\n' '-- seconds of each stage' "${stages[@]}"; }

start_host() {
  local port
  start_registry --plain --open
  REGISTRY_HERE=$REGISTRY
  REGISTRY=$HOST:${REGISTRY##*:}
  mkdir -p "$T/www"
  strip -o "$T/www/rayctl" "$RAYCTL" 2>/dev/null || cp "$RAYCTL" "$T/www/rayctl"
  port=$(free_port)
  background www python3 -m http.server -b 127.0.0.1 -d "$T/www" "$port"
  wait_for 10 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"
  BINARY_URL=http://$HOST:$port/rayctl
  BINARY_SHA256=$(sha256sum <"$T/www/rayctl" | cut -d' ' -f1)
}

build_stand_in() {
  mkdir -p "$T/stand-in"
  cp "$e2e"/stand-in/* "$(command -v busybox)" "$T/stand-in/"
  on_exit "'$RAYCTL' node stop"  # what the build was run from
  rayctl build -t "$REGISTRY_HERE/stand-in" -f "$T/stand-in/Dockerfile" "$T/stand-in"
  rayctl push "$REGISTRY_HERE/stand-in"
  IMAGE=$REGISTRY/stand-in
}

guide() { python3 "$here/guide.py" "$@"; }
in_cache() { RAYCTL_STATE_DIR=${RAYCTL_DEMO_CACHE:-/var/cache/rayctl/demo} PATH=$(dirname "$RAYCTL"):$PATH "$@"; }
build_ray() {
  local root
  mkdir -p "${RAYCTL_DEMO_CACHE:-/var/cache/rayctl/demo}"
  root=$("$top/images/base/make-rootfs.sh")
  on_exit 'in_cache rayctl node stop'
  in_cache rayctl build -t ray-base:bookworm -f "$top/images/base/Dockerfile" "$root"
  # What isn't within reach here is replaced.
  guide block 'Extra: a Ray container of your own' 1 |
    sed "s|registry\.example\.com|$REGISTRY_HERE|; s|python:3.11-slim|ray-base:bookworm|; s|^rayctl build |&--ca-bundle host |" >build
  (cd "$top" && in_cache bash -euxo pipefail "$T/build")
  in_cache rayctl rmi "$REGISTRY_HERE/me/ray"
  IMAGE=$REGISTRY/me/ray
}

build_python_stand_in() {
  local name=$REGISTRY_HERE/stand-in-ray
  mkdir -p "$T/stand-in-ray"
  cp -r "$e2e"/stand-in-ray/* "$top/scripts" "$T/stand-in-ray/"
  in_cache rayctl build -t "$name" -f "$T/stand-in-ray/Dockerfile" "$T/stand-in-ray"
  in_cache rayctl push "$name"
  in_cache rayctl rmi "$name"
  IMAGE=$REGISTRY/stand-in-ray
}
