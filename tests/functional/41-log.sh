#!/usr/bin/env bash
# 100 MB of numbered lines: rotated, followed and counted without a gap, in little memory; LOG_MB=1000 for more.
# timeout: 300
source "$(dirname "$0")/common.sh"
source "$here/containers.sh"
need_command awk

lines=$((${LOG_MB:-100} * 10000))  # of 100 bytes
pad=$(printf '%090d' 0)
# the follower reads while it is written and rotated; what it misses it would say
container create big "$T/rootfs" -s $((16 << 20)) -n 4 -- sh -c "sleep 0.5; exec awk 'BEGIN { for (i = 1; i <= $lines; i++) printf \"%09d$pad\\n\", i }'"
container start big
"$DRIVER" logs big -f | awk -v pad="$pad" '{n++; if ($0 != sprintf("%09d%s", n, pad)) {print "line " n " is " $0; bad++; if (bad > 5) exit 1}} END {print n}' >follow & follow=$!
shim=$(container shim-pid big)
peak=0
while [ "$(container state big)" = running ]; do
  rss=$(awk '/^VmHWM/ {print $2}' "/proc/$shim/status" 2>/dev/null) || true
  [ "${rss:-0}" -le "$peak" ] || peak=$rss
  sleep 0.1
done
wait "$follow" || fail "following: $(head -n 5 follow)"
equal "$(cat follow)" "$lines" 'the follower lost lines'
equal "$(container wait big)" 'exit code 0'
[ "$peak" -lt 10240 ] || fail "the shim took $peak KiB"
equal "$(ls "$C/big" | grep -c '^log')" 4
for file in "$C"/big/log*; do [ "$(stat -c %s "$file")" -le $((16 << 20)) ]; done
container logs big >kept
equal "$(tail -n 1 kept)" "$(printf '%09d%s' "$lines" "$pad")"
equal "$(sort -c kept && awk 'END {print NR}' kept)" "$(((10#$(tail -n 1 kept | cut -c 1-9)) - (10#$(head -n 1 kept | cut -c 1-9)) + 1))" 'the kept part has a gap'
equal "$(container logs big -n 3 | cut -c 1-9 | xargs)" "$(seq -f %09.0f $((lines - 2)) "$lines" | xargs)"
container remove big

# nobody has to read: a stopped follower holds nothing up
run_container fast -- sh -c 'head -c 30000000 /dev/zero | tr "\0" x; echo; echo done'
equal "$(container wait fast)" 'exit code 0'
equal "$(container logs fast | tail -n 1)" done
equal "$(container logs fast | wc -c)" $((30000000 + 6))
container remove fast

# a full disk costs lines, never the container; afterwards the log says how much
mkdir full
mount -t tmpfs -o size=6m none full
head -c 5000000 /dev/zero >full/ballast
C=$T/full/containers
container create disk "$T/rootfs" -s 1000000000 -- sh -c 'yes | head -c 100000; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo after; sleep 0.5; exit 5'
container start disk
sleep 1
equal "$(container state disk)" running
is_full() { [ "$(df --output=avail full | tail -n 1)" -lt 200 ]; }
wait_for 20 is_full
filled() { container exec disk -- ps -o comm >list && ! grep -qx head list; }
wait_for 60 filled
rm full/ballast
container exec disk -- touch /tmp/go
equal "$(container wait disk)" 'exit code 5'
container logs disk >log
grep_quiet '^\[rayctl\] [0-9]+ bytes of the log were lost: No space left on device$' log
grep_quiet '^after$' log
container remove disk
# and the end is recorded even while it is full
container create end "$T/rootfs" -s 1000000000 -- sh -c 'yes | head -c 4000000; exit 6'
container start end
equal "$(container wait end)" 'exit code 6'
container remove end
