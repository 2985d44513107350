#!/usr/bin/env bash
# `rayctl daemon` on moto: run SPEC, the guide's lines, a lost machine comes back, up and down through it, a restart; and
# 1,000 machines.
# timeout: 500
source "$(dirname "$0")/common.sh"
source "$here/moto.sh"
export XDG_CONFIG_HOME=$T/.config
E=$moto
boto() { "$venv/bin/python" -c "
import boto3
ec2 = boto3.client('ec2', region_name='us-east-1', endpoint_url='$E')
instances = lambda: [i for p in ec2.get_paginator('describe_instances').paginate() for r in p['Reservations'] for i in r['Instances'] if i['State']['Name'] in ('running', 'pending')]
print($1)"; }
image=$(boto "sorted(i['ImageId'] for i in ec2.describe_images(Owners=['amazon'])['Images'] if i['Architecture'] == 'x86_64')[0]")
deployment() {  # WORKERS
  python3 - "$1" "$image" <<'P'
import json, sys
machine = lambda i: {"id": i, "provider": "Amazon", "region": "us-east-1", "size": "m5.large", "role": "Worker" if i > 1 else "Master", "image": sys.argv[2]}
print(json.dumps({"namespace": "guide", "machines": [machine(i) for i in range(1, int(sys.argv[1]) + 2)]}))
P
}
deployment 1 >d.json
run() { rayctl run d.json --image ray --endpoint "$E"; }
count() { boto 'len(instances())'; }
counts() { equal "$(count)" "$1"; }
start_daemon() { background daemon "$RAYCTL" daemon; daemon=$pid; wait_for 10 grep -q Started "$T/daemon.log"; }

expect 1 run; grep_quiet 'no daemon is there to do it \(start one in another terminal: rayctl daemon\)' err
start_daemon
expect 1 rayctl daemon; grep_quiet 'a daemon of yours runs already' err
expect 0 run; equal "$(cat out)" ''

# --- the guide's lines ---
wait_for 30 grep -q 'Machine-3{Worker, .*PrivateIP' "$T/daemon.log"
S='[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8}\.[0-9]{3}'
grep_quiet "^INFO \[$S\] db\.Machine:$" "$T/daemon.log"
grep_quiet "^INFO \[$S\] Attempt to boot machines\.                count=2$" "$T/daemon.log"
grep_quiet "^INFO \[$S\] Successfully booted machines\.$" "$T/daemon.log"
grep_quiet '^    Machine-2\{Master, Amazon us-east-1 m5\.large, i-[0-9a-f]+, PublicIP=[0-9.]+, PrivateIP=[0-9.]+, Disk=32GB\}$' "$T/daemon.log"
grep_quiet '^    Cluster-1\{guide, ACL: \[127\.0\.0\.1/32\]\}$' "$T/daemon.log"
expect 0 rayctl machines; equal "$(grep -c '^Machine-' out)" 2

# --- a machine that goes comes back, under a number of its own ---
boto "ec2.terminate_instances(InstanceIds=['$(rayctl machines -o json | jq -r '.[0].machines[] | select(.number == 3) | .id')'])" >/dev/null
wait_for 60 grep -q 'Machine-4{Worker, .*PrivateIP' "$T/daemon.log"
counts 2

# --- a machine that was made twice (a call that was answered after we had asked again) runs once ---
id=$(rayctl machines -o json | jq -r '.[0].machines[] | select(.number == 4) | .id')
boto "[ec2.create_tags(Resources=[ec2.run_instances(ImageId='$image', MinCount=1, MaxCount=1)['Instances'][0]['InstanceId']],
  Tags=[t for i in instances() if i['InstanceId'] == '$id' for t in i['Tags']])]" >/dev/null
wait_for 60 grep -Eq "ending i-[0-9a-f]+ in us-east-1: machine 4 runs a second time" "$T/daemon.log"
wait_for 10 eval '[ "$(count)" = 2 ]'
equal "$(rayctl machines -o json | jq -r '.[0].machines[] | select(.number == 4) | .id')" "$id"

# --- stopped (SIGSTOP): its commands say so and end; afterwards it goes on ---
kill -STOP "$daemon"
timeout 10 "$RAYCTL" machines >machines || fail 'machines waits for a stopped daemon'
grep_quiet '^Machine-4\{Worker' machines
code=0; timeout 60 "$RAYCTL" run d.json --image ray --endpoint "$E" 2>err || code=$?
kill -CONT "$daemon"
equal "$code" 1 'exit code of run under a stopped daemon'
cat err
wait_for 30 eval 'rayctl run d.json --image ray --endpoint "$E"'

# --- kill -9: the machines go on, and the next daemon too ---
kill -9 "$daemon"; wait "$daemon" 2>/dev/null || true
boto "ec2.terminate_instances(InstanceIds=['$(rayctl machines -o json | jq -r '.[0].machines[] | select(.number == 4) | .id')'])" >/dev/null
start_daemon
wait_for 60 grep -q 'Machine-5{Worker, .*PrivateIP' "$T/daemon.log"

# --- up and down go through it ---
deployment 3 >d.json
expect 1 rayctl up d.json --image ray --endpoint "$E" --yes --wait 8s; grep_quiet "isn't healthy after" err
grep_quiet 'Attempt to boot machines\. +count=2' "$T/daemon.log"
counts 4
expect 0 rayctl down guide --yes; grep_quiet 'nothing of it is left' out
wait_for 10 grep -q 'Nothing is left of the cluster' "$T/daemon.log"
counts 0

# --- a thousand ---
deployment 1000 >d.json
start=$SECONDS
expect 0 rayctl up d.json --namespace big --image ray --endpoint "$E" --dry-run
[ $((SECONDS - start)) -lt 20 ] || fail "planning took $((SECONDS - start)) s"
expect 0 rayctl run d.json --namespace big --image ray --endpoint "$E"
all() { [ "$(rayctl machines big -o json | jq '[.[0].machines[] | select(.phase == "booted")] | length')" = 1001 ]; }
wait_for 200 all
equal "$(count)" 1001
equal "$(boto "len({t['Value'] for i in instances() for t in i['Tags'] if t['Key'] == 'rayctl:cluster'})")" 1
kill "$daemon"; wait "$daemon" 2>/dev/null || true
grep_quiet 'Stopping; machines go on' "$T/daemon.log"
expect 0 rayctl down big --yes
counts 0
