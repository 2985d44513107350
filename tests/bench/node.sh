#!/usr/bin/env bash
# A head from `rayctl node` (image in its store) until Ray is healthy, beside the same `ray start` line run by hand in a
# prepared network namespace, in a chroot of the same image. RUNS.
# timeout: 900
source "$(dirname "$0")/lib.sh"
need_root
need network_namespaces overlayfs vxlan memory_6g disk_8g
D=$T CACHE=${RAYCTL_DEMO_CACHE:-/var/cache/rayctl/demo}
. "$top/tests/demo/lab.sh"
export -n RAYCTL_STATE_DIR RAYCTL_RUN_DIR
mkdir -p "$CACHE" "$T/vm0"
rm -rf "$T/vm0/state"
ln -s "$CACHE" "$T/vm0/state"  # the store that the image was built into; what the node adds to it goes at the end
rayctl --state-dir "$CACHE" --run-dir "$T/build" build -t ray-base:bookworm -f "$top/images/base/Dockerfile" "$("$top/images/base/make-rootfs.sh")" >log 2>&1
SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt rayctl --state-dir "$CACHE" --run-dir "$T/build" build -t localhost/ray:bench --ca-bundle host -f "$top/images/ray/Dockerfile" "$top" >>log 2>&1
make_lab vm0 vm1
on_exit "'$RAYCTL' --state-dir '$CACHE' --run-dir '$T/build' node stop; rm -rf '$CACHE/cluster' '$CACHE/containers'"

healthy() { curl -sf "http://$1:52365/api/healthz" >/dev/null && curl -sf "http://$1:8265/api/gcs_healthz" >/dev/null; }
ours() {
  start_node vm0 --role head --image localhost/ray:bench --overlay vxlan --memory 4G --cpus 2
  until on_vm vm0 bash -c "$(declare -f healthy); healthy 10.64.0.2"; do sleep 0.05; done
}
before_rayctl_node() { node vm0 node stop; rm -rf "$CACHE/cluster" "$CACHE/containers"; }

# the image by hand: its layers as podman would mount them
layers=$(rayctl --state-dir "$CACHE" inspect localhost/ray:bench | python3 -c '
import hashlib, json, sys
chain, paths = None, []
for d in json.load(sys.stdin)[0]["RootFS"]["Layers"]:
    chain = d if chain is None else "sha256:" + hashlib.sha256((chain + " " + d).encode()).hexdigest()
    paths.insert(0, chain.split(":")[1] + "/fs")
print(":".join(paths))')
by_hand() {
  mkdir -p "$T/hand/upper" "$T/hand/work" "$T/hand/root"
  (cd "$CACHE/layers" && mount -t overlay overlay -o "lowerdir=$layers,upperdir=$T/hand/upper,workdir=$T/hand/work" "$T/hand/root")
  mount -t proc proc "$T/hand/root/proc"
  mount --rbind /dev "$T/hand/root/dev"
  mount -t tmpfs -o mode=1777,size=1400M tmpfs "$T/hand/root/dev/shm"
  on_vm vm1 setsid chroot --userspec=1000:100 "$T/hand/root" /usr/bin/env -i HOME=/home/ray PATH=/home/ray/venv/bin:/usr/bin:/bin \
    ray start --head --block --port=6379 --dashboard-host=0.0.0.0 --node-ip-address="$lab_network.11" --node-manager-port=6800 \
    --object-manager-port=6801 --runtime-env-agent-port=6802 --dashboard-agent-grpc-port=6803 --dashboard-agent-listen-port=52365 \
    --metrics-export-port=8080 --num-cpus=2 --memory=3000000000 --object-store-memory=1200000000 --disable-usage-stats >"$T/hand/log" 2>&1 &
  until on_vm vm1 bash -c "$(declare -f healthy); healthy $lab_network.11"; do sleep 0.05; done
}
before_by_hand() {
  ip netns pids "$lab-vm1" | xargs -r kill -9
  sleep 0.5
  umount -R "$T/hand/root" 2>/dev/null || true
  rm -rf "$T/hand"
}
on_exit before_by_hand
# shellcheck disable=SC2034
before_rayctl_node=before_rayctl_node before_ray_start_by_hand=before_by_hand
compare 'node start to Ray healthy' "${RUNS:-5}" 'rayctl node' ours 'ray start by hand' by_hand
