#!/usr/bin/env bash
# The head's control port hands its own binary to machines that are about to join, over plain HTTP beside TLS.
source "$(dirname "$0")/common.sh"
need_command curl
control=$RAYCTL_BUILD/drivers/control
port=$(free_port)
background head "$control" head "$T/head" "$T/head-run" "127.0.0.1:$port"
url=http://127.0.0.1:$port
wait_for 20 grep -q ready "$T/head.log"
curl -sSf -o got "$url/rayctl"
cmp got "$control"
equal "$(curl -sI "$url/rayctl" | tr -d '\r' | awk '/^Content-Length/ { print $2 }')" "$(stat -c %s "$control")"
for path in / /rayctl/ /etc/passwd '/rayctl?x'; do
  equal "$(curl -s -o /dev/null -w '%{http_code}' "$url$path")" 404 "$path"
done

# Many at once, some of which never say what they want or stop reading; the loop goes on.
for _ in $(seq 20); do exec {held}<>"/dev/tcp/127.0.0.1/$port"; printf 'GET /ray' >&"$held"; done
for _ in $(seq 10); do exec {held}<>"/dev/tcp/127.0.0.1/$port"; printf 'GET /rayctl HTTP/1.0\r\n\r\n' >&"$held"; done
seq 20 | xargs -P 20 -I{} curl -sSf -o "got.{}" "$url/rayctl"
for n in $(seq 20); do cmp "got.$n" "$control"; done
printf 'G%.0s' {1..20000} | curl -s -m 5 telnet://127.0.0.1:"$port" >/dev/null || true  # a request without end

# TLS beside it
file=$(rayctl --state-dir "$T/head" --run-dir "$T/head-run" token create --uses 1)
background worker "$control" worker "$T/worker" "$T/worker-run" "127.0.0.1:$port" token="$file"
wait_for 20 grep -q 'view ray-wk-0' "$T/worker.log"
grep_none 'before saying who they are' "$T/head.log"
