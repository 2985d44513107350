#!/usr/bin/env bash
# Strangers, slow readers and a crowd on the control port: bounded, and the others never notice.
source "$(dirname "$0")/common.sh"
need_root
driver=$RAYCTL_BUILD/drivers/control nodes=500
[ "${RAYCTL_MODE:-release}" = release ] || nodes=100  # -O0 parses JSON at a tenth of the speed
ask() { "$driver" ask "$T/hr" "$@"; }
number() { python3 -c 'import json,sys; print(json.load(sys.stdin)["'"$1"'"])'; }
background head "$driver" head "$T/h" "$T/hr" 127.0.0.1:0 greeting=2 pending=64
wait_for 10 grep -q ready "$T/head.log"
at=127.0.0.1:$(sed -n 's/ready //p' "$T/head.log")
rayctl --state-dir "$T/h" --run-dir "$T/hr" token create --uses 1000 --file "$T/token" >/dev/null
background worker "$driver" worker "$T/w" "$T/wr" "$at" token="$T/token"
wait_for 10 grep -q 'view ray-wk-0' "$T/worker.log"

# strangers: gone when their time is over, one line about them all
mkfifo hold; background garbage bash -c "exec $driver garbage $at 200 <$T/hold"; exec 7>hold
wait_for 10 grep -q sent "$T/garbage.log"
[ "$(ask stat '{}' | number pending)" -le 64 ] || fail 'more than 64 strangers are held'
"$driver" run "$T/hr" exec '{"node":"ray-wk-0","argv":["true"]}' </dev/null
wait_for 10 bash -c "[ \$($driver ask $T/hr stat '{}' | python3 -c 'import json,sys; print(json.load(sys.stdin)[\"pending\"])') = 0 ]"
exec 7>&-
[ "$(grep -c 'ended before saying who they are' "$T/head.log")" -le 2 ] || fail 'strangers fill the log'

# `logs -f` into a pipe that nobody reads: memory stays, other requests go on
before=$(ask stat '{}' | number rss)
mkfifo slow; "$driver" run "$T/hr" flood '{"node":"ray-wk-0"}' </dev/null >slow & reader=$!
exec 8<slow; sleep 2
"$driver" run "$T/hr" exec '{"node":"ray-wk-0","argv":["true"]}' </dev/null
after=$(ask stat '{}' | number rss)
[ $((after - before)) -lt 4096 ] || fail "the head grew by $((after - before)) KiB for one slow reader"
grep_none 'disconnected' "$T/worker.log"
exec 8<&-; wait "$reader" || true
wait_for 5 grep -q cancelled "$T/worker.log"

# a crowd from one process: all in, everyone knows everyone
before=$(ask stat '{}' | number rss)
mkfifo crowd; background swarm bash -c "exec $driver swarm $nodes $at token=$T/token <$T/crowd"; exec 9>crowd
wait_for 120 grep -q '^connected' "$T/swarm.log"
sed 's/^/swarm: /' "$T/swarm.log"
equal "$(ask stat '{}' | number nodes)" $((nodes + 1))
after=$(ask stat '{}' | number rss)
echo "head: $(((after - before) / nodes)) KiB a node, $after KiB in all"
[ $(((after - before) / nodes)) -lt 100 ] || fail "the head needs $(((after - before) / nodes)) KiB a node"
grep_none 'is suspect|is down' "$T/head.log"
