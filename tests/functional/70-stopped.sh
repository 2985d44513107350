#!/usr/bin/env bash
# Processes of the control plane that are stopped (SIGSTOP, a suspended machine) or killed: a stopped head blames nobody, a
# stopped worker is suspect and comes back, a head that was away longer than every limit finds everyone as they were.
source "$(dirname "$0")/common.sh"
need_root
driver=$RAYCTL_BUILD/drivers/control
ask() { "$driver" ask "$T/hr" "$@"; }
start_head() { background head "$driver" head "$T/h" "$T/hr" "127.0.0.1:${port:-0}" suspect=1500 down=4000; head_pid=$pid; wait_for 10 grep -q ready "$T/head.log"; port=$(sed -n 's/ready //p' "$T/head.log"); }
start_head
token=$(rayctl --state-dir "$T/h" --run-dir "$T/hr" token create --uses 5 --file "$T/token" >/dev/null; echo "$T/token")
for w in wa wb wc; do background $w "$driver" worker "$T/$w" "$T/$w-r" "127.0.0.1:$port" token="$token" name=$w heartbeat=300 backoff=500; eval "$w=$pid"; done
for w in wa wb wc; do wait_for 15 grep -q "view $w .* nodes 4" "$T/$w.log"; done
status() { ask nodes '{}' | python3 -c 'import json, sys; print(*sorted(n["name"] + "=" + n["status"] for n in json.load(sys.stdin)["nodes"]))'; }
are() { [ "$(status)" = "ray-ms-0=joined wa=$1 wb=$2 wc=$3" ]; }
are joined joined joined

# the head is stopped for longer than `down`: when it goes on it doesn't hold its own silence against the others
kill -STOP "$head_pid"; sleep 7; kill -CONT "$head_pid"
sleep 1; wait_for 5 are joined joined joined
grep_none "is (suspect|down)$" "$T/head.log"

# a worker is stopped: suspect, down; when it goes on it is what it was, and the others hear of it
kill -STOP "$wb"; wait_for 10 grep -q "node 'wb' is suspect" "$T/head.log"; wait_for 10 are joined down joined
kill -CONT "$wb"; wait_for 5 are joined joined joined
grep_quiet "node 'wb' is down" "$T/head.log"

# everyone is stopped but the head: taken for its own fault, nobody goes down
kill -STOP "$wa" "$wb" "$wc"; sleep 6
grep_quiet 'many nodes fell silent at once' "$T/head.log"
grep_none "node 'w[ac]' is down" "$T/head.log"
kill -CONT "$wa" "$wb" "$wc"; wait_for 5 are joined joined joined

# the head is killed and stays away for longer than every limit; wc is killed meanwhile and comes back from its disk
kill -9 "$head_pid"; wait "$head_pid" 2>/dev/null || true
kill -9 "$wc"; wait "$wc" 2>/dev/null || true
sleep 5
background wc "$driver" worker "$T/wc" "$T/wc-r" "127.0.0.1:$port" name=wc heartbeat=300 backoff=500
wait_for 8 grep -q 'view wc .* nodes 4' "$T/wc.log"
before=$(sed -nE 's/^view (w[a-c] [0-9.]+) .*/\1/p' "$T/wa.log" "$T/wb.log" "$T/wc.log" | sort -u)
start_head
wait_for 10 are joined joined joined
equal "$(ask stat '{}' | python3 -c 'import json, sys; print(json.load(sys.stdin)["epoch"])')" 2
sleep 1; equal "$(sed -nE 's/^view (w[a-c] [0-9.]+) .*/\1/p' "$T/wa.log" "$T/wb.log" "$T/wc.log" | sort -u)" "$before" 'everyone keeps the address'
