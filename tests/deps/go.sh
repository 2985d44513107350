#!/usr/bin/env bash
# What tests need from Go's modules: an independent WireGuard in user space, built beside the other dependencies.
#   go.sh          builds it if need be         go.sh --prefix     prints where it is (its binary is PREFIX/bin/wireguard)
# Go is told nothing about where modules come from: that is the machine's configuration. A machine without Go goes without.
set -euo pipefail
module=golang.zx2c4.com/wireguard@v0.0.0-20260522210424-ecfc5a8d5446
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=$(dirname "$("$here/deps.sh" --prefix)")/go-$(printf '%s\n' "$module" "$(uname -m)" | cksum | cut -d' ' -f1)
[ "${1:-}" != --prefix ] || { echo "$prefix"; exit; }
[ ! -x "$prefix/bin/wireguard" ] || exit 0
PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null || exit 0
mkdir -p "$prefix"
exec 8>"$prefix.lock"
flock 8
[ ! -x "$prefix/bin/wireguard" ] || exit 0
echo "deps: building ${module%@*}" >&2
if ! GOPATH=$prefix/path GOCACHE=$prefix/cache GOBIN=$prefix/bin GOFLAGS=-modcacherw CGO_ENABLED=0 go install "$module" >"$prefix.log" 2>&1; then
  tail -n 5 "$prefix.log" >&2
  echo "deps: cannot build ${module%@*}: tests that need it are skipped (log: $prefix.log)" >&2
fi
rm -rf "$prefix/path" "$prefix/cache"
