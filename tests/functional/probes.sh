# What a machine may lack. A test asks with `need NAME` (common.sh) and is skipped when probe_NAME says no.
# This is also the list of what CI may skip: under RAYCTL_MUST_RUN=1 the runner asks the probe again, so that a skip
# which isn't the machine's fault is a failure. Being root is not here on purpose.

probe_network_namespaces() { unshare --net true; }
probe_mount_namespaces() { unshare --mount true; }
probe_user_namespaces() { unshare --user --map-root-user true; }
probe_overlayfs() { grep -qw overlay /proc/filesystems || modprobe overlay; }
probe_vxlan() { unshare --net ip link add probe type vxlan id 1 dstport 4789 dev lo; }
probe_wireguard() { unshare --net ip link add probe type wireguard; }
probe_tun() { unshare --net ip tuntap add probe mode tun; }
probe_nftables() { unshare --net nft add table inet probe; }
probe_memory_controller() { grep -qw memory /sys/fs/cgroup/cgroup.controllers || [ -d /sys/fs/cgroup/memory ]; }
probe_cgroup_v1() { [ -d /sys/fs/cgroup/memory ]; }
probe_seccomp() { grep -q '^Seccomp:' /proc/self/status; }
probe_systemd() { [ -d /run/systemd/system ]; }
probe_kvm() { [ -w /dev/kvm ]; }
probe_memory_12g() { awk '/^MemAvailable/ { exit $2 < 12 * 1024 * 1024 }' /proc/meminfo; }  # three Ray nodes
probe_memory_6g() { awk '/^MemAvailable/ { exit $2 < 6 * 1024 * 1024 }' /proc/meminfo; }    # one Ray node
probe_disk_8g() { [ "$(df --output=avail -k "${TMPDIR:-/tmp}" | tail -n 1)" -gt $((8 * 1024 * 1024)) ]; }
probe_package_archive() { apt-get -q -o Acquire::Retries=1 -o Acquire::http::Timeout=10 download --print-uris busybox-static && getent hosts "$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -n 1 | sed -E 's|^[a-z]+://([^/:]+).*|\1|')"; }
probe_tun() { [ -c /dev/net/tun ] && : <>/dev/net/tun; }
probe_wireguard_go() { [ -x "$("${top:-.}/tests/deps/go.sh" --prefix)/bin/wireguard" ]; }  # no Go, no index of its modules
probe_oci_validation() { [ -e "$("${top:-.}/tests/deps/oci_validation.sh" --prefix)/.complete" ]; }  # no Go, no index of its modules
probe_moto() { [ -e "$("${top:-.}/tests/deps/python.sh" --prefix)/.complete" ]; }  # no index of Python packages, no moto
