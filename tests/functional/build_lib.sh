#!/usr/bin/env bash
# For tests of `rayctl build`: source it after common.sh.
need_root
need overlayfs
need_command busybox skopeo umoci jq zstd

# base_context DIR: a context with busybox; the Dockerfile lines of $BASE make a small system of it
base_context() { mkdir -p "$1" && cp "$(command -v busybox)" "$1/busybox"; }
# shellcheck disable=SC2034
BASE='FROM scratch AS busybox
COPY --chmod=755 busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY <<passwd <<group /etc/
root:x:0:0:root:/root:/bin/sh
ray:x:1000:100:Ray:/home/ray:/bin/sh
passwd
root:x:0:
users:x:100:ray
group
'

# build NAME DIR [OPTION...]: builds DIR/Dockerfile into oci:$T/oci:NAME (gzip: umoci reads no zstd); log: $T/NAME.log
build() {
  local name=$1 directory=$2; shift 2
  rayctl build -t "$name" --compression "${COMPRESSION:-gzip}" -o "oci:$T/oci:$name" "$@" "$directory" >"$T/$name.id" 2>"$T/$name.log" || { cat "$T/$name.log" >&2; return 1; }
}
manifest() { skopeo inspect --raw "oci:$T/oci:$1"; }
config() { skopeo inspect --config --raw "oci:$T/oci:$1"; }
plain() { gzip -dc "$1" 2>/dev/null || zstd -dcq "$1"; }
# layer NAME N: the members of layer N (from 1; -1 is the last), as tar lists them with numbers for owners
layer() {
  local digest; digest=$(manifest "$1" | jq -r ".layers[$(($2 < 0 ? $2 : $2 - 1))].digest")
  plain "$T/oci/blobs/${digest/://}" | tar --numeric-owner -tvf - | awk '{ $3 = $4 = $5 = ""; print }' | tr -s ' '
}
# members NAME N: the names alone, in their order
members() {
  local digest; digest=$(manifest "$1" | jq -r ".layers[$(($2 < 0 ? $2 : $2 - 1))].digest")
  plain "$T/oci/blobs/${digest/://}" | tar -tf - | tr '\n' ' '
}
# tree LAYOUT:NAME: every file of the image, as another tool unpacks it
tree() {
  rm -rf "$T/.bundle" && umoci unpack --image "$1" "$T/.bundle" >"$T/umoci.log" 2>&1 || { cat "$T/umoci.log" >&2; return 1; }
  (cd "$T/.bundle/rootfs" && find . -mindepth 1 \( -type f -printf '%y %m %U:%G %s %n %p\n' -o -printf '%y %m %U:%G %p %l\n' \) | sort)
}
# fails MESSAGE DIR [OPTION...]: the build fails with exactly this last line
fails() {
  local message=$1 directory=$2; shift 2
  expect 1 rayctl build -t broken "$@" "$directory"
  equal "$(tail -n 1 "$T/err")" "rayctl: $message"
}
