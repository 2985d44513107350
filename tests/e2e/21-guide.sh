#!/usr/bin/env bash
# docs/running-ray.md in virtual machines: ray-runner.spec with (provider "Local") under `rayctl daemon`, and what rayctl
# says compared with what the guide shows. The image is one that only this computer has: `run` sends it to the head. Ray itself
# is a stand-in, on which rayctl's own `run` and driver.py are what they are with the real one (E2E_RAY=1 takes that).
# timeout: 3600
source "$(dirname "$0")/lib.sh"
need_command script
start_host
build_ray
stage 'Ray image, built or from the cache, and pushed'
[ -n "${E2E_RAY-}" ] || build_python_stand_in
vm prepare
stage 'machine image (where there is none yet)'
export XDG_CONFIG_HOME=$T/config RAYCTL_STATE_DIR=$T/state PATH=$T/www:$PATH
rayctl() { "$T/www/rayctl" "$@"; }
rayctl pull "$REGISTRY_HERE/${IMAGE#*/}" && rayctl tag "$REGISTRY_HERE/${IMAGE#*/}" me/ray
on_exit "pgrep -f -- '-pidfile $T/state/local/' | xargs -r kill -9"

# --- steps 1 and 2 ---
rayctl spec new ray; cd ray
size=1x2; [ -z "${E2E_RAY-}" ] || size=2x4
sed -i '11s/CHANGE_ME/ray-1/; s/(provider "Amazon").*/(provider "Local")/; s/(region .*)/(size "'$size'")/; /(size "m5.large")/d' ray-runner.spec
sed -i "24s|.*|(define sshkey \"$(cat "$VM_STATE/key.pub")\")|" ray-runner.spec
sed -i '4s|.*|(define image "me/ray")|' ray.spec

# --- step 3 ---
background daemon "$T/www/rayctl" daemon
wait_for 10 grep -q Started "$T/daemon.log"
run() { bash -euo pipefail <(guide block 'Run the spec' | sed 's/$/ --overlay userspace/'); }  # with a tunnel process to look at
run
wait_for 1800 grep -q 'All machines are healthy' "$T/daemon.log"
stage 'run: head and worker, the image from here'
sed -n "/db\\.Machine/,\$p" "$T/daemon.log" | grep -v "^Local: " | tee said
guide compare Wait 1 said
bash -euo pipefail <(guide block Wait 2) | tee machines
guide compare Wait 2 machines
typed() { script -qec "$1" /dev/null | sed 's/\x1b\[[?0-9;]*[a-zA-Z]//g; s/\r//g'; }  # stdin is what is typed on its terminal
guide block 'Log in to a machine' | sed "s/2/$(grep -Eo 'Machine-[0-9]+\{Master' machines | grep -Eo '[0-9]+')/" >login
printf 'sudo rayctl ps | grep -c " Up "; exit\n' | typed "$(cat login)" | tee logged-in
grep_quiet '^2$' logged-in
bash -euo pipefail <(guide block 'Find Ray' 1) | tee ps
guide compare 'Find Ray' 1 ps
head=$(awk '/"run head"/ { print $1 }' ps)
session() { guide block 'Play with Ray' "$1" | sed "s/80c7a93d1d50/$head/"; }  # the commands
bash -euo pipefail <(session 1) | tee logs
guide within 'Play with Ray' 1 logs
(session 2 | tail -n +2; echo exit) | typed "$(session 2 | head -n 1)" | tee driver
guide within 'Play with Ray' 2 driver
equal "$(script -qec "rayctl exec -it $head hostname" /dev/null </dev/null | tr -dc 0-9a-f)" "$head" 'the name of the head'\''s host'
stage 'log, ssh, driver.py'
# --- the tunnel's process belongs to the containers' unit: a new supervisor takes it over ---
worker=$(grep -Eo 'Machine-[0-9]+\{Worker' machines | grep -Eo '[0-9]+')
tunnel() { rayctl ssh "$worker" 'sudo sh -c '"'"'pid=$(jq .pid /run/rayctl/tunnel/status.json); echo $pid; cat /proc/$pid/cgroup'"'"; }
tunnel | tee tunnel
grep_quiet '/rayctl-pods\.service/' tunnel
rayctl ssh "$worker" sudo systemctl restart rayctl-node
rayctl ssh "$worker" 'sudo kill -9 $(systemctl show -p MainPID --value rayctl-node)'
again() { [ "$(rayctl ssh "$worker" systemctl show -p NRestarts --value rayctl-node)" = 1 ] && [ "$(rayctl ps | grep -c '(healthy)')" = 2 ]; }
wait_for 90 again
tunnel | cmp - tunnel
stage 'restart and kill -9 of a supervisor with a tunnel'
rayctl containers | tee containers
grep_quiet '^Container-[0-9]+\{run head:me/ray run head, DockerID: '"$head"', Minion: 10\.201\.[0-9]+\.15, StitchID: [0-9]+, IP: 10\.64\.[0-9.]+, .*Labels: \[' containers

# --- change it: one worker more, and the head's container is the same ---
sed -i 's/(define nWorker 1)/(define nWorker 2)/' ray-runner.spec
run
three() { [ "$(rayctl ps | grep -c '(healthy)')" = 3 ]; }
wait_for 1200 three
grep_quiet "^$head .* \"run head\"" <(rayctl ps)
stage 'run: one worker more'

# --- end it ---
printf 'y\n' | script -qec "$(guide block 'End it')" /dev/null | tee down
grep_quiet 'Cluster ray-1 is gone, and nothing of it is left\. It cost \$' down
! pgrep -f -- "-pidfile $T/state/local/" || fail 'machines are left'
[ ! -e "$T/state/local/clusters/ray-1" ] || fail 'files are left'
stage 'down'
show_stages
