#!/usr/bin/env bash
# `rayctl build` against buildah: three small RUN steps and a folder of scripts on a small base (cold, no change, one
# script changed), and a layer of 200 MB.
# timeout: 600
source "$(dirname "$0")/lib.sh"
need_root
need_command buildah busybox
unset DOCKER_CONFIG
on_exit "umount '$RAYCTL_RUN_DIR'/sealed/*"

mkdir -p base ctx/scripts big
cp "$(command -v busybox)" base/
printf '%s\n' 'FROM scratch' 'COPY --chmod=755 busybox /bin/busybox' 'RUN ["/bin/busybox", "--install", "-s", "/bin"]' >base/Dockerfile
rayctl build -t box --compression gzip -o "oci-archive:$T/box.tar:box" base >/dev/null 2>&1
for i in 1 2 3 4 5; do seq 1000 >"ctx/scripts/$i.py"; done
printf '%s\n' 'FROM localhost/box' 'RUN echo one >/one' 'RUN mkdir -p /d && echo two >/d/two' 'RUN cat /one /d/two >/three' \
  'COPY scripts /home/ray/scripts' >ctx/Dockerfile
rayctl tag box localhost/box

storage=(--root "$T/storage" --runroot "$T/runroot" --storage-driver overlay)
on_exit "umount -R '$T/storage/overlay' 2>/dev/null; rm -rf '$T/storage' '$T/runroot'"
peer() { buildah "${storage[@]}" bud --isolation chroot --layers --format oci -t app "$@"; }
id=$(buildah "${storage[@]}" pull -q "oci-archive:$T/box.tar:box")
buildah "${storage[@]}" tag "$id" localhost/box

ours_cold() { rayctl build --no-cache -t app ctx; }
peer_cold() { buildah "${storage[@]}" bud --isolation chroot --layers --no-cache --format oci -t app ctx; }
compare 'build: cold, 3 RUN and a COPY' 5 rayctl ours_cold buildah peer_cold
ours() { rayctl build -t app ctx; }
theirs() { peer ctx; }
compare 'build: nothing changed' 9 rayctl ours buildah theirs
edit() { date +%N >>ctx/scripts/1.py; }
before_rayctl=edit before_buildah=edit
compare 'build: one script changed' 9 rayctl ours buildah theirs
unset before_rayctl before_buildah

for i in $(seq 40); do head -c 2500000 /dev/urandom >"big/r$i"; seq "$i" 1000000 | head -c 2500000 >"big/t$i" || true; done
printf '%s\n' 'FROM scratch' 'COPY . /' >big/Dockerfile
ours_big() { rayctl build --no-cache -t big -o "oci:$T/big-ours" big; rm -rf "$T/big-ours"; }
ours_gzip() { rayctl build --no-cache --compression gzip -t big -o "oci:$T/big-ours" big; rm -rf "$T/big-ours"; }
peer_big() { buildah "${storage[@]}" bud --no-cache --format oci -t big big && buildah "${storage[@]}" push big "oci:$T/big-peer:big"; rm -rf "$T/big-peer"; }
compare 'build+export: 200 MB, zstd (peer gzip)' 3 rayctl ours_big buildah peer_big
compare 'build+export: 200 MB, gzip' 3 rayctl ours_gzip buildah peer_big
