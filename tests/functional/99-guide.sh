#!/usr/bin/env bash
# docs/running-ray.md, step by step, as far as it goes without machines that boot: its blocks are carried out on moto, and
# what rayctl says is compared with what the guide shows. tests/e2e/21-guide.sh does the rest in virtual machines.
# timeout: 200
source "$(dirname "$0")/common.sh"
source "$here/moto.sh"
export XDG_CONFIG_HOME=$T/.config PATH=$T/bin:$PATH
mkdir bin && ln -s "$RAYCTL" bin/rayctl
guide() { python3 "$here/guide.py" "$@"; }
step() { guide block "$@" >step; bash -euo pipefail step; }  # carries a block out as it stands

# --- step 1: rayctl, its own specs, and those of others ---
grep_quiet '^rayctl version$' <(guide block 'Step 1: get rayctl')
grep_quiet '^rayctl [0-9.]+' <(rayctl version)
git init -q work && cp "$top"/specs/*.spec work
git -C work -c user.email=t@x -c user.name=t -c init.defaultBranch=main add -A
git -C work -c user.email=t@x -c user.name=t commit -qm specs
mkdir -p remote/github.com/amplab && git clone -q --bare work remote/github.com/amplab/ray
RAYCTL_GET_ENDPOINT=file://$T/remote step 'The specs' >got
equal "$(cat got)" "$HOME/.quilt/github.com/amplab/ray"
rayctl spec new ray; cd ray
equal "$(sed -n 1p ray.spec)" '(import "github.com/NetSys/quilt/specs/stdlib/strings")'
grep_quiet '^\(define image "' <(sed -n 4p ray.spec)
grep_quiet '^\(define Namespace "CHANGE_ME"\)$' <(sed -n 11p ray-runner.spec)
equal "$(sed -n 24p ray-runner.spec)" "$(guide block 'Who may log in' 1)"

# --- step 2: what is to be filled in is asked for ---
expect 1 rayctl spec eval ray-runner.spec; grep_quiet 'ray-runner.spec:11:.*CHANGE_ME' "$T/err"
sed -i '11s/CHANGE_ME/ray-1/' ray-runner.spec
expect 1 rayctl spec eval ray-runner.spec; grep_quiet 'ray-runner.spec:24:.*YOUR_GITHUB_USERNAME' "$T/err"
key=$(guide block 'Who may log in' 2)
sed -i "24s|.*|${key/…/}|" ray-runner.spec
expect 0 rayctl spec eval ray-runner.spec
jq -e '.namespace == "ray-1" and (.machines | length) == 2 and (.machines[0].ssh_keys[0] | startswith("ssh-ed25519 AAAA"))' "$T/out" >/dev/null
unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
expect 1 rayctl up ray-runner.spec --endpoint "$moto" --dry-run; grep_quiet '\.aws/credentials' "$T/err"
mkdir -p "$HOME/.aws"
guide block 'The provider' >"$HOME/.aws/credentials"
expect 0 rayctl up ray-runner.spec --endpoint "$moto" --dry-run
grep_quiet '^Plan for ray-1: boot 2, terminate 0, keep 0$' "$T/out"

# --- step 3: daemon, run, machines (moto's machines never join) ---
image=$("$venv/bin/python" -c "
import boto3, os
ec2 = boto3.client('ec2', region_name='us-west-1', endpoint_url='$moto', aws_access_key_id='x', aws_secret_access_key='x')
print(sorted(i['ImageId'] for i in ec2.describe_images(Owners=['amazon'])['Images'] if i['Architecture'] == 'x86_64')[0])")
sed -i "s/(diskSize 32)/(diskSize 32) (machineImage \"$image\")/" ray-runner.spec
equal "$(guide block 'Start the daemon')" 'rayctl daemon'
background daemon rayctl daemon; daemon=$pid
wait_for 10 grep -q Started "$T/daemon.log"
bash -euo pipefail <(guide block "Run the spec" | sed "s|\$| --endpoint $moto|")
wait_for 30 grep -q "Machine-3{Worker, .*PrivateIP" "$T/daemon.log"
sed -n '/db\.Machine/,$p' "$T/daemon.log" >said
guide compare Wait 1 said Connected healthy Claimed
bash -euo pipefail <(guide block Wait 2) | sed 's/}$/, Connected}/' >machines
guide compare Wait 2 machines
expect 1 rayctl ssh 99; grep_quiet 'Unable to find machine' "$T/err"
kill "$daemon"; wait "$daemon" 2>/dev/null || true
equal "$(guide block 'End it')" 'rayctl down ray-1'
printf 'y\n' | script -qec "$(guide block 'End it')" /dev/null >down || { cat down; fail 'down'; }
grep_quiet 'Cluster ray-1 is gone, and nothing of it is left\. It cost \$' down

# --- extra: what is built is there; line 4 is the image's ---
file=$(guide block 'Extra: a Ray container of your own' 1 | sed -nE 's/^rayctl build .* -f (\S+) \.$/\1/p')
grep_quiet '^COPY .* scripts/ ' "$top/$file"
line=$(guide block 'Extra: a Ray container of your own' 2)
sed -i "4s|.*|$line|" ray.spec
expect 0 rayctl spec eval ray-runner.spec
equal "$(jq -r '[.containers[].image] | unique | join(" ")' "$T/out")" registry.example.com/me/ray
