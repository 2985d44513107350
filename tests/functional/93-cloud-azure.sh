#!/usr/bin/env bash
# Azure against a small Resource Manager that misbehaves (tests/fakes/azure.py): credentials of three kinds, boot, list,
# terminate, sweep, firewall; sizes that aren't available, quota, expired tokens, throttling, lost answers.
# timeout: 180
source "$(dirname "$0")/common.sh"
need_command python3 jq curl
background azure python3 "$top/tests/fakes/azure.py" port
wait_for 20 test -e port
E=http://127.0.0.1:$(cat port)
export RAYCTL_RETRY_MS=20 RAYCTL_STALL_SECONDS=2 AZURE_AUTHORITY_HOST=$E AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127.0.0.1:1
unset AZURE_TENANT_ID AZURE_CLIENT_ID AZURE_CLIENT_SECRET AZURE_SUBSCRIPTION_ID
cloud=$RAYCTL_BUILD/drivers/cloud
R=eastus
azure() { "$cloud" azure "endpoint=$E" "$@"; }
set_fake() { curl -sf -d "$1" "$E/_set" >/dev/null; }
state() { curl -sf "$E/_state" | jq -r "$1"; }
kinds() { state '[.things[] | (.type // "group") | sub(".*/"; "")] | group_by(.) | map("\(length) \(.[0])") | join(", ")'; }
refused() {  # KIND REGEX COMMAND...
  local kind=$1 regex=$2; shift 2
  expect 1 azure "$@"
  equal "$(jq -r .kind out | sort -u)" "$kind"
  grep_quiet "$regex" out
}

# credentials: none, the machine's, Quilt's file, the environment
refused 'no credentials' 'looked at AZURE_CLIENT_SECRET \(not set\); .*/.azure/credentials.json; the metadata service' list ray project=s
AZURE_POD_IDENTITY_AUTHORITY_HOST=$E expect 0 azure account; grep_quiet "subscription Pay as you go, this machine's identity" out
mkdir "$HOME/.azure"
printf '{"clientID": "c", "clientSecret": "sesame", "subscriptionID": "s", "tenantID": "t"}' >"$HOME/.azure/credentials.json"
expect 0 azure account; grep_quiet 'service principal c' out
printf '{"appId": "c", "password": "old", "tenant": "t"}' >"$HOME/.azure/credentials.json"
refused unauthorized 'AADSTS7000215: Invalid client secret provided' account project=s
refused invalid 'set AZURE_SUBSCRIPTION_ID' account
printf '{"appId": "c"}' >"$HOME/.azure/credentials.json"
refused 'no credentials' 'credentials.json.tenantId: missing' account
AZURE_CLIENT_SECRET=x refused 'no credentials' 'AZURE_TENANT_ID is not set' account
export AZURE_TENANT_ID=t AZURE_CLIENT_ID=c AZURE_CLIENT_SECRET=sesame AZURE_SUBSCRIPTION_ID=s
expect 0 azure account
refused unauthorized 'does not have authorization.*role Contributor' account project=other

# the usual way
expect 0 azure place 'Central US'; equal "$(jq -r .region out)" centralus
expect 0 azure place eastus-2; equal "$(jq -r '.region + .zone' out)" eastus2
refused invalid "unknown region 'Cantral US' of Azure.*did you mean 'centralus'" place 'Cantral US'
equal "$(azure list ray)" ''
expect 0 azure prepare ray $R,westus2 admin=203.0.113.7,2001:db8::1 ports=80-81
equal "$(kinds)" '1 group, 2 networkSecurityGroups, 2 virtualNetworks'
equal "$(state '[.things[] | select(.name == "firewall-eastus") | .properties.securityRules[] | "\(.name) \(.properties.sourceAddressPrefixes[0]) \(.properties.destinationPortRanges[0])"] | join(" ")')" \
  'admin 203.0.113.7/32 0-65535 public 0.0.0.0/0 80-81'
expect 0 azure prepare ray $R admin=203.0.113.8
equal "$(state '[.things[] | select(.name == "firewall-eastus") | .properties.securityRules[].properties.sourceAddressPrefixes[0]] | join(" ")')" 203.0.113.8/32
printf 'hello\n' >data
expect 0 azure boot ray $R count=3 user_data=data disk=50 keys='ssh-ed25519 AAAA me' label.team=a
equal "$(jq -r .key out | xargs)" 'm-1 m-2 m-3'
expect 0 azure boot ray $R first=2 count=3 spot=1 max_price=0.07 role=head
equal "$(kinds)" '4 disks, 1 group, 4 networkInterfaces, 2 networkSecurityGroups, 4 publicIPAddresses, 4 virtualMachines, 2 virtualNetworks'
expect 0 azure list ray $R
equal "$(jq -r '"\(.key) \(.role) \(.state) \(.spot) \(.disk)"' out | sort | tail -n 2 | xargs)" 'm-3 worker running false 50 m-4 head running true 32'
equal "$(jq -r 'select((.public | startswith("198.51.100.")) and (.private | startswith("10.240."))) | .key' out | wc -l)" 4
state '.things[] | select(.name == "ray-ray-m-1" and .type == "Microsoft.Compute/virtualMachines") | .sent' >sent
equal "$(jq -r .properties.osProfile.customData sent | base64 -d)" hello
equal "$(jq -r '.properties.osProfile.linuxConfiguration.ssh.publicKeys[].keyData' sent)" 'ssh-ed25519 AAAA me'
equal "$(jq -c .tags sent)" '{"rayctl:cluster":"ray","rayctl:key":"m-1","rayctl:role":"worker","team":"a"}'
state '.things[] | select(.name == "ray-ray-m-4" and .type == "Microsoft.Compute/virtualMachines") | .sent.properties' >spot
equal "$(jq -r '"\(.priority) \(.evictionPolicy) \(.billingProfile.maxPrice)"' spot)" 'Spot Delete 0.07'
jq -r '.osProfile.linuxConfiguration.ssh.publicKeys[0].keyData' spot >key.pub
if command -v ssh-keygen >/dev/null; then ssh-keygen -l -f key.pub | grep -q '^2048 .*RSA' || fail 'no RSA key of 2048 bits'; fi
expect 0 azure console $R ray-ray-m-1 cluster=ray; grep_quiet joining out
expect 0 azure size $R Standard_X6ps_v9; equal "$(jq -r '"\(.cpus) \(.ram) \(.arch) \(.price)"' out)" '6 12 aarch64 ?'
refused invalid "unknown size 'Standard_D2s_v55' of Azure.*did you mean 'Standard_D2s_v5'" size $R Standard_D2s_v55

