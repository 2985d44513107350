#!/usr/bin/env bash
# The provider Local: machines are QEMU processes that are found again whatever happened, and that leave nothing behind.
# (What they boot is an empty disk here; make e2e boots Debian.)
# timeout: 180
source "$(dirname "$0")/common.sh"
need_command "qemu-system-$(uname -m)" qemu-img
state=$T/state
clusters=$state/local/clusters
machine() { "$RAYCTL_BUILD/drivers/machine" "$state" "$@"; }
truncate -s 1M disk.img
boot() { machine boot "$1" "$2" size=1x0.25 disk=1 "image=$T/disk.img" "${@:3}"; }
processes() { pgrep -c -f -- "-name rayctl-$1-.* -pidfile $clusters/" || true; }
kill_machine() { local pid; pid=$(cat "$clusters/$1/$2/pid"); kill -9 "$pid"; wait_for 5 bash -c "! kill -0 $pid"; }
on_exit "pgrep -f -- '-pidfile $clusters/' | xargs -r kill -9"
open() { bash -c "exec 3<>/dev/tcp/$1/$2" 2>/dev/null; }

# --- booting, again, and from another process ---
machine prepare one 8080
boot one head role=head >head
jq -e '.state == "running" and .id == "one.head" and .role == "head"' head >/dev/null
address=$(jq -r .public head)
boot one head role=head | cmp - head
equal "$(processes one)" 1 'processes after the same want twice'
boot one w1 >worker
[ "$(jq -r .private worker)" != "$(jq -r .private head)" ] || fail 'two machines have one address'
equal "$(machine list one | jq -c 'map(.key)')" '["head","w1"]'
open "$address" 7443 && open "$address" 8080
machine prepare one 8081
open "$address" 8081
! open "$address" 8080 || fail 'port 8080 is still forwarded'
machine console one head >/dev/null
equal "$(stat -c %a "$clusters/one/head" "$clusters/one/head/machine.json" | xargs)" '700 600'

# --- a lost pid file, a killed machine, a command that died half-way ---
rm "$clusters/one/head/pid"
equal "$(machine list one | jq -r '.[] | select(.key == "head") | .state')" running
kill_machine one w1
equal "$(machine list one | jq -r '.[1].state')" terminated
machine list one | jq -r '.[1].reason' >reason
grep_quiet 'its QEMU process ended' reason
boot two half >/dev/null
kill_machine two half
sed -i 's/"started": true/"started": false/' "$clusters/two/half/machine.json"  # as it was before QEMU ran
equal "$(machine list two)" '[]' 'a machine that never ran'
boot two half >/dev/null
equal "$(machine list two | jq -r '.[0].state')" running
mkdir "$clusters/two/empty"  # not even a record

# --- nothing is left ---
equal "$(machine sweep one | jq -c 'map(.kind)')" '["machine"]' 'what sweep leaves alone'
[ ! -e "$clusters/one/w1" ] || fail 'the disk of the killed machine is still there'
machine terminate one head
equal "$(machine list one)" '[]'
equal "$(machine sweep one)" '[]'
[ ! -e "$clusters/one" ] || fail 'files of the cluster are left'
equal "$(processes one)" 0
equal "$(processes two)" 1 "the other cluster's machine"
rm -r "$clusters/two/half"  # somebody did it by hand
equal "$(machine sweep two | jq -c 'map(.kind)')" '["process"]'

# --- refusals ---
expect 1 boot three a size=999x1
grep_quiet "unknown size '999x1' of Local \(sizes are written CPUSxGIB, like 2x4\)" err
expect 1 boot three a size=1x4096
grep_quiet 'cannot boot a machine of 4096 GiB: this host has .* left \(choose a smaller size, or end something\)' err
expect 1 machine boot three a size=1x0.25 "image=$T/none"
grep_quiet "cannot find machine image '$T/none': looked for .*make-machine.sh" err
expect 1 boot ../x a
grep_quiet "cannot use namespace '../x' on Local" err
[ ! -e "$clusters/three/a/machine.json" ] || fail 'a refused machine has a record'

# --- how a machine fetches rayctl ---
printf 'GET /rayctl HTTP/1.1\r\nHost: x\r\n\r\n' | rayctl hand-out >answer
tail -c "$(stat -c %s "$RAYCTL")" answer | cmp - "$RAYCTL"
printf 'GET / HTTP/1.1\r\n\r\n' | rayctl hand-out >answer
grep_quiet '^HTTP/1.0 404 ' answer
expect 1 rayctl hand-out
