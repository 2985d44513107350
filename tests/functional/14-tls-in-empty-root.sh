#!/usr/bin/env bash
# In a root directory that holds only the binary, resolv.conf and a CA file, it finds a registry by name (c-ares: no NSS,
# no /etc/hosts) and verifies its TLS; without the CA, or with another one, it refuses.
source "$(dirname "$0")/common.sh"
need_root
need network_namespaces
need_command umoci skopeo dnsmasq

make_netns server client
connect_netns server 10.9.0.1/24 client 10.9.0.2/24
start_registry --netns server --address 10.9.0.1 --name registry.test --open
port=${REGISTRY#*:}
background dns ip netns exec server dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --no-hosts --user=root \
  --listen-address=10.9.0.1 --bind-interfaces --address=/registry.test/10.9.0.1 --pid-file="$T/dnsmasq.pid"

umoci init --layout layout
umoci new --image layout:one
SSL_CERT_FILE=$REGISTRY_CA ip netns exec server skopeo copy -q oci:layout:one "docker://$REGISTRY/one:1"

mkdir -p root/etc
cp "$RAYCTL" root/rayctl
echo 'nameserver 10.9.0.1' >root/etc/resolv.conf
cp "$REGISTRY_CA" root/ca.pem
make_ca other registry.test
cp other/ca.pem root/other.pem

pull() { ip netns exec client env -i RAYCTL_STATE_DIR=/state RAYCTL_RUN_DIR=/run "$@"; }
chroot=("$(command -v chroot)" root /rayctl pull)
expect 0 pull SSL_CERT_FILE=/ca.pem "${chroot[@]}" "registry.test:$port/one:1"
expect 1 pull "${chroot[@]}" "registry.test:$port/one:1"
grep_quiet 'certificate' err
expect 1 pull SSL_CERT_FILE=/other.pem "${chroot[@]}" "registry.test:$port/one:1"
grep_quiet 'certificate' err
expect 1 pull SSL_CERT_FILE=/ca.pem "${chroot[@]}" "no-such-name.test:$port/one:1"
grep_quiet "cannot .*no-such-name.test.*" err
