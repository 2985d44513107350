#!/usr/bin/env bash
# `rayctl up` that is ended half-way, by Ctrl-C and by kill -9, at many moments: the next one goes on with the machines that
# are there, none is booted twice or lost, and `down`, itself killed, leaves nothing.
# timeout: 2400
source "$(dirname "$0")/lib.sh"
start_host
build_stand_in
vm prepare
stage 'machine image (where there is none yet)'
export XDG_CONFIG_HOME=$T/config RAYCTL_STATE_DIR=$T/state
rayctl() { "$T/www/rayctl" "$@"; }
machines=$T/state/local/clusters/cut
on_exit "pgrep -f -- '-pidfile $T/state/local/' | xargs -r kill -9"
up=(up --provider Local --namespace cut --size 1x2 --head-size 1x2 --image "$IMAGE" --insecure-registry "$REGISTRY" --overlay vxlan
  --yes --wait 20m --workers 2)
# In a group of its own, which gets Ctrl-C as a whole, as from a terminal. (Background jobs of a script ignore SIGINT.)
on_exit 'kill -9 -- "-$pid" 2>/dev/null || true'  # before its machines, which it would replace
begin() { env --default-signal=INT setsid "$T/www/rayctl" "$@" >"$T/said" 2>&1 </dev/null & pid=$!; }
until_so() { (wait_for "$@") || { cat "$T/said" >&2; exit 1; }; }
processes() { pgrep -c -f -- "-pidfile $machines/" || true; }
at_most_three() { [ "$(processes)" -le 3 ]; }
ids() { rayctl machines cut -o json | jq -c '[.[0].machines[] | select(.phase == "booted") | [.number, .id]] | sort'; }

# --- killed while it boots ---
for delay in 0.1 0.2 0.3 0.4 0.6 0.8 1.0 1.3; do
  begin "${up[@]}"
  sleep "$delay"; kill -9 "$pid"; wait "$pid" || true
  wait_for 10 at_most_three  # a QEMU that starts is two processes for a moment
done
stage 'up: killed eight times while it boots'

# --- Ctrl-C, once all machines are there ---
begin "${up[@]}"
three() { [ "$(ids | jq length)" = 3 ] && [ "$(processes)" = 3 ]; }
until_so 120 three
sleep 2
kill -INT -- "-$pid"
code=0; wait "$pid" || code=$?
cat "$T/said"
equal "$code" 130 'exit code of an interrupted up'
grep_quiet 'Stopped waiting, not the machines: 3 machines, \$[0-9.]+/h, \$[0-9.]+ so far' "$T/said"
grep_quiet '^  go on:   rayctl up --provider Local --namespace cut .* --workers 2$' "$T/said"
grep_quiet '^  look:    rayctl machines cut$' "$T/said"
grep_quiet '^  end it:  rayctl down cut$' "$T/said"
equal "$(processes)" 3 'machines after Ctrl-C'
ids | tee before
go_on=$(sed -nE 's/^  go on:   rayctl //p' "$T/said")
stage 'up: Ctrl-C'

# --- killed between the head's start and its claim, and after it ---
begin "${up[@]}"
booting() { rayctl machines cut | grep -q Machine; }
until_so 60 booting
sleep 5; kill -9 "$pid"; wait "$pid" || true
begin "${up[@]}"
claimed() { grep -qE '^Machine-[0-9]+ Master.*: (joined|pulling|starting)' "$T/said"; }
until_so 900 claimed
kill -9 "$pid"; wait "$pid" || true
cat "$T/said"
equal "$(ids)" "$(cat before)" 'machines'
stage 'up: killed before and after the claim'

# --- the line that Ctrl-C told goes on to the end ---
eval "rayctl $go_on"
equal "$(ids)" "$(cat before)" 'machines'
equal "$(processes)" 3 'machines'
equal "$(rayctl ps | grep -c '(healthy)')" 3 'healthy containers'
stage 'up: the same machines become healthy'

# --- down, killed; then once more ---
begin down cut --yes
sleep 0.3; kill -9 "$pid"; wait "$pid" || true
rayctl down cut --yes 2>again || grep_quiet "cannot find cluster|there is no cluster" again
equal "$(processes)" 0 'machines after down'
[ ! -e "$machines" ] || fail "files are left: $(find "$machines" | head)"
[ -z "$(find "$T/state/local/clusters" -mindepth 1)" ] || fail "left: $(find "$T/state/local/clusters")"
[ ! -e "$XDG_DATA_HOME/rayctl/clusters/cut" ] || fail 'the journal is left'
stage 'down, killed, and again'
show_stages
