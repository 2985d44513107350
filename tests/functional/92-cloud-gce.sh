#!/usr/bin/env bash
# Google against a small Compute Engine that misbehaves (tests/fakes/gce.py): credentials of three kinds, boot, list,
# terminate, sweep, firewall; quota, capacity, expired tokens, throttling, lost answers.
# timeout: 180
source "$(dirname "$0")/common.sh"
need_command python3 jq curl openssl
openssl genrsa -out key.pem 2048 2>/dev/null
openssl rsa -in key.pem -pubout -out public.pem 2>/dev/null
background gce python3 "$top/tests/fakes/gce.py" port public.pem
wait_for 20 test -e port
E=http://127.0.0.1:$(cat port)
export RAYCTL_RETRY_MS=20 RAYCTL_STALL_SECONDS=2 GCE_METADATA_HOST=127.0.0.1:1
unset GOOGLE_APPLICATION_CREDENTIALS GOOGLE_CLOUD_PROJECT CLOUDSDK_CONFIG CLOUDSDK_CORE_PROJECT
cloud=$RAYCTL_BUILD/drivers/cloud
R=us-east1
google() { "$cloud" google "endpoint=$E" "$@"; }
set_fake() { curl -sf -d "$1" "$E/_set" >/dev/null; }
state() { curl -sf "$E/_state" | jq -r "$1"; }
refused() {  # KIND REGEX COMMAND...
  local kind=$1 regex=$2; shift 2
  expect 1 google "$@"
  equal "$(jq -r .kind out | sort -u)" "$kind"
  grep_quiet "$regex" out
}

# credentials: none, a user's, the machine's, a service account's
refused 'no credentials' 'looked at GOOGLE_APPLICATION_CREDENTIALS \(not set\); .*application_default_credentials.json; the metadata service' list ray project=p
refused invalid 'give --project' list ray
mkdir -p "$HOME/.config/gcloud/configurations"
printf '[core]\nproject = p\n' >"$HOME/.config/gcloud/configurations/config_default"
jq -n --arg t "$E/token" '{type: "authorized_user", client_id: "c", client_secret: "s", refresh_token: "refresh", token_uri: $t}' \
  >"$HOME/.config/gcloud/application_default_credentials.json"
