#!/usr/bin/env bash
# The network's functional tests that take the kernel's WireGuard where there is one, in a virtual machine whose kernel has it.
# E2E_TESTS='NAME…' takes others.
# timeout: 2400
source "$(dirname "$0")/lib.sh"
export VM_PATIENCE=${VM_PATIENCE:-600}
vm start overlay
stage 'boot until one can log in'
mkdir -p t/bin t/tests t/build/drivers
strip -o t/bin/rayctl "$RAYCTL" 2>/dev/null || cp "$RAYCTL" t/bin/rayctl
strip -o t/build/drivers/net "$RAYCTL_BUILD/drivers/net"
cp -r "$top/tests/functional" "$top/tests/deps" t/tests/
tar -czf t.tar.gz t
vm put -n overlay t.tar.gz /root/
vm ssh -n overlay 'tar -xzf t.tar.gz && modprobe wireguard'
for test in ${E2E_TESTS:-58-kernel-wireguard 56-encrypted 57-policy}; do
  vm ssh -n overlay "cd t && RAYCTL=/root/t/bin/rayctl RAYCTL_BUILD=/root/t/build timeout 700 bash tests/functional/$test.sh" ||
    fail "$test: exit $?"
  stage "$test"
done
show_stages
