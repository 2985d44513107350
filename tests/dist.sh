#!/usr/bin/env bash
# dist.sh FILE...: binaries that are handed out do on their processor what doesn't need a machine of their own: run by
# `make dist`. One for another processor runs under qemu-user-static, where no container can be made.
set -euo pipefail
tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/rayctl-dist.XXXXXX")
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$work"' EXIT
fail() { printf 'dist: %s: %s\n' "$file" "$*" >&2; exit 1; }

python3 "$tests/functional/fault_registry.py" "$work" 2>"$work/server.log" &
server=$!
for ((i = 0; i < 100; i++)); do [ ! -e "$work/ports" ] || break; sleep 0.1; done
read -r port _ <"$work/ports"
mkdir "$work/context"
seq 300000 >"$work/context/numbers"
printf 'FROM scratch\nCOPY numbers /\nENV A=b\n' >"$work/context/Dockerfile"

smoke() {
  local arch=${file##*-linux-} run=()
  local here=$work/$arch
  [ "$arch" = "$(uname -m)" ] || run=("qemu-$arch-static")
  run+=("$file" --state-dir "$here/state" --run-dir "$here/run")
  mkdir "$here"
  readelf -hl "$file" >"$here/elf"
  ! grep -qE 'INTERP|DYNAMIC' "$here/elf" || fail 'it is no static program'
  "${run[@]}" version >"$here/version" || fail 'version'
  "${run[@]}" --help >"$here/help" || fail '--help'
  "${run[@]}" completion bash | bash -n || fail 'completion'
  for spec in "$tests"/golden/stitch/*.spec; do
    "${run[@]}" spec eval "$spec" >>"$here/deployments" 2>/dev/null || echo "$spec: $?" >>"$here/deployments"
  done
  "${run[@]}" pull --platform linux/amd64 "127.0.0.1:$port/plain:1" >"$here/log" 2>&1 || { cat "$here/log" >&2; fail pull; }
  (cd "$here/state/layers" && find . -name 'a[012]' -size +400k -exec sha256sum {} + | sort) >"$here/files"
  [ "$(wc -l <"$here/files")" = 3 ] || fail 'what was pulled is not whole'
  "${run[@]}" push "127.0.0.1:$port/plain:1" "127.0.0.1:$port/push-mount:1" >"$here/log" 2>&1 || { cat "$here/log" >&2; fail push; }
  XDG_DATA_HOME=$here XDG_CONFIG_HOME=$here "${run[@]}" context claim-token smoke --out "$here/token" >/dev/null || fail 'a CA'
  [ "$arch" = "$(uname -m)" ] || return 0
  # qemu-user has no openat2
  "${run[@]}" build -t smoke "$work/context" >"$here/log" 2>&1 || { cat "$here/log" >&2; fail build; }
}

for file; do
  file=$(readlink -f "$file")
  smoke
  # what one processor says, the other says too
  for what in help deployments files; do
    cmp -s "$work/${file##*-linux-}/$what" "$work/${1##*-linux-}/$what" || fail "its $what isn't that of $1"
  done
  echo "dist: $(basename "$file") works"
done
