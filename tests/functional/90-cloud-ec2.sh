#!/usr/bin/env bash
# Amazon against a small EC2 that misbehaves (tests/fakes/ec2.py): every refusal is typed and says what to do, what can
# succeed in the end does, and nothing is booted twice.
# timeout: 240
source "$(dirname "$0")/common.sh"
need_command python3 jq curl
python=$("$top/tests/deps/python.sh" --prefix)/bin/python
[ -x "$python" ] || python=python3
background ec2 "$python" "$top/tests/fakes/ec2.py" port calls
wait_for 20 test -e port
E=http://127.0.0.1:$(cat port)
export AWS_ACCESS_KEY_ID=AKIDFAKE AWS_SECRET_ACCESS_KEY=sesame AWS_EC2_METADATA_DISABLED=true AWS_ENDPOINT_URL_EC2=$E AWS_ENDPOINT_URL=$E
export RAYCTL_RETRY_MS=20 RAYCTL_STALL_SECONDS=2
cloud=$RAYCTL_BUILD/drivers/cloud
R=us-west-1
amazon() { "$cloud" amazon "$@"; }
set_fake() { curl -sf -d "$1" "$E/_set" >/dev/null; }
state() { curl -sf "$E/" | jq -r "$1"; }
refused() {  # KIND REGEX COMMAND...
  local kind=$1 regex=$2; shift 2
  expect 1 amazon "$@"
  equal "$(jq -r .kind out | sort -u)" "$kind"
  grep_quiet "$regex" out
}

# the usual way; botocore agrees with each signature where it is there
[ ! -e "$(dirname "$(dirname "$python")")/.complete" ] || equal "$(state .botocore)" true
expect 0 amazon account; grep_quiet 'account 123456789012, user/ray|account 123456789012, ray' out
refused 'not found' "'ray' has no security group there" boot ray $R
expect 0 amazon prepare ray $R admin=203.0.113.7,2001:db8::1 ports=80-81 peers=198.51.100.9
printf 'hello\n' >data
expect 0 amazon boot ray $R count=3 user_data=data sizes=m5.large,m5.xlarge
equal "$(jq -r .key out | xargs)" 'm-1 m-2 m-3'
expect 0 amazon boot ray $R first=2 count=3 user_data=data sizes=m5.large
equal "$(state '.instances | length')" 4 'a machine was booted twice'
expect 0 amazon list ray $R
equal "$(jq -r 'select(.state == "running") | .key' out | sort | xargs)" 'm-1 m-2 m-3 m-4'
equal "$(state '[.instances[].p.UserData] | unique[]' | base64 -d)" hello
equal "$(state '[.instances[].p["MetadataOptions.HttpPutResponseHopLimit"]] | unique[]')" 1

# the firewall follows what is asked for
equal "$(state '.groups[0].rules | length')" 6
expect 0 amazon prepare ray $R admin=203.0.113.8
equal "$(state '[.groups[0].rules[] | .["IpRanges.1.CidrIp"] // .["Groups.1.GroupId"]] | sort | join(" ")')" '203.0.113.8/32 sg-00000001'

# capacity: some here, the rest in other zones, then another size
set_fake '{"capacity": {"c5.large@subnet-a": 1, "c5.large@subnet-b": 1, "c5.large@subnet-c": 1}}'
expect 0 amazon boot ray $R first=10 count=5 sizes=c5.large,c5.xlarge
equal "$(jq -r .size out | sort | uniq -c | xargs)" '3 c5.large 2 c5.xlarge'
equal "$(jq -r 'select(.size == "c5.large") | .zone' out | sort | xargs)" "${R}a ${R}b ${R}c"
equal "$(jq -r .key out | xargs)" 'm-10 m-11 m-12 m-13 m-14'
refused capacity 'do not have sufficient c5.large.*try another region or size.*tried c5.large in 3 zones' boot ray $R first=20 sizes=c5.large
refused capacity 'sufficient c5.large' boot ray $R first=20 sizes=c5.large zone=${R}b
refused invalid "zone 'us-west-1q': the network has no subnet there" boot ray $R first=20 zone=us-west-1q
set_fake '{"capacity": {}}'

