#!/usr/bin/env bash
# Without root: blobs below XDG_DATA_HOME, and every refusal says what to type.
source "$(dirname "$0")/common.sh"
need_root
need_command setpriv umoci skopeo
start_registry --plain --open
umoci init --layout src && umoci new --image src:1 && mkdir l && echo x >l/x && tar -C l -cf l.tar . && umoci raw add-layer --image src:1 l.tar
skopeo copy -q --dest-tls-verify=false oci:src:1 "docker://$REGISTRY/a:1"
unset RAYCTL_STATE_DIR RAYCTL_RUN_DIR
mkdir -p user bin
cp "$RAYCTL" bin/rayctl
chmod 755 "$T" "$T/bin" && chown 65534 user
user() { setpriv --reuid=65534 --regid=65534 --clear-groups env HOME="$T/user" XDG_DATA_HOME="$T/user/data" XDG_RUNTIME_DIR="$T/user/run" DOCKER_CONFIG="$T/user/docker" "$T/bin/rayctl" "$@"; }

expect 0 user pull "$REGISTRY/a:1"
grep_quiet "type: sudo rayctl pull $REGISTRY/a:1" err
[ -e user/data/rayctl/store/index.json ] || fail 'the store is elsewhere'
[ ! -e user/data/rayctl/layers ] || fail 'it unpacked'
expect 0 user images -o json; equal "$(jq -r '.[0].repository' out)" "$REGISTRY/a"
expect 0 user push "$REGISTRY/a:1" "$REGISTRY/b:2"
expect 0 user inspect "$REGISTRY/a:1"
expect 0 user rmi "$REGISTRY/a:1"
expect 1 user inspect "$REGISTRY/a:1"
grep_quiet "to fetch it: rayctl pull $REGISTRY/a:1" err
# root has it
mkdir -p /var/lib/rayctl
mount -t tmpfs -o mode=755 tmpfs /var/lib/rayctl && on_exit 'umount /var/lib/rayctl'
expect 0 rayctl --state-dir /var/lib/rayctl pull "$REGISTRY/a:1"
expect 1 user push "$REGISTRY/a:1"
grep_quiet "root's store has it: type sudo rayctl" err
