#!/usr/bin/env bash
# One container on each layout of control groups that the machine can show: as it is, v1 alone, v2 alone.
source "$(dirname "$0")/common.sh"
source "$here/bundle.sh"
bundle b
edit b '.linux.resources.pids.limit = 50'

check_layout() {  # LAYOUT, in a mount namespace of its own
  cgroup_layout "$1"
  local limits=/sys/fs/cgroup/pids/pids.max
  if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
    limits=/sys/fs/cgroup/pids.max
    grep -qw pids /sys/fs/cgroup/cgroup.controllers || { limits=/sys/fs/cgroup/cgroup.type; edit b '.linux.resources = {}'; }
  fi
  in_container 0 b "cat $limits; cat /proc/self/cgroup | cut -d: -f3 | sort -u; touch /sys/fs/cgroup/x 2>/dev/null || echo ro"
  equal "$(tail -n 2 out | xargs)" '/ ro' "$1"
  grep_quiet '^(50|domain)$' out
  background_container "l-$1" b
  expect 0 oci pause "l-$1"
  equal "$(oci state "l-$1" | jq -r .status)" paused
  timeout 20 "$RAYCTL" oci exec -d --ignore-paused "l-$1" sleep 1000 </dev/null >/dev/null 2>&1 &   # frozen as it joins
  expect 0 oci resume "l-$1"
  wait_for 5 sh -c "[ \$('$RAYCTL' oci ps -f json l-$1 | jq length) = 2 ]"
  expect 0 oci delete -f "l-$1"
  equal "$(find /sys/fs/cgroup -maxdepth 3 -type d -name "l-$1")" ''
  # with a cgroup of the host's and without a cgroup namespace
  edit b 'del(.linux.namespaces[] | select(.type == "cgroup"))'
  in_container 0 b "cat $limits"
  grep_quiet '^(50|domain)$' out
}
layouts=(hybrid)
[ ! -d /sys/fs/cgroup/unified ] || layouts+=(v1 v2)
for layout in "${layouts[@]}"; do
  cp b/config.json saved.json
  (exec unshare -m bash -c "$(declare -p T RAYCTL here serial); $(declare -f); set -euo pipefail; exit_commands=(); trap at_exit EXIT; cd '$T'; check_layout '$layout'") || fail "layout $layout"
  mv saved.json b/config.json
done
