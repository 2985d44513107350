#!/usr/bin/env bash
# `up` brings rayctl to a head that has no URL for it: over ssh, with the cluster's own key, to Debian's sshd. The cloud is
# moto; the addresses that it gives its machines are this network namespace's own.
# timeout: 120
source "$(dirname "$0")/common.sh"
need_root
need network_namespaces
need_command /usr/sbin/sshd curl jq
if [ -z "${INSIDE:-}" ]; then
  ns=sd$$
  make_netns "$ns"
  INSIDE=1 ip netns exec "$ns" unshare -m bash "$here/$(basename "$0")" || exit $?
  exit 0
fi
source "$here/moto.sh"
export XDG_CONFIG_HOME=$T/.config
ip route add local 54.0.0.0/8 dev lo
ip route add local 100.0.0.0/8 dev lo 2>/dev/null || true

# --- an image's sshd, with a login user that isn't the first that is tried ---
home=$XDG_DATA_HOME/rayctl/clusters/ray
mkdir -p "$T/home" /run/sshd
grep -vE '^(debian|ubuntu):' /etc/passwd >passwd; echo "debian:x:60000:60000::$T/home:/bin/sh" >>passwd
grep -vE '^debian:' /etc/shadow >shadow; echo 'debian:*:19000:0:99999:7:::' >>shadow
mount --bind passwd /etc/passwd; mount --bind shadow /etc/shadow
chmod 755 "$T"
ssh-keygen -q -t ed25519 -N '' -f host_key
cat >sshd_config <<C
HostKey $T/host_key
AuthorizedKeysFile $T/keys
StrictModes no
PasswordAuthentication no
PidFile none
UsePAM no
C
touch keys
background sshd /usr/sbin/sshd -D -e -f "$T/sshd_config"

# --- the head's script asks until it has the file with the right hash ---
ask() { curl -sf -m 20 -o fetched http://127.0.0.1:7444/rayctl && [ "$(sha256sum <fetched | cut -d' ' -f1)" = "$hash" ]; }
hash=$(sha256sum <"$RAYCTL" | cut -d' ' -f1)
image=$("$venv/bin/python" -c "
import boto3
ec2 = boto3.client('ec2', region_name='us-east-1', endpoint_url='$moto')
print(sorted(i['ImageId'] for i in ec2.describe_images(Owners=['amazon'])['Images'] if i['Architecture'] == 'x86_64')[0])")
background up "$RAYCTL" up --provider Amazon --region us-east-1 --image registry:5000/ray --endpoint "$moto" \
  --machine-image "$image" --workers 1 --yes --wait 90s
wait_for 30 test -s "$home/ssh_key.pub"
refused() { grep -q 'Permission denied' "$T/up.log"; }
wait_for 30 refused  # its key isn't in the machine yet: that is what `up` says meanwhile
"$RAYCTL" machines -o json >/dev/null
cp "$home/ssh_key.pub" keys
wait_for 40 ask
grep -q "$hash" <("$venv/bin/python" -c "
import base64, boto3
ec2 = boto3.client('ec2', region_name='us-east-1', endpoint_url='$moto')
i = [i for r in ec2.describe_instances()['Reservations'] for i in r['Instances']][0]
print(base64.b64decode(ec2.describe_instance_attribute(InstanceId=i['InstanceId'], Attribute='userData')['UserData']['Value']).decode())") ||
  fail 'the user-data names another hash'
grep_quiet 'Accepted publickey for debian' "$T/sshd.log"
equal "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:7444/etc/passwd)" 404 'nothing else is served'

# --- a connection that breaks is made anew, and none is left when up ends ---
pkill -P "$pid" -x ssh || fail 'up has no ssh'
wait_for 30 ask
kill -INT "$pid"; wait "$pid" || true
gone() { ! ask; }
wait_for 10 gone
"$RAYCTL" down ray --yes >/dev/null
