#!/usr/bin/env bash
# Nodes that can't be let in, or that wait for an image: one whose disk was copied from another's, one that the pool has no addresses for. Each is told
# why and what to do; the cluster goes on without noticing.
# timeout: 240
source "$(dirname "$0")/common.sh"
source "$here/app_lab.sh"
need tun
make_lab vm0 vm1 vm2
app_image vm0 vm1 vm2
start_pair --overlay userspace --pool 10.99.0.0/25
both_up() { both_run && kill -0 "$inside"; }
resolves() { worker nslookup head.q 127.0.0.11 | grep -q 10.99.; }
wait_for 20 resolves

# a disk that was copied while its node runs
cp -a vm1/state/cluster vm2/state/
start_node vm2 --role worker --join "$lab_network.10" "${sizes[@]}"
told() { grep -qE "node [0-9a-f]+ is connected already, from $lab_network\.11.* \(was this machine's disk copied .*rayctl node reset" vm2/log; }
wait_for 30 told
sleep 3; both_up; resolves
for vm in vm0 vm1; do grep_none "opened another stream" $vm/log; done
node vm2 node stop >/dev/null 2>&1 || true
node vm2 node reset --yes >/dev/null

# the pool holds two nodes of /26 each
node vm0 token create --role worker --uses 5 --file "$T/token" >/dev/null
start_node vm2 --role worker --join "$lab_network.10" --token-file "$T/token" "${sizes[@]}"
full() { grep -qE "cannot give node 3 a subnet: pool '10\.99\.0\.0/25' holds 2 nodes of /26 each" vm2/log; }
wait_for 30 full
both_up; resolves
equal "$(node vm0 status | grep -cE '^ray-')" 2 'nodes'

# an image of a registry that doesn't answer holds nobody up at the end
node vm2 node stop >/dev/null 2>&1 || true
node vm2 node reset --yes >/dev/null
start_node vm2 --role head --image registry.example.invalid/none "${sizes[@]}"
wait_for 30 grep -q 'pulling registry.example.invalid/none' vm2/log
sleep 1
timeout 10 "$RAYCTL" --state-dir "$T/vm2/state" --run-dir "$T/vm2/run" node stop || fail 'node stop waits for a pull'
