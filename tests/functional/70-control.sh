#!/usr/bin/env bash
# The control plane between namespaces: join by token, run through the head, lose and regain the head, cut and heal.
source "$(dirname "$0")/common.sh"
need_root
driver=$RAYCTL_BUILD/drivers/control
h=ch$$ a=ca$$ b=cb$$
make_netns "$h" "$a" "$b"
connect_netns "$h" 10.9.1.1/24 "$a" 10.9.1.2/24
connect_netns "$h" 10.9.2.1/24 "$b" 10.9.2.2/24
ask() { "$driver" ask "$T/hr" "$@"; }
start_head() { rm -f "$T/head.log"; background head ip netns exec "$h" "$driver" head "$T/h" "$T/hr" :7443 suspect=1500 down=4000; head_pid=$pid; wait_for 10 grep -q ready "$T/head.log"; }
start_worker() { local ns=$1 name=$2; shift 2; background "$name" ip netns exec "$ns" "$driver" worker "$T/$name" "$T/$name-r" "$@" heartbeat=300 backoff=500; }
token() { rayctl --state-dir "$T/h" --run-dir "$T/hr" token create "$@"; }
start_head

# a secret never goes into a pipe, and its file is root's alone
file=$(token --uses 1)
equal "$(stat -c %a "$file")" 600
start_worker "$a" wa 10.9.1.1 token="$file"; worker_a=$pid
wait_for 10 grep -q 'view ray-wk-0 10.64.0.66 epoch 1' "$T/wa.log"
expect 0 rayctl --run-dir "$T/hr" token list
grep_quiet '^[a-z2-7]{8} +worker +used up +1/1 ' out
equal "$(stat -c %a "$T/wa/cluster/node.key")" 600

# refusals, each with what to do
expect 1 ip netns exec "$b" "$driver" worker "$T/wb" "$T/wb-r" 10.9.2.1 token="$file"
grep_quiet 'the token [a-z0-9]+ is used up: it was good for one use \(on the head, make a new one: rayctl token create' err
sed -E 's/^rctl1\.[^.]{42}/rctl1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA/' "$file" >foreign; chmod 600 foreign
expect 1 ip netns exec "$b" "$driver" worker "$T/wb" "$T/wb-r" 10.9.2.1 token=foreign
grep_quiet "cannot join by 10.9.2.1:7443: its CA isn't the one that the token names" err
token --uses 5 --file "$T/many" >/dev/null
expect 1 ip netns exec "$b" "$driver" worker "$T/wb" "$T/wb-r" 10.9.2.1 token="$T/many" name=ray-wk-0
grep_quiet "the name belongs to node [0-9a-f]{20} \(joined\)" err
id=$(cut -d. -f4 "$T/many")  # several of one second have no order in the list
expect 0 rayctl --run-dir "$T/hr" token revoke "$id"
expect 1 ip netns exec "$b" "$driver" worker "$T/wb" "$T/wb-r" 10.9.2.1 token="$T/many"
grep_quiet "the token $id was revoked" err
token --uses 5 --file "$T/many" >/dev/null
start_worker "$b" wb 10.9.2.1 token="$T/many" name=gpu
wait_for 10 grep -q 'view gpu 10.64.0.130 epoch 1 nodes 3' "$T/wb.log"

# through the head to a node and back, whole and with its exit code
head -c 2000000 /dev/urandom >bytes
code=0; "$driver" run "$T/hr" exec '{"node":"gpu","argv":["sh","-c","cat; exit 9"]}' <bytes >back || code=$?
equal "$code" 9; cmp bytes back

# an operator of the group may look, and no more
getent group rayctl >/dev/null || { groupadd rayctl 2>/dev/null && on_exit "groupdel rayctl"; } || true
if getent group rayctl >/dev/null; then
  kill "$head_pid"; wait_for 5 bash -c "! test -e $T/hr/control.sock"; start_head
  equal "$(stat -c '%a %G' "$T/hr/control.sock")" '660 rayctl'
  chmod 755 "$T" "$T/hr"
  as_operator() { setpriv --reuid=65534 --regid="$(getent group rayctl | cut -d: -f3)" --clear-groups "$@"; }
  install -m 755 "$driver" "$T/driver"; install -m 755 "$RAYCTL" "$T/rayctl"
  wait_for 10 bash -c "[ \$(grep -c '^connected' $T/wa.log) = 2 ] && [ \$(grep -c '^connected' $T/wb.log) = 2 ]"
  equal "$(ask stat '{}' | python3 -c 'import json,sys; print(json.load(sys.stdin)["epoch"])')" 2
  expect 0 as_operator "$T/driver" ask "$T/hr" nodes '{}'
  expect 1 as_operator "$T/rayctl" --run-dir "$T/hr" token create
  grep_quiet "cannot use 'token.create' as uid 65534: permission denied \(it needs root \(uid 0\) on the head or an admin's certificate\)" err
  expect 1 as_operator "$T/driver" ask "$T/hr" nodes.remove '{"name":"gpu"}'
  expect 1 setpriv --reuid=65534 --regid=65534 --clear-groups "$T/driver" ask "$T/hr" nodes '{}'
  grep_quiet 'permission denied \(use sudo, or join the group rayctl' err
fi

# a cut: suspect, down; healed: joined again, with what it had
ip -n "$h" link set "v-$b" down
status() { ask nodes '{}' | python3 -c 'import json,sys; print({n["name"]: n["status"] for n in json.load(sys.stdin)["nodes"]}["'"$1"'"])'; }
wait_for 6 bash -c "$(declare -f status ask); driver=$driver T=$T; [ \"\$(status gpu)\" = suspect ]"
wait_for 8 bash -c "$(declare -f status ask); driver=$driver T=$T; [ \"\$(status gpu)\" = down ]"
equal "$(status ray-wk-0)" joined
grep_quiet "the head 10.9.2.1:7443 can't be reached" "$T/wb.log"
ip -n "$h" link set "v-$b" up
wait_for 10 bash -c "$(declare -f status ask); driver=$driver T=$T; [ \"\$(status gpu)\" = joined ]"
grep_quiet 'is reached again after' "$T/wb.log"

# kill -9 of a worker: the next one is the same node, without a token
kill -9 "$worker_a"; wait "$worker_a" || true
start_worker "$a" wa 10.9.1.1
wait_for 10 grep -q 'view ray-wk-0 10.64.0.66' "$T/wa.log"
grep_none 'rctl1\.' "$T/head.log"
