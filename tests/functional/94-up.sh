#!/usr/bin/env bash
# `rayctl up` on moto: plan, boot, resume after a crash, scale, replace, down; others' machines; what is refused.
# timeout: 400
source "$(dirname "$0")/common.sh"
source "$here/moto.sh"
export XDG_CONFIG_HOME=$T/.config
E=$moto
boto() { "$venv/bin/python" -c "
import boto3, base64, sys
ec2 = boto3.client('ec2', region_name='us-east-1', endpoint_url='$E')
instances = lambda: [i for r in ec2.describe_instances()['Reservations'] for i in r['Instances'] if i['State']['Name'] in ('running', 'pending')]
print($1)"; }
image=$(boto "sorted(i['ImageId'] for i in ec2.describe_images(Owners=['amazon'])['Images'] if i['Architecture'] == 'x86_64')[0]")
amazon=(--provider Amazon --region us-east-1 --image registry:5000/ray --endpoint "$E" --machine-image "$image")
up() { local workers=$1; shift; rayctl up "${amazon[@]}" --workers "$workers" "$@"; }
home=$XDG_DATA_HOME/rayctl/clusters/ray
numbers() { rayctl machines -o json | jq -c '[.[0].machines[] | select(.phase == "booted") | .number] | sort'; }
count() { boto 'len(instances())'; }

# --- the plan: shown, priced, asked for ---
expect 0 up 2 --dry-run
grep_quiet '^Plan for ray: boot 3, terminate 0, keep 0$' out
grep_quiet '^  boot  2 x  Worker  Amazon us-east-1  m6i.large  32 GB  \$0\.096/h each' out
grep_quiet '^Price: \$0\.288/h$' out; grep_quiet 'account 123456789012' out; grep_quiet 'open to local' out
expect 0 up 2 --dry-run -o json; equal "$(jq -c '[(.boot | length), (.price.per_hour * 1000 | round)]' out)" '[3,288]'
expect 2 up 2; grep_quiet 'there is no terminal to ask on \(say yes beforehand: --yes; only look: --dry-run\)' err
[ ! -e "$home/machines.json" ] || fail 'a plan was written down'
equal "$(count)" 0

# --- boot: the head, then the workers, which are told its address ---
expect 1 up 2 --yes --wait 6s
grep_quiet "'ray' isn't healthy after 6.00s: 0 of 3 machines are healthy" err
grep_quiet '  end it:  rayctl down ray' err
equal "$(count)" 3; equal "$(numbers)" '[2,3,4]'
expect 0 rayctl machines
grep_quiet '^Machine-2\{Master, Amazon us-east-1 m6i\.large, i-[0-9a-f]+, PublicIP=[0-9.]+, PrivateIP=[0-9.]+, Disk=32GB\}$' out
grep_quiet '^3 machines, \$0\.288/h, \$0(\.[0-9]+)? so far$' out
user_data() { boto "base64.b64decode(ec2.describe_instance_attribute(InstanceId='$1', Attribute='userData')['UserData']['Value']).decode()"; }
id_of() { rayctl machines -o json | jq -r ".[0].machines[] | select(.number == $1) | .$2"; }
user_data "$(id_of 2 id)" >head; user_data "$(id_of 3 id)" >worker
grep_quiet '"role":"head","workers":2' head; grep_quiet '^rctl1\.[^.]+\.head\.' head; grep_quiet "http://127.0.0.1:7444/rayctl" head
grep_quiet "\"join\":\"$(id_of 2 private_address):7443\"" worker; grep_quiet '^rctl1\.[^.]+\.worker\.' worker
grep_quiet "http://$(id_of 2 private_address):7443/rayctl" worker; grep_none 'PRIVATE|root.key' worker
equal "$(wc -c <worker | awk '{print ($1 < 4096)}')" 1 'size of the user-data'
equal "$(ls "$home/user-data")" '' 'documents that are no longer needed'
equal "$(stat -c %a "$home/root.key" "$home/secrets.json" "$home/ssh_key" "$home" | xargs)" '600 600 600 700'
ssh-keygen -y -f "$home/ssh_key" >key && cut -d' ' -f1-2 "$home/ssh_key.pub" | diff - <(cut -d' ' -f1-2 key)
boto "[r['IpRanges'] for g in ec2.describe_security_groups(Filters=[{'Name': 'tag:rayctl:cluster', 'Values': ['ray']}])['SecurityGroups'] for r in g['IpPermissions']]" >rules
grep_quiet '127.0.0.1/32' rules

# --- ssh: 2016's words; only known host keys ---
expect 1 rayctl ssh 99; grep_quiet 'Unable to find machine `99`\.' err; grep_quiet 'Available machines:' err; grep_quiet '^ +Machine-3\{Worker' err

# --- scale up and down: the head stays ---
head_id=$(id_of 2 id)
expect 1 up 4 --yes --wait 5s; equal "$(numbers)" '[2,3,4,5,6]'
expect 0 up 1 --dry-run; grep_quiet 'terminate  3 x  Worker .* Machine-4\.\.6$' out
expect 1 up 1 --yes --wait 5s; equal "$(numbers)" '[2,3]'; equal "$(id_of 2 id)" "$head_id"; equal "$(count)" 2

# --- a lost machine is replaced, under a new number ---
boto "ec2.terminate_instances(InstanceIds=['$(id_of 3 id)'])" >/dev/null
expect 0 up 1 --dry-run; grep_quiet '^Plan for ray: boot 1, terminate 0, keep 1$' out
expect 1 up 1 --yes --wait 5s; equal "$(numbers)" '[2,7]'

# --- killed at any moment, the next run finds every machine by its key ---
for delay in 0.05 0.15 0.3 0.6; do
  "$RAYCTL" up "${amazon[@]}" --workers 5 --yes >/dev/null 2>&1 & crash=$!
  sleep "$delay"; kill -9 $crash || true; wait $crash || true
done
expect 1 up 5 --yes --wait 10s
equal "$(numbers | jq length)" 6; equal "$(count)" 6 'machines of a cluster that was booted five times'
equal "$(id_of 2 id)" "$head_id"

# --- Ctrl-C: the machines stay, and the lines that go on are there ---
"$RAYCTL" up "${amazon[@]}" --workers 5 --yes >out 2>err & pid=$!
sleep 4; kill -INT $pid; code=0; wait $pid || code=$?
equal "$code" 130; grep_quiet 'Stopped waiting, not the machines: 6 machines, \$' err
grep_quiet "  go on:   rayctl up --provider Amazon .* --workers 5 --yes$" err; grep_quiet '  end it:  rayctl down ray$' err
equal "$(count)" 6

# --- the owner's lock ---
"$RAYCTL" up "${amazon[@]}" --workers 5 --yes >/dev/null 2>&1 & pid=$!
sleep 2
expect 1 rayctl down ray --yes; grep_quiet "cannot change cluster 'ray': process $pid \(rayctl up\) is doing so" err
kill $pid; wait $pid || true

# --- another computer with the same namespace; what it didn't boot is never terminated ---
expect 1 env XDG_DATA_HOME="$T/other" "$RAYCTL" up "${amazon[@]}" --yes
grep_quiet "cannot use namespace 'ray': 6 machines with this namespace belong to another rayctl" err
equal "$(count)" 6

# --- what the cloud refuses, and what can't be ---
expect 1 up 1 --namespace other --size m6i.largo --yes; grep_quiet "m6i\.large" err
expect 1 rayctl up --provider Amazon --region us-eest-1 --image x --endpoint "$E" --yes; grep_quiet "unknown region 'us-eest-1' of Amazon .did you mean" err
expect 2 rayctl up --provider Amazom --image x; grep_quiet 'Amazon' err
expect 2 rayctl up; grep_quiet 'Name a spec' err
expect 2 up 0; grep_quiet 'at least 1' err
expect 1 env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY "$RAYCTL" up "${amazon[@]}" --namespace other --dry-run
grep_quiet 'AWS_ACCESS_KEY_ID' err

# --- Arm: the file of `make dist` beside this program, or the one that is named; one kind for all machines ---
mkdir dist; cp "$RAYCTL" dist/rayctl
arm() { dist/rayctl up --provider Amazon --region us-east-1 --image x --endpoint "$E" --namespace arm --size m6g.large "$@"; }
other=rayctl-$(rayctl version | awk 'NR == 1 { print $2 }')-linux-aarch64
expect 1 arm --dry-run
grep_quiet "m6g\.large has aarch64 processors, and this rayctl is for x86_64 \(put $other beside it" err
cp "$RAYCTL" dist/$other; printf '\267' | dd of=dist/$other bs=1 seek=18 conv=notrunc status=none  # EM_AARCH64
echo >>dist/$other
expect 0 arm --dry-run; grep_quiet "^  rayctl +$T/dist/$other$" out
expect 1 arm --dry-run --binary "$RAYCTL"; grep_quiet "'$RAYCTL' is for x86_64 \(name the one that fits: --binary FILE" err
expect 1 arm --head-size m6i.large --dry-run; grep_quiet 'all machines of a cluster must be of one kind' err
expect 1 up 1 --namespace arm --binary dist/$other --dry-run; grep_quiet 'm6i\.large has x86_64 processors' err
expect 1 arm --machine-image "$image" --yes --wait 5s; grep_quiet "$image.* is for x86_64" err
arm_image=$(boto "sorted(i['ImageId'] for i in ec2.describe_images(Owners=['amazon'])['Images'] if i['Architecture'] == 'arm64')[0]")
expect 1 arm --machine-image "$arm_image" --yes --wait 5s
head=$(rayctl machines arm -o json | jq -r '.[0].machines[] | select(.role == "Master" and .phase == "booted") | .id')
user_data "$head" >head; grep_quiet "$(sha256sum <dist/$other | cut -d' ' -f1)" head
expect 0 rayctl down arm --yes

# --- user-data beyond the cloud's limit: nothing is booted ---
for i in $(seq 40); do printf 'ssh-ed25519 AAAA%s key-%s\n' "$(head -c 450 /dev/zero | tr '\0' a)" "$i" >"long-$i.pub"; done
expect 1 up 1 --namespace long $(printf -- '--ssh-key long-%s.pub ' $(seq 40)) --yes --wait 20s
grep_quiet 'its user-data is [0-9]+ bytes long, and Amazon takes 16384 \(fewer or shorter' err
expect 0 timeout 60 "$RAYCTL" down long --yes  # its worker was never asked for: there is nothing to wait for

# --- a spec as JSON: ranges, MaxPrice; nothing without a Worker ---
cat >d.json <<J
{"namespace": "json", "max_price": 0.15, "admin_acl": ["10.0.0.0/8"],
 "machines": [{"id": 1, "provider": "Amazon", "region": "us-east-1", "role": "Master", "cpu": {"min": 2}, "ram": {"min": 8}, "image": "$image"},
              {"id": 2, "provider": "Amazon", "region": "us-east-1", "role": "Worker", "cpu": {"min": 4, "max": 4}, "image": "$image"}]}
J
expect 1 rayctl up d.json --image ray --endpoint "$E" --dry-run; grep_quiet 'costs at most \$0\.15 an hour: the cheapest, .* \(raise MaxPrice' err
sed -i 's/0\.15/0.5/' d.json
expect 0 rayctl up d.json --image ray --endpoint "$E" --dry-run; grep_quiet 'open to 10\.0\.0\.0/8' out; grep_quiet 'MaxPrice +\$0\.50/h' out
jq 'del(.machines[1])' d.json >one.json
expect 1 rayctl up one.json --image ray --endpoint "$E" --yes; grep_quiet 'no machine has the role Worker: nothing is booted' err

# --- down: only what is ours, and nothing of that is left ---
foreign=$(boto "ec2.run_instances(ImageId='$image', MinCount=1, MaxCount=1, TagSpecifications=[{'ResourceType': 'instance', 'Tags': [{'Key': 'rayctl:cluster', 'Value': 'elsewhere'}]}])['Instances'][0]['InstanceId']")
expect 2 rayctl down; grep_quiet 'no terminal to ask on' err
expect 1 rayctl down rya --yes; grep_quiet "did you mean 'ray'" err
expect 0 rayctl down --yes; grep_quiet '^Cluster ray is gone, and nothing of it is left\. It cost \$' out
equal "$(boto "[i['InstanceId'] for i in instances()]")" "['$foreign']"
equal "$(boto "[g['GroupId'] for g in ec2.describe_security_groups(Filters=[{'Name': 'tag:rayctl:cluster', 'Values': ['ray']}])['SecurityGroups']]")" '[]'
[ ! -e "$home" ] || fail "$home is still there"
expect 1 rayctl down; grep_quiet 'there is no cluster that was made on this computer' err
