#!/usr/bin/env bash
# A head from `rayctl node` (image in its store) until Ray is healthy, beside the same `ray start` line run by hand in a
# prepared network namespace, in a chroot of the same image. RUNS.
# timeout: 400
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
on_exit "'$RAYCTL' --state-dir '$CACHE' --run-dir '$T/build' node stop"  # what RUN steps were started from

healthy() {  # VM ADDRESS: waits for it
  on_vm "$1" bash -c 'end=$((SECONDS + 60))
    until curl -sfm 2 "http://$0:52365/api/healthz" && curl -sfm 2 "http://$0:8265/api/gcs_healthz"; do
      [ $SECONDS -lt $end ] || exit 1; sleep 0.05
    done' "$2"
}
# neither runs while the other is measured
nothing_runs() {
  node vm0 node stop
  ip netns pids "$lab-vm1" | xargs -r kill -9
  rm -rf "$CACHE/cluster" "$CACHE/containers"
  umount -R "$T/hand/root"
  rm -rf --one-file-system "$T/hand"
  sleep 1
}
on_exit nothing_runs
ours() {
  start_node vm0 --role head --image localhost/ray:bench --overlay vxlan --memory 4G --cpus 2
  healthy vm0 10.64.0.2
}

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
  # (a function in the background would keep open what `seconds` is read from)
  setsid nsenter "--net=/run/netns/$lab-vm1" chroot --userspec=1000:100 "$T/hand/root" /usr/bin/env -i HOME=/home/ray PATH=/home/ray/venv/bin:/usr/bin:/bin \
    ray start --head --block --port=6379 --dashboard-host=0.0.0.0 --node-ip-address="$lab_network.11" --node-manager-port=6800 \
    --object-manager-port=6801 --runtime-env-agent-port=6802 --dashboard-agent-grpc-port=6803 --dashboard-agent-listen-port=52365 \
    --metrics-export-port=8080 --num-cpus=2 --memory=3000000000 --object-store-memory=1200000000 --disable-usage-stats >"$T/hand/log" 2>&1 &
  healthy vm1 "$lab_network.11"
}
quietly() { nothing_runs >/dev/null 2>&1 || true; }
# shellcheck disable=SC2034
before_rayctl_node=quietly before_ray_start_by_hand=quietly
compare 'node start to Ray healthy' "${RUNS:-3}" 'rayctl node' ours 'ray start by hand' by_hand
