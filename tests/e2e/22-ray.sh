#!/usr/bin/env bash
# Real Ray in virtual machines: `rayctl up` with a head and two workers (E2E_WORKERS), healthy, driver.py computes pi with
# tasks on each of them, down. Not without KVM unless E2E_RAY=1 says so: Ray gives its processes 30 s to start, which emulated
# processors exceed; there, the image's Ray waits 90 s, then is started again while the others rest, and is otherwise what it
# is. With one worker on two idle cores that took six minutes.
# timeout: 4800
source "$(dirname "$0")/lib.sh"
kvm() { [ -w /dev/kvm ] && { [ "$(uname -m)" != x86_64 ] || grep -qE ' (vmx|svm)( |$)' /proc/cpuinfo; }; }  # the file alone says little
[ -n "${E2E_RAY-}" ] || kvm || skip kvm 'this machine has no KVM (E2E_RAY=1 tries it all the same)'
start_host
build_ray
if ! kvm; then
  mkdir patient
  printf '%s\n' "FROM $REGISTRY_HERE/${IMAGE#*/}" 'ENV RAY_DASHBOARD_STARTUP_TIMEOUT_S=900 RAY_agent_register_timeout_ms=900000' \
    'RUN sed -i "s/raylet_start_wait_time_s = 30/raylet_start_wait_time_s = 90/" /home/ray/venv/lib/python3*/site-packages/ray/_private/node.py' \
    >patient/Dockerfile
  in_cache rayctl build -t "$REGISTRY_HERE/patient" patient
  in_cache rayctl push "$REGISTRY_HERE/patient"
  in_cache rayctl rmi "$REGISTRY_HERE/patient"
  IMAGE=$REGISTRY/patient
fi
stage 'Ray image, built or from the cache, and pushed'
vm prepare
stage 'machine image (where there is none yet)'
export XDG_CONFIG_HOME=$T/config RAYCTL_STATE_DIR=$T/state
rayctl() { "$T/www/rayctl" "$@"; }
machines=$T/state/local/clusters/rays
on_exit "pgrep -f -- '-pidfile $T/state/local/' | xargs -r kill -9"

rayctl up --provider Local --namespace rays --workers "${E2E_WORKERS:-2}" --size 2x3 --head-size 2x4 --image "$IMAGE" \
  --insecure-registry "$REGISTRY" --yes --wait 40m
stage 'up: until Ray is healthy'
rayctl machines
rayctl ps | tee ps
equal "$(grep -c '(healthy)' ps)" $((1 + ${E2E_WORKERS:-2})) 'healthy containers'
rayctl status --boot | sed -n '/^$/,$p'
rayctl logs head
rayctl exec head python scripts/driver.py 2>&1 | tee driver
grep_quiet '^Pi is approximately 3\.14[0-9]+\.$' driver
grep_quiet '^Successfully shut down Ray\.$' driver
equal "$(grep -cE '^10\.64\.[0-9.]+ \([0-9a-f]{12}\): [1-9][0-9]* tasks$' driver)" $((1 + ${E2E_WORKERS:-2})) 'nodes with tasks'
stage 'driver.py'
rayctl down rays --yes
stage 'down'
! pgrep -f -- "-pidfile $T/state/local/" || fail 'machines are left'
[ ! -e "$machines" ] || fail "files are left: $(find "$machines" | head)"
show_stages
