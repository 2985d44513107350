#!/usr/bin/env bash
# Amazon against moto's server, unmodified: boot, list, terminate, sweep; spot, groups, tags, user-data; 1,000 machines.
# timeout: 240
source "$(dirname "$0")/common.sh"
source "$here/moto.sh"
cloud=$RAYCTL_BUILD/drivers/cloud
R=us-east-1
amazon() { "$cloud" amazon "endpoint=http://127.0.0.1:$port" "$@"; }
# boto3's view of the same account, by one expression
boto() { "$venv/bin/python" -c "
import boto3, base64, json, sys
ec2 = boto3.client('ec2', region_name='$R', endpoint_url='http://127.0.0.1:$port')
instances = lambda: [i for r in ec2.describe_instances()['Reservations'] for i in r['Instances']]
print($1)"; }

expect 0 amazon account; grep_quiet 'account 123456789012' out
image=$(boto "sorted(i['ImageId'] for i in ec2.describe_images(Owners=['amazon'])['Images'] if i['Architecture'] == 'x86_64')[0]")
expect 0 amazon prepare ray $R admin=203.0.113.7 ports=8265-8265
expect 0 amazon prepare ray $R admin=203.0.113.9
boto "[r for r in ec2.describe_security_groups(Filters=[{'Name': 'tag:rayctl:cluster', 'Values': ['ray']}])['SecurityGroups'][0]['IpPermissions']]" >rules
grep_quiet '203.0.113.9/32' rules; grep_none '203.0.113.7|8265' rules; grep_quiet "'UserIdGroupPairs': \[{.*sg-" rules

printf '#!/bin/sh\necho €\n' >data
expect 0 amazon rehearse ray $R image="$image"
expect 0 amazon boot ray $R count=3 image="$image" user_data=data sizes=m5.large disk=50 label.team=a
expect 0 amazon boot ray $R first=4 count=1 image="$image" spot=1 role=head
equal "$(jq -r .spot out)" true
expect 0 amazon list ray $R
equal "$(jq -r '"\(.key) \(.role) \(.state)"' out | sort | xargs)" 'm-1 worker running m-2 worker running m-3 worker running m-4 head running'
id=$(jq -r 'select(.key == "m-2") | .id' out)
boto "base64.b64decode(ec2.describe_instance_attribute(InstanceId='$id', Attribute='userData')['UserData']['Value']).decode()" >got
diff <(head -n 2 got) data
boto "json.dumps([i for i in instances() if i['InstanceId'] == '$id'][0], default=str)" >one
equal "$(jq -r '.MetadataOptions | "\(.HttpTokens) \(.HttpPutResponseHopLimit)"' one)" 'required 1'
equal "$(jq -r '[.Tags[] | "\(.Key)=\(.Value)"] | sort | join(" ")' one)" 'Name=ray worker rayctl:cluster=ray rayctl:keys=m-{1..3} rayctl:role=worker team=a'
boto "json.dumps([v for v in ec2.describe_volumes()['Volumes'] if v['Attachments'][0]['InstanceId'] == '$id'][0], default=str)" >disk
equal "$(jq -r '"\(.Size) \(.Encrypted) \(.VolumeType)"' disk)" '50 true gp3'
expect 0 amazon console $R "$id"

# what isn't ours stays; ours goes, and nothing is left
foreign=$(boto "ec2.run_instances(ImageId='$image', MinCount=1, MaxCount=1)['Instances'][0]['InstanceId']")
expect 1 amazon terminate ray $R ids="$foreign"; grep_quiet 'refusing to terminate' out
expect 0 amazon terminate ray
equal "$(amazon list ray $R | jq -r .state | sort -u)" terminated
expect 0 amazon sweep ray $R; equal "$(cat out)" ''
equal "$(boto "[i['State']['Name'] for i in instances() if i['InstanceId'] == '$foreign'][0]")" running
equal "$(boto "ec2.describe_security_groups(Filters=[{'Name': 'tag-key', 'Values': ['rayctl:cluster']}])['SecurityGroups']")" '[]'

# a thousand machines, in calls of fifty at the rate that Amazon allows
expect 0 amazon cycle big $R count=1000 image="$image" user_data=data sizes=m5.large
equal "$(jq -c '[.same, .listed, .left]' out)" '[1000,1000,0]'
jq -c .times out
jq -e '.times.boot < 120' out >/dev/null || fail 'booting takes too long'
