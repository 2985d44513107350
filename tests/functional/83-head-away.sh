#!/usr/bin/env bash
# The head's supervisor is dead for AWAY seconds (30) while two workers' containers talk, encrypted: a stream of TCP, round
# trips of UDP, names looked up each second. Nothing notices. When it is back, all are joined again within 5 s.
# timeout: 240
# network: host
source "$(dirname "$0")/common.sh"
source "$here/app_lab.sh"
need tun
need_command dig iperf3 jq
away=${AWAY:-30}
cat >ctx/Dockerfile <<'END'
FROM scratch
COPY --chmod=755 busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
CMD ["sleep", "100000"]
END
make_lab vm0 vm1 vm2
app_image vm0 vm1 vm2
start_head 2 --overlay userspace
start_workers vm1 vm2
cat >talk.spec <<'END'
(define Namespace "talk")
(define one (label "one" (docker "app:1")))
(define two (label "two" (docker "app:1")))
(place (labelRule "exclusive" two) one)
(connect 5201 one two)
(connect 7100 one two)
END
joined() { [ "$(node vm0 status | grep -cE '^ray-(ms-0|wk-[01]) ')" = 3 ]; }
wait_for 90 joined
node vm0 deploy talk.spec >placed
up() { [ "$(node vm0 ps | grep -cE ' Up .* ray-wk-[01]/(one|two) ')" = 2 ]; }
wait_for 90 up
place() { node vm0 ps -o json | jq -r --arg name "$1" '.[] | select(.name == $name) | .'"$2"; }
in_container() {  # NAME COMMAND...: this machine's program in the container's network
  local name=$1; shift
  nsenter "--net=/proc/${pid_of[$name]}/ns/net" "$@"
}
declare -A pid_of=()
for name in one two; do pid_of[$name]=$(place $name pid); done
two=$(place two address)

cat >echo.py <<'PY'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 7100))
while True:
    data, who = s.recvfrom(100); s.sendto(data, who)
PY
# ten round trips a second until the file `end` is there: how many were sent and lost, the longest time between two
cat >ask.py <<'PY'
import os, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((sys.argv[1], 7100)); s.settimeout(0.5)
sent = lost = 0; heard = time.monotonic(); gap = 0
while not os.path.exists('end'):
    sent += 1
    try:
        s.send(b'%d' % sent)
        while s.recv(100) != b'%d' % sent: pass
        now = time.monotonic(); gap = max(gap, now - heard); heard = now
    except OSError: lost += 1
    time.sleep(0.1)
print(sent, lost, round(max(gap, time.monotonic() - heard), 2))
PY
look_up() {  # a name each second: those that failed
  local asked=0 failed=0
  while [ ! -e end ]; do
    asked=$((asked + 1))
    [ "$(in_container one dig +short +time=2 +tries=2 @127.0.0.11 two.q A)" = "$two" ] || failed=$((failed + 1))
    sleep 1
  done
  echo "$asked $failed"
}
background echo in_container two python3 echo.py
background iperf in_container two iperf3 -s
answers() { in_container one timeout 1 bash -c "exec 3<>/dev/tcp/$two/5201"; }
wait_for 20 answers
sleep 1
in_container one python3 ask.py "$two" >asked & ask=$!
look_up >looked_up & look=$!
on_exit "kill $ask $look"
in_container one iperf3 -c "$two" -t $((away + 12)) -b 20M -J >stream.json & stream=$!
sleep 3

lines=$(wc -l <vm1/log)
kill -9 "$(cat vm0/pid)"
echo "the head's supervisor is dead for $away s"
sleep "$away"
grep_quiet "the head .* can't be reached" vm1/log
begin=$EPOCHREALTIME
start_head 2 --overlay userspace
wait_for 30 node vm0 status
# who is merely remembered has told nothing yet
back() { [ "$(node vm0 status -o json | jq '[.nodes[] | select(.report)] | length')" = 3 ]; }
wait_for 30 back
took=$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
wait "$stream"
touch end
wait "$ask" "$look"
read -r sent lost gap <asked
read -r names failed <looked_up
echo "head back: all joined after $took s; UDP: $lost of $sent lost, at most $gap s apart; names: $failed of $names failed"
jq -r '"TCP: \(.end.sum_received.bytes) bytes, slowest second \([.intervals[].sum.bytes] | min) bytes"' stream.json
awk -v t="$took" 'BEGIN { exit t >= 5 }' || fail "$took s until all were joined again"
[ "$lost" -le $((sent / 200)) ] || fail "$lost of $sent round trips were lost"
awk -v g="$gap" 'BEGIN { exit g >= 2 }' || fail "nothing was heard for $gap s"
equal "$failed" 0 'names that failed'
jq -e '[.intervals[].sum.bytes] | min > 0' stream.json >/dev/null || fail 'the stream stood still'
tail -n +$((lines + 1)) vm1/log >since
grep_none 'container .* (ended|is to end)|network: repaired' since