# sizes that aren't there, at once or after a while: the next one; nothing of a failed machine stays
set_fake '{"capacity": {"Standard_D4s_v5": 1}}'
expect 0 azure boot ray $R first=10 count=3 sizes=Standard_D4s_v5,Standard_D4as_v5
equal "$(jq -r .size out | sort | uniq -c | xargs)" '2 Standard_D4as_v5 1 Standard_D4s_v5'
set_fake '{"late": true}'
expect 0 azure boot ray $R first=13 sizes=Standard_D4s_v5,Standard_D4as_v5; equal "$(jq -r .size out)" Standard_D4as_v5
before=$(kinds)
refused capacity 'Allocation failed.*AllocationFailed.*try another region or size' boot ray $R first=20 sizes=Standard_D4s_v5
set_fake '{"late": false}'
refused capacity 'is currently not available.*SkuNotAvailable' boot ray $R first=20 sizes=Standard_D4s_v5
set_fake '{"quota": 3}'
refused quota 'exceeding approved standardDSv5Family Cores quota.*Quotas in Azure' boot ray $R first=20
set_fake '{"quota": 0, "faults": [{"method": "PUT", "path": "virtualMachines", "status": 409, "code": "MissingSubscriptionRegistration", "message": "The subscription is not registered"}]}'
refused invalid 'az provider register' boot ray $R first=20
refused invalid 'write PUBLISHER:OFFER:SKU:VERSION' boot ray $R first=20 image=ubuntu
head -c 70000 /dev/zero | tr '\0' a >big
refused 'too large' '70000 bytes long, and Azure takes 65535' boot ray $R first=21 user_data=big
equal "$(kinds)" "$before" 'something of a failed machine stayed'

# what passes by itself
set_fake '{"faults": [{"method": "PUT", "path": "virtualMachines", "status": 429, "code": "TooManyRequests", "times": 2}, {"method": "PUT", "path": "publicIP", "status": 503, "body": "down"}, {"method": "PUT", "path": "virtualMachines", "lost": 1}]}'
expect 0 azure boot ray $R first=40 count=2
set_fake '{"faults": [{"path": "virtualMachines$", "body": "{\"value\": [{\"name\": 3}]}", "times": 99}]}'
refused transient 'expected a string' list ray
set_fake '{"faults": [{"path": "virtualMachines$", "status": 429, "code": "TooManyRequests", "times": 99}]}'
refused throttled 'wait, and type it again' list ray
set_fake '{"faults": [{"path": "virtualMachines$", "body": "{\"value\": [], \"nextLink\": \"http://127.0.0.1:9/x\"}"}]}'
refused transient 'its next page is elsewhere' list ray
set_fake '{"faults": [{"path": "virtualMachines$", "status": 401, "code": "ExpiredAuthenticationToken"}, {"path": "virtualMachines$", "delay": 3}], "page": 2, "expire": 1}'
equal "$(azure list ray | wc -l)" "$(state '[.things[] | select(.type == "Microsoft.Compute/virtualMachines")] | length')" pages
set_fake '{"faults": [], "page": 100, "expire": 3600}'

# only what is ours is deleted; nothing is left
curl -sf -d '{"id": "/subscriptions/s/resourceGroups/rayctl-foreign", "name": "rayctl-foreign", "tags": {}}' "$E/_put" >/dev/null
refused invalid "resource group 'rayctl-foreign' isn't rayctl's" prepare foreign $R
refused invalid "resource group 'rayctl-foreign' isn't rayctl's" sweep foreign $R
equal "$(azure sweep ray $R patience=1 | jq -r .kind | sort -u)" machine
expect 0 azure terminate ray
expect 0 azure terminate ray $R ids=ray-ray-m-1
curl -sf -d '{"id": "/subscriptions/s/resourceGroups/rayctl-ray/providers/Microsoft.Sql/servers/db", "name": "db", "type": "Microsoft.Sql/servers"}' "$E/_put" >/dev/null
equal "$(azure sweep ray $R | jq -r '"\(.kind) \(.reason)"')" "Microsoft.Sql/servers it isn't rayctl's"
curl -sf -d '{"id": "/subscriptions/s/resourceGroups/rayctl-ray/providers/Microsoft.Sql/servers/db", "gone": true}' "$E/_put" >/dev/null
expect 0 azure sweep ray $R; equal "$(cat out)" ''
equal "$(kinds)" '1 group'
expect 0 azure cycle busy $R count=40
equal "$(jq -c '[.same, .listed, .left]' out)" '[40,40,0]'
equal "$(kinds)" '1 group'
