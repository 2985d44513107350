#!/usr/bin/env bash
# Layers that try to leave their root or to fool overlayfs: nothing outside changes, and what overlayfs shows is right.
source "$(dirname "$0")/common.sh"
need_root
need_command python3 setfattr getfattr
mkdir victim && echo safe >victim/f && chmod 600 victim/f
python3 "$here/hostile_layers.py" "$T/layout" "$T/victim"

show() {  # CASE: mounts what its layers show at $T/root
  umount root 2>/dev/null || true
  mkdir -p root
  rayctl pull -q "oci:layout:$1" --name "x/$1:1" >/dev/null 2>err || { cat err >&2; fail "pull of $1"; }
  local lower= chain id ids
  mapfile -t ids < <(rayctl inspect "x/$1:1" | jq -r '.[0].RootFS.Layers[]')
  chain=
  for id in "${ids[@]}"; do
    if [ -z "$chain" ]; then chain=$id; else chain=sha256:$(printf '%s %s' "$chain" "$id" | sha256sum | cut -d' ' -f1); fi
    lower=$RAYCTL_STATE_DIR/layers/${chain#sha256:}/fs${lower:+:$lower}
    grep -q '"opaqueRoot":true' "$RAYCTL_STATE_DIR/layers/${chain#sha256:}/layer.json" && lower=${lower%%:*}
  done
  mkdir -p empty
  mount -t overlay overlay -o "ro,lowerdir=$T/empty:$lower" root
}
on_exit "umount '$T/root'"
refused() { expect 1 rayctl pull "oci:layout:$1" --name "x/$1:1"; grep_quiet "$2" err; }

refused root-symlink 'the root of a layer must be a directory'
refused hardlink-out 'leads to no file of this layer or one below'
refused bare-whiteout 'the whiteout names no file'
refused parent-whiteout 'the whiteout names no file'
refused zeros 'decompression bomb'
refused trailing 'gzip: data after the end'
refused truncated 'tar: '

show climb; equal "$(cat root/f)" evil; [ -e "root$T/victim/f" ] || fail 'an absolute name is lost'
show symlink-parent; [ -L root/etc ]
show symlink-below; [ -L root/etc ] || fail 'the symlink is gone'
show hardlink-symlink; [ -L root/h ]
show whiteout
equal "$(ls root/etc)" "$(printf 'g\nsub')"; equal "$(ls root/etc/sub)" new 'a removed directory made anew is empty'
show opaque; equal "$(ls root/etc)" new
show opaque-root; equal "$(ls root)" new
show forged; equal "$(ls root/etc)" "$(printf 'f\ng\nsub')"
show metadata
equal "$(stat -c %a:%u:%g:%Y root/bin/su)" 4755:5:7:1000000000
getfattr -n security.capability root/bin/ping >/dev/null 2>&1 || fail 'capabilities are lost'
equal "$(stat -c %F:%t:%T:%a root/dev/null)" 'character special file:1:3:666'
equal "$(stat -c %a root/tmp)" 1777 'an unlisted parent is like the one below'
show replace
equal "$(cat root/a)" file; [ -L root/b ]; equal "$(cat root/c/f)" new
( ulimit -v 2000000; refused sparse-bomb 'tar: Damaged tar archive' )  # and not: out of memory

equal "$(cat victim/f)" safe
equal "$(stat -c %a:%h victim/f)" 600:1
equal "$(ls victim)" f