# refusals: what they mean
set_fake '{"faults": [{"action": "RunInstances", "code": "VcpuLimitExceeded", "message": "You have requested more vCPU capacity", "when": {"InstanceType": "m5.large"}, "times": 9}]}'
refused quota 'Service Quotas' boot ray $R first=20 sizes=m5.large
expect 0 amazon boot ray $R first=20 sizes=m5.large,m4.large
equal "$(jq -r .size out)" m4.large
refused price 'raise MaxPrice' boot ray $R first=21 spot=1 max_price=0.01
expect 0 amazon boot ray $R first=21 spot=1 max_price=0.05; equal "$(jq -r .spot out)" true
head -c 20000 /dev/zero | tr '\0' a >big
refused 'too large' 'its user-data is 20000 bytes long, and Amazon takes 16384' boot ray $R first=22 user_data=big
refused invalid "unknown size 'm5.lrge' of Amazon.*did you mean 'm5.large'" boot ray $R first=22 sizes=m5.lrge
refused invalid "unknown size 'zzz' of Amazon" size $R zzz
expect 0 amazon size $R x9.special; equal "$(jq -r '"\(.cpus) \(.ram) \(.arch) \(.price)"' out)" '6 12 aarch64 ?'
refused invalid 'InvalidAMIID.NotFound.*machine image of this region' boot ray $R first=22 image=ami-none
refused invalid 'write ami-…, OWNER/NAME' boot ray $R first=22 image=ubuntu
expect 0 amazon boot ray $R first=22 image=ssm:/aws/service/x; equal "$(state '.instances[-1].p.ImageId')" ami-3
AWS_SECRET_ACCESS_KEY=wrong refused unauthorized 'aws sts get-caller-identity|check the access key' list ray $R
AWS_ACCESS_KEY_ID=OTHER refused unauthorized 'AuthFailure' list ray $R
AWS_ACCESS_KEY_ID='' AWS_SECRET_ACCESS_KEY='' refused 'no credentials' 'looked at AWS_ACCESS_KEY_ID \(not set\)' list ray $R
set_fake '{"faults": [{"action": "RunInstances", "code": "UnauthorizedOperation", "message": "You are not authorized. Encoded authorization failure message: AAAA", "status": 403}]}'
refused unauthorized 'not authorized \[UnauthorizedOperation\].*the right ec2:RunInstances in IAM' boot ray $R first=30
grep_none AAAA out
set_fake '{"faults": [{"action": "RunInstances", "code": "DryRunOperation", "times": 0}]}'
expect 0 amazon rehearse ray $R

# a machine's role (IMDSv2) and a container's: fetched anew when they end, or when Amazon says that they did
role() { env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY AWS_EC2_METADATA_DISABLED=false AWS_EC2_METADATA_SERVICE_ENDPOINT="$E" "$cloud" amazon "$@"; }
expect 0 role list ray $R
set_fake '{"token": "session-3"}'
expect 0 role list ray $R
equal "$(state '.given | length')" 3 'the role was not asked again'
set_fake '{"token": "", "minutes": 4}'
expect 0 role cycle roles $R count=1
[ "$(state '.given | length')" -gt 6 ] || fail 'credentials were not renewed before they ended'
expect 0 env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY AWS_CONTAINER_CREDENTIALS_FULL_URI="$E/container" AWS_CONTAINER_AUTHORIZATION_TOKEN='Bearer agent' "$cloud" amazon list ray $R
expect 1 env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY AWS_CONTAINER_CREDENTIALS_FULL_URI="$E/container" "$cloud" amazon list ray $R
grep_quiet "cannot fetch credentials from '.*/container': status 401" out

# what passes by itself: throttling, server errors, an answer that is lost, machines that aren't visible yet
before=$(state '.instances | length')
set_fake '{"faults": [{"action": "RunInstances", "code": "RequestLimitExceeded", "status": 503, "times": 2}, {"action": "RunInstances", "code": "InternalError", "status": 500}, {"action": "RunInstances", "lost": 1}]}'
expect 0 amazon boot ray $R first=40 count=2
equal "$(($(state '.instances | length') - before))" 2 'a lost answer booted machines twice'
set_fake '{"faults": [{"action": "RunInstances", "code": "RequestLimitExceeded", "status": 503, "times": 99}]}'
refused throttled 'wait, and type it again' boot ray $R first=50
set_fake '{"faults": [{"action": "DescribeInstances", "body": "<html>no</ht", "times": 99}]}'
refused transient 'cannot understand Amazon' list ray $R
set_fake '{"faults": [{"action": "DescribeInstances", "body": "gateway", "status": 502, "times": 2}, {"action": "DescribeInstances", "delay": 3}]}'
expect 0 amazon list ray $R
set_fake '{"faults": [], "page": 4}'
equal "$(amazon list ray $R | wc -l)" "$(state '[.instances[] | select(.tags["rayctl:cluster"] == "ray")] | length')" pages
set_fake '{"lag": 1, "page": 1000}'
expect 0 amazon cycle lagged $R count=3
equal "$(jq -c '[.same, .listed, .left]' out)" '[3,3,0]'
set_fake '{"lag": 0, "skew": 1200}'
expect 0 amazon list ray $R; grep_quiet "this machine's clock is 20m 00s slow: set it" err
set_fake '{"skew": 0}'

# rates: calls beyond the limit are spread, none is lost
set_fake '{"rate": 30}'
expect 0 amazon cycle busy $R count=120 sizes=m5.large
equal "$(jq -c '[.same, .listed, .left]' out)" '[120,120,0]'
set_fake '{"rate": 0}'

# ending: only what is ours, also what is gone already; the group when Amazon lets go of it
id=$(amazon list ray $R | jq -r .id | head -n 1)
refused invalid 'refusing to terminate .* it has no tag rayctl:cluster=other' terminate other $R ids="$id"
equal "$(amazon list ray $R | jq -r "select(.id == \"$id\") | .state")" running
equal "$(amazon sweep ray $R patience=1 | jq -r .kind | sort -u)" machine
set_fake '{"held": 2}'
expect 0 amazon terminate ray $R ids="$id,i-gone"
expect 0 amazon terminate ray
equal "$(amazon list ray | jq -r .state | sort -u)" terminated
expect 0 amazon sweep ray $R patience=0; equal "$(jq -r .kind out)" 'security group'
expect 0 amazon sweep ray $R,us-east-1 patience=20; equal "$(cat out)" ''
equal "$(state '.groups | length')" 0
expect 0 amazon console $R "$id"; grep_quiet 'rayctl: joining' out
expect 0 amazon console $R i-none; equal "$(cat out)" null
