#!/usr/bin/env bash
# Machines lose power: every process of theirs ends at once, /run and the network are empty afterwards, the kernel's boot
# has another id. Their containers come back, as the same ones, under the same addresses and names; what an operator
# stopped stays so. A worker first, then the head, then both.
# timeout: 240
source "$(dirname "$0")/common.sh"
need_root
need network_namespaces overlayfs vxlan
need_command busybox
mkdir ctx
cp "$(command -v busybox)" ctx/
cat >ctx/Dockerfile <<'END'
FROM scratch
COPY --chmod=755 busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY --chmod=755 <<serve /bin/serve
#!/bin/sh
mkdir -p /srv; [ -e /srv/index.html ] || echo "\$1 since \$(date +%s)" >/srv/index.html
exec httpd -f -p 80 -h /srv
serve
CMD ["/bin/serve", "default"]
END
cat >app.spec <<'END'
(define Namespace "app")
(define web (label "web" (makeList 2 (docker "app:1" "/bin/serve" "web"))))
(define side (label "side" (docker "app:1" "sh" "-c" "sleep 100000")))
(define down (label "down" (docker "app:1" "sh" "-c" "sleep 100000")))
(place (labelRule "exclusive" web) side)
(connect 80 side web)
END

make_netns "sw$$"
ip -n "sw$$" link add br0 type bridge
ip -n "sw$$" link set br0 up
# plug VM N: the machine's network as it is at each boot
plug() {
  local ns=$1$$
  ip netns add "$ns"
  ip -n "$ns" link set lo up
  ip -n "$ns" link add eth0 type veth peer name "$1" netns "sw$$"
  ip -n "sw$$" link set "$1" master br0 up
  ip -n "$ns" addr add "10.9.7.$2/24" dev eth0
  ip -n "$ns" link set eth0 up
  ip -n "$ns" route add default via 10.9.7.1
}
declare -A number=([vm0]=10 [vm1]=11 [vm2]=12) flags machine
node() { local vm=$1; shift; "$RAYCTL" --state-dir "$T/$vm/state" --run-dir "$T/$vm/run" "$@"; }
boot() {  # VM
  local vm=$1
  plug "$vm" "${number[$vm]}"
  cat /proc/sys/kernel/random/uuid >"$vm/boot_id"
  # PID 1 of the machine reaps; its death is everybody's
  setsid nsenter --net="/run/netns/$vm$$" unshare --pid --fork --kill-child --mount --propagation private --mount-proc \
    bash -c 'mount --bind "$0/boot_id" /proc/sys/kernel/random/boot_id; "$@" & wait' \
    "$T/$vm" "$RAYCTL" --state-dir "$T/$vm/state" --run-dir "$T/$vm/run" node --memory 512M --cpus 1 ${flags[$vm]} >>"$vm/log" 2>&1 </dev/null &
  machine[$vm]=$!
}
off() {  # VM: the power is gone
  local vm=$1
  kill -9 "${machine[$vm]}"
  wait "${machine[$vm]}" 2>/dev/null || true
  cut_off() { [ -z "$(ip netns pids "$vm$$")" ]; }
  wait_for 10 cut_off
  ip netns del "$vm$$"
  rm -rf --one-file-system "${T:?}/$vm/run"
  for id in "$vm"/state/containers/*; do
    find /sys/fs/cgroup -depth -type d -path "*/rayctl/*${id##*/}*" -exec rmdir {} + 2>/dev/null || true
  done
}
"$RAYCTL" --state-dir "$T/built" build -t app:1 ctx >build.log 2>&1 || { cat build.log; exit 1; }
for vm in vm0 vm1 vm2; do
  mkdir $vm
  on_exit "rm -rf --one-file-system '$T/$vm/state' '$T/$vm/run'"
  on_exit "ip netns pids $vm$$ | xargs -r kill -9; ip netns del $vm$$; kill -9 \${machine[$vm]:-}"
  cp -a built $vm/state
done
flags[vm0]='--role head --image app:1 --workers 2 --overlay vxlan'
for vm in vm1 vm2; do flags[$vm]="--role worker --join 10.9.7.10 --token-file $T/vm0/state/cluster/worker-token"; done
boot vm0
wait_for 60 test -s vm0/state/cluster/worker-token
boot vm1; boot vm2
joined() { [ "$(node vm0 status | grep -c ' joined ')" = 3 ]; }
wait_for 60 joined
node vm0 deploy app.spec >/dev/null
up() { [ "$(node vm0 ps | grep -c ' Up ')" = "$1" ]; }
wait_for 60 up 4
node vm0 stop down >/dev/null
wait_for 20 up 3
ids() { node vm0 ps -o json | jq -r 'sort_by(.name)[] | [.name, .id, .address, .state] | @tsv'; }
get() { node vm0 exec side sh -c 'at=$(nslookup "$1" | awk "/^Address: 10\./ {print \$2; exit}") && timeout 5 wget -q -O - "http://$at/"' - "$1"; }
pages() { get 1.web.q; get 2.web.q; }
wait_for 20 pages
ids >before
pages >pages

back() { node vm0 status | grep -c ' joined ' | grep -qx 3 && up 3 && ids >after && cmp -s before after; }
for what in vm1 vm2 vm0 'vm1 vm0'; do
  for vm in $what; do off $vm; done
  sleep 1
  for vm in $what; do boot $vm; done
  wait_for 60 back || { diff before after; tail -n 30 vm?/log; }
  wait_for 20 pages
  equal "$(pages)" "$(cat pages)" "what containers wrote, after a reboot of $what"
done
