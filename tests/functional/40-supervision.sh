#!/usr/bin/env bash
# A container outlives whoever started it, and its end is known to the next one; a lost shim is found out.
source "$(dirname "$0")/common.sh"
source "$here/containers.sh"

# kill -9 of the starter: here a shell with its own process group and session that is killed as a whole
container create stays "$T/rootfs" -- sh -c 'i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo $i; sleep 0.05; done; exit 21'
setsid "$DRIVER" start stays & wait $!
setsid sh -c "'$DRIVER' adopt stays; '$DRIVER' wait stays" >/dev/null & waiter=$!
sleep 0.5
kill -9 -- -"$waiter"
equal "$(container adopt stays)" running
equal "$(container wait stays)" 'exit code 21'
equal "$(container logs stays | xargs)" "$(seq 40 | xargs)" 'the log has a gap'

# kill -9 of the shim: the container must not run on unseen
run_container lost -- sh -c 'trap "" PIPE HUP; while :; do sleep 0.05; done'
init=$(container init-pid lost)
kill -9 "$(container shim-pid lost)"
ended() { [ "$(container state lost)" = stopped ]; }
wait_for 5 ended
equal "$(container adopt lost)" stopped
expect 1 kill -0 "$init"
equal "$(field lost error)" 'its shim was killed'
equal "$(field lost signal)" 9
equal "$(container wait lost)" 'its shim was killed'
equal "$(cgroup_directories | grep /lost || true)" ''
container start lost  # and it can be started again
equal "$(container state lost)" running
container stop lost 0

# PID 1 is always the starter's own copy, even if the container was made by a rayctl that is gone
sed -i -E 's|"[^"]*/sealed/[^"]*"|"/gone/sealed/rayctl"|' "$C/lost/spec.json"
container start lost
equal "$(container state lost)" running
container stop lost 0

# after a reboot nothing of it runs, whoever has its process numbers now
run_container boot -- sleep 1000
shim=$(container shim-pid boot)
cp "$C/boot/state.json" running.json
container stop boot 0
sed -E "s/\"bootId\": \"[^\"]*\"/\"bootId\": \"another\"/; s/\"pid\": [0-9]+/\"pid\": $$/" running.json >"$C/boot/state.json"
rm "$C/boot/exit.json"
equal "$(container state boot)" stopped
equal "$(container adopt boot)" stopped
equal "$(field boot error)" 'the machine went down'

# a directory that was torn in half
container create torn "$T/rootfs" -- true
echo '{"status": "runn' >"$C/torn/state.json"
expect 1 container state torn
grep_quiet "^cannot parse '$C/torn/state.json': parse error" err
rm -r "$C/torn"

# many at once, started and removed side by side below one parent cgroup
for i in $(seq 12); do
  (container create "p$i" "$T/rootfs" -- sh -c "exit $i"; container start "p$i"; container wait "p$i" >"p$i.out"; container remove "p$i") &
done
wait
for i in $(seq 12); do equal "$(cat "p$i.out")" "exit code $i"; done

for id in $(container list); do container remove "$id"; done
equal "$(cgroup_directories)" '' 'cgroups are left'
expect 1 pgrep -f 'rayctl shim'
