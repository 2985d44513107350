#!/usr/bin/env bash
# A head that is claimed from another machine; what its operator and her colleague may do from there, without root.
source "$(dirname "$0")/common.sh"
need_root
need network_namespaces vxlan
h=rh$$ o=ro$$ w=rw$$
make_netns "$h" "$o" "$w"
connect_netns "$h" 10.9.3.1/24 "$o" 10.9.3.2/24
connect_netns "$h" 10.9.4.1/24 "$w" 10.9.4.2/24
install -m 755 "$RAYCTL" "$T/rayctl"
chmod 755 "$T"
# as PERSON COMMAND...: a user without any right, on the operators' machine
as() {
  local person=$1; shift
  install -d -o 65534 -g 65534 "$T/$person"
  ip netns exec "$o" setpriv --reuid=65534 --regid=65534 --clear-groups env -u RAYCTL_STATE_DIR -u RAYCTL_RUN_DIR \
    HOME="$T/$person" XDG_CONFIG_HOME="$T/$person/config" XDG_DATA_HOME="$T/$person/data" XDG_RUNTIME_DIR="$T/$person/run" \
    USER="$person" "$T/rayctl" "$@"
}
start() { local name=$1 ns=$2; shift 2; background "$name" ip netns exec "$ns" "$RAYCTL" --state-dir "$T/$name" --run-dir "$T/$name-r" node "$@"; }

# --- the claim ---
as ann context claim-token lab --out "$T/ann/token" >/dev/null
equal "$(stat -c '%a %U' "$T/ann/token" "$T/ann/data/rayctl/clusters/lab/root.key" | sort -u)" '600 nobody'
expect 1 as ann context claim lab 10.9.3.1
grep_quiet 'cannot reach the head 10.9.3.1:7443: ' err
start_head() { start head "$h" --role head --image localhost:1/none --overlay vxlan --workers 1 --memory 1G --advertise 10.9.4.1 --claim-token-file "$T/ann/token"; head_pid=$pid; }
start_head
wait_for 10 grep -q 'waiting on port 7443 for the operator who claims this head' head.log
ip netns exec "$h" "$RAYCTL" --run-dir "$T/head-r" status >status
grep_quiet '^no cluster yet: it waits for the operator who claims it' status
expect 0 as ann context claim lab 10.9.3.1 --wait 20s
grep_quiet '^lab$' out
[ ! -e "$T/ann/data/rayctl/clusters/lab/claim-token" ] || fail 'the claim token is still there'
wait_for 20 as ann status
as eve context claim-token lab --out "$T/eve/token" >/dev/null
expect 1 as eve context claim lab 10.9.3.1
grep_quiet 'cannot use the head 10.9.3.1:7443: its certificate is from another cluster' err

# --- an admin from elsewhere ---
as ann status >status
grep_quiet '^ray-ms-0 +head +joined' status
as ann context ls >contexts
grep_quiet '^\* +lab +10.9.3.1:7443 +admin +ann +in (29|30) days' contexts
expect 2 as ann token create
grep_quiet 'name a file for the secret: --file FILE' err
as ann token create --file "$T/ann/worker" >/dev/null
start worker "$w" --role worker --join 10.9.4.1 --token-file "$T/ann/worker" --memory 1G
joined() { as ann status | grep -qE '^ray-wk-0 +worker +joined'; }
wait_for 20 joined

# --- a colleague ---
as ann operators add bob --out "$T/ann/bob.context" >/dev/null
equal "$(stat -c %a "$T/ann/bob.context")" 600
expect 0 as bob context import "$T/ann/bob.context" --name farm
expect 0 as bob status --context farm
expect 0 as bob ps
for line in 'token list' 'token create --file x' 'nodes rm ray-wk-0' 'operators ls' 'operators rm ann'; do
  # shellcheck disable=SC2086
  expect 1 as bob $line
  grep_quiet 'as operator bob: permission denied \(it needs root \(uid 0\) on the head or an admin.s certificate\)' err
done
expect 1 as bob status --context frm
grep_quiet "cannot find context 'frm': did you mean 'farm'\?" err
as ann operators ls >operators
equal "$(awk '{ print $1, $2 }' operators | tr '\n' ,)" 'NAME ROLE,ann admin,bob operator,'
expect 0 as ann operators rm bob
expect 1 as bob ps
grep_quiet "operator 'bob' was removed from this cluster" err

# --- by token, from a machine that knows nothing yet; and the root's key is nowhere on the head ---
as ann token create --role operator --file "$T/ann/carl" >/dev/null
install -o 65534 -m 600 "$T/ann/carl" "$T/carl-token"
expect 0 as carl context add lab 10.9.3.1 --token-file "$T/carl-token"
expect 0 as carl ps
[ ! -e "$T/head/cluster/root.key" ]
equal "$(openssl x509 -in "$T/head/cluster/ca.crt" -noout -issuer -ext basicConstraints | grep -c 'pathlen:0\|root of cluster')" 2

# --- a restart of the head: claimed it stays ---
kill -9 "$head_pid"; wait "$head_pid" || true
start_head
wait_for 20 as ann status
expect 0 as ann nodes rm ray-wk-0
