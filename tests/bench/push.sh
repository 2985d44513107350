#!/usr/bin/env bash
# push: an image whose blobs are compressed already, against skopeo from an OCI layout. RUNS=5; IMAGE_DIRS as in pull.sh.
source "$(dirname "$0")/lib.sh"
bench_image
runs=${RUNS:-5}
rayctl pull -q --no-unpack oci:src:1 --name bench:1
ours() { rayctl push bench:1 "$REGISTRY/ours:1"; }
peer() { skopeo copy -q --dest-tls-verify=false oci:src:1 "docker://$REGISTRY/peer:1"; }
# nothing of it is there, and no cache of either tool says so
clean() { rm -rf "$REGISTRY_STORE/docker" "$HOME/.local/share/containers"; sync; }
before_rayctl=clean before_skopeo=clean
compare push "$runs" rayctl ours skopeo peer