expect 0 google account; grep_quiet 'project p, the login of gcloud' out
sed -i 's/"refresh"/"old"/' "$HOME/.config/gcloud/application_default_credentials.json"
refused unauthorized 'Token has been expired or revoked.*gcloud auth application-default login' account
rm -r "$HOME/.config"
GCE_METADATA_HOST=${E#http://} expect 0 google account; grep_quiet "project p, this machine's service account" out
jq -n --arg t "$E/token" --rawfile k key.pem '{type: "service_account", client_email: "ray@p.example", private_key: $k, private_key_id: "1", project_id: "p", token_uri: $t}' >sa.json
export GOOGLE_APPLICATION_CREDENTIALS=$T/sa.json
expect 0 google account; grep_quiet 'service account ray@p.example' out
set_fake '{"skew": 900}'; expect 0 google account; grep_quiet 'clock is 15m 00s slow' err; set_fake '{"skew": 0}'
GOOGLE_APPLICATION_CREDENTIALS=$T/none refused 'no credentials' "there is no '.*/none'" list ray
printf '{"type": "external_account"}' >ext.json
GOOGLE_APPLICATION_CREDENTIALS=$T/ext.json refused 'no credentials' "type 'external_account' aren't among ours" list ray
refused unauthorized "Required 'compute.instances.list'.*roles/compute.admin" list ray project=other

# the usual way
expect 0 google prepare ray $R admin=203.0.113.7,2001:db8::1 ports=80-81,443-443
equal "$(state '[.firewalls[] | "\(.name) \(.sourceRanges // .sourceTags | join(","))"] | sort | join(" ")')" \
  'rayctl-ray-admin 203.0.113.7/32 rayctl-ray-public 0.0.0.0/0 rayctl-ray-self rayctl-ray'
expect 0 google prepare ray $R admin=203.0.113.8
equal "$(state '[.firewalls[] | "\(.name) \(.sourceRanges // [] | join(","))"] | sort | join(" ")')" 'rayctl-ray-admin 203.0.113.8/32 rayctl-ray-self '
before=$(state '.calls | length')
expect 0 google prepare ray $R admin=203.0.113.8
equal "$(state ".calls[$before:] | map(select(startswith(\"GET\") | not)) | length")" 0 'an unchanged firewall was written again'
printf 'hello\n' >data
expect 0 google boot ray $R count=3 user_data=data sizes=n2-standard-2 disk=50 keys='ssh-ed25519 AAAA me' label.Team=A
equal "$(jq -r .key out | xargs)" 'm-1 m-2 m-3'
expect 0 google boot ray $R first=2 count=3 spot=1 role=head
equal "$(state '.instances | length')" 4 'a machine was booted twice'
expect 0 google list ray $R
equal "$(jq -r '"\(.key) \(.role) \(.state) \(.spot) \(.disk)"' out | sort | xargs -n 5 | tail -n 2 | xargs)" 'm-3 worker running false 50 m-4 head running true 32'
state '.instances[] | select(.name == "ray-ray-m-1") | .sent' >sent
equal "$(jq -r '.metadata.items[] | select(.key == "user-data") | .value' sent)" hello
equal "$(jq -r '.metadata.items[] | select(.key == "ssh-keys") | .value' sent)" 'rayctl:ssh-ed25519 AAAA me'
equal "$(jq -c .labels sent)" '{"rayctl-cluster":"ray","rayctl-role":"worker","team":"a"}'
equal "$(state '.instances[] | select(.name == "ray-ray-m-4") | .sent.scheduling.instanceTerminationAction')" DELETE
expect 0 google console $R ray-ray-m-1 zone="$(google list ray | jq -r 'select(.key == "m-1") | .zone')"; grep_quiet joining out
expect 0 google size $R x9-special-6; equal "$(jq -r '"\(.cpus) \(.ram) \(.arch) \(.price)"' out)" '6 12 aarch64 ?'
refused invalid "unknown size 'n2-standrd-2' of Google.*did you mean 'n2-standard-2'" size $R n2-standrd-2

# names that Google's labels can't hold stay apart
expect 0 google boot 'Ray_1' $R count=1; expect 0 google boot 'ray-1' $R count=1
equal "$(google list Ray_1 | jq -r .key | wc -l)/$(google list ray-1 | wc -l)" 1/1
expect 0 google terminate Ray_1; equal "$(google list ray-1 | wc -l)" 1; expect 0 google terminate ray-1

# capacity and quota, by operation; other zones and sizes
set_fake '{"capacity": {"c2-standard-4@us-east1-b": 1, "c2-standard-4@us-east1-c": 1, "c2-standard-4@us-east1-d": 0}, "slow": 3}'
expect 0 google boot ray $R first=10 count=4 sizes=c2-standard-4,n1-standard-4
equal "$(jq -r .size out | sort | uniq -c | xargs)" '2 c2-standard-4 2 n1-standard-4'
refused capacity 'does not have enough resources.*ZONE_RESOURCE_POOL_EXHAUSTED.*try another region or size.*tried c2-standard-4 in 3 zones' boot ray $R first=20 sizes=c2-standard-4
set_fake '{"capacity": {}}'
expect 0 google boot ray $R first=20 sizes=c2-standard-4  # the refusal of before isn't the answer
set_fake '{"quota": 4}'
refused quota "Quota 'CPUS' exceeded.*quota page" boot ray $R first=22
set_fake '{"quota": 0, "slow": 1}'
head -c 270000 /dev/zero | tr '\0' a >big
refused 'too large' '270000 bytes long, and Google takes 262144' boot ray $R first=21 user_data=big
refused 'not found' "projects/nowhere/global/images" boot ray $R first=21 image=nowhere/x
refused invalid 'write PROJECT/FAMILY' boot ray $R first=21 image=a/b/c
refused invalid "unknown region 'us-eest1' of Google" place us-eest1

# what passes by itself
before=$(state '.instances | length')
set_fake '{"faults": [{"method": "POST", "path": "/instances$", "status": 403, "reason": "rateLimitExceeded", "times": 2}, {"method": "POST", "path": "/instances$", "status": 503, "body": "down"}, {"method": "POST", "path": "/instances$", "lost": 1}]}'
expect 0 google boot ray $R first=40 count=2
equal "$(($(state '.instances | length') - before))" 2 'a lost answer booted machines twice'
set_fake '{"faults": [{"path": "aggregated", "body": "{\"items\": [1]}", "times": 99}]}'
refused transient 'expected an object' list ray
set_fake '{"faults": [{"path": "aggregated", "body": "<html>", "times": 99}]}'
refused transient 'cannot parse' list ray
set_fake '{"faults": [{"path": "aggregated", "status": 429, "times": 3}, {"path": "aggregated", "delay": 3}], "page": 2}'
equal "$(google list ray | wc -l)" "$(state '.instances | length')" pages
set_fake '{"faults": [{"path": "aggregated", "status": 429, "times": 99}]}'
refused throttled 'wait, and type it again' list ray
set_fake '{"faults": [], "lag": 1, "page": 500}'
expect 0 google cycle lagged $R count=3 patience=5
equal "$(jq -c '[.same, .listed, .left]' out)" '[3,3,0]'
set_fake '{"lag": 0, "expire": 1}'
expect 0 google list ray
set_fake '{"expire": 3600, "faults": [{"path": "aggregated", "status": 401, "reason": "authError"}]}'
expect 0 google list ray
set_fake '{"faults": [], "rate": 60}'
expect 0 google cycle busy $R count=80 sizes=n1-standard-4
equal "$(jq -c '[.same, .listed, .left]' out)" '[80,80,0]'
set_fake '{"rate": 0}'

# only what is ours is deleted; nothing is left
zone=$(google list ray | jq -r 'select(.key == "m-1") | .zone')
refused invalid "refusing to delete machine 'ray-ray-m-1'" terminate other $R ids=ray-ray-m-1 zone="$zone"
equal "$(google sweep ray $R patience=1 | jq -r .kind | sort -u)" machine
expect 0 google terminate ray
expect 0 google terminate ray $R ids=ray-ray-m-1 zone="$zone"
expect 0 google sweep ray $R; equal "$(cat out)" ''
equal "$(state '[(.instances | length), (.firewalls | length)] | join(" ")')" '0 0'
