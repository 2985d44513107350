#!/usr/bin/env bash
# Runs the network's functional tests in a Debian VM, whose kernel has WireGuard: tests/e2e/overlay.sh [TEST…]
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${RAYCTL_BUILD:-$top/build/dev}
rayctl=${RAYCTL:-$build/rayctl}
name=overlay vm=$top/tests/e2e/vm.sh
tests=("$@"); [ $# -gt 0 ] || tests=(58-kernel-wireguard 56-encrypted 57-policy)
trap '"$vm" stop "$name" >/dev/null 2>&1 || true' EXIT
"$vm" start "$name"
work=$(mktemp -d); trap 'rm -rf "$work"; "$vm" stop "$name" >/dev/null 2>&1 || true' EXIT
mkdir -p "$work/t/bin" "$work/t/tests" "$work/t/build/drivers"
strip -o "$work/t/bin/rayctl" "$rayctl"
strip -o "$work/t/build/drivers/net" "$build/drivers/net"
cp -r "$top/tests/functional" "$work/t/tests/"
tar -C "$work" -czf "$work/t.tar.gz" t
"$vm" put -n "$name" "$work/t.tar.gz" /root/
"$vm" ssh -n "$name" 'tar -xzf t.tar.gz && modprobe wireguard && uname -r'
for test in "${tests[@]}"; do
  echo "== $test"
  "$vm" ssh -n "$name" "cd t && RAYCTL=/root/t/bin/rayctl RAYCTL_BUILD=/root/t/build timeout 600 bash tests/functional/$test.sh"
done
