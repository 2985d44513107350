#!/usr/bin/env bash
# pull: fetch, verify and unpack an image from a registry, against skopeo into containers-storage (what podman pull does);
# on the disk and on a tmpfs, with gzip and with zstd layers. RUNS=5; IMAGE_DIRS: what the two layers are made of.
source "$(dirname "$0")/lib.sh"
bench_image
runs=${RUNS:-5}
skopeo copy -q --dest-tls-verify=false --dest-compress-format gzip oci:src:1 "docker://$REGISTRY/gzip:1"
skopeo copy -q --dest-tls-verify=false --dest-compress --dest-compress-format zstd --dest-compress-level 3 oci:src:1 "docker://$REGISTRY/zstd:1" || true
rm -rf src

# Each run has a directory of its own: ext4 is slow to make files for seconds after many were removed.
run=0
ours() { RAYCTL_STATE_DIR=$where/ours$run rayctl pull -q "$REGISTRY/$kind:1"; }
peer() { skopeo copy -q --src-tls-verify=false "docker://$REGISTRY/$kind:1" "containers-storage:[overlay@$where/peer$run+$where/run$run]bench:1"; }
forget() { umount -l "$where"/peer*/overlay 2>/dev/null; rm -rf "$where"/{ours,peer,run}*; }
next_run() {
  [ "$where" = "$T/disk" ] || forget
  run=$((run + 1))
  sync
}
before_rayctl=next_run before_skopeo=next_run
mkdir -p disk memory
mount -t tmpfs tmpfs memory && on_exit "umount -l '$T/memory'"
for where in "$T/disk" "$T/memory"; do
  for kind in gzip zstd; do
    [ -e "$REGISTRY_STORE/docker/registry/v2/repositories/$kind" ] || continue
    compare "pull $kind, $(basename "$where")" "$runs" rayctl ours skopeo peer
    forget
  done
done
