#!/usr/bin/env bash
# Ctrl-C in the middle of `make demo`: no process, network namespace, mount, control group or file of it stays.
# timeout: 900
# network: host
source "$(dirname "$0")/common.sh"
need_root
need network_namespaces overlayfs vxlan memory_12g disk_8g
unset RAYCTL_STATE_DIR RAYCTL_RUN_DIR
export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
before() { ls /run/netns 2>/dev/null; find /sys/fs/cgroup -path '*/rayctl/*' -prune; }
before >before
# a job of its own process group with default signals, as a shell's foreground job has
setsid python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])' \
  /bin/bash "$top/tests/demo/run.sh" >demo.log 2>&1 &
demo=$!
wait_for 600 grep -q 'rayctl node: a head' demo.log
sleep 6  # somewhere between joining and a healthy Ray
kill -INT "$demo"
code=0
wait "$demo" || code=$?
equal "$code" 130 'exit code of an interrupted demo'
directory=$(sed -nE 's|^--- (/var/tmp/rayctl-demo\.[^/]*)/.*|\1|p' demo.log | head -n 1)
[ -n "$directory" ] || fail 'the demo showed no log'
[ ! -e "$directory" ] || fail "$directory is left"
pgrep -fa "$directory" >processes || true
grep_none . processes
grep_none "$directory" /proc/self/mountinfo
before >after
diff before after
