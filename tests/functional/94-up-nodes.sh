#!/usr/bin/env bash
# `rayctl up` to the end without virtual machines: moto says that there are machines, and what answers at their addresses
# are network namespaces with `rayctl node`. The image goes from here to the head; another one replaces the containers and
# no machine; status shows what the machines cost.
# timeout: 240
source "$(dirname "$0")/common.sh"
need_root
need network_namespaces vxlan overlayfs
need_command busybox jq
source "$here/moto.sh"
export XDG_CONFIG_HOME=$T/.config
boto() { "$venv/bin/python" -c "
import boto3, base64
ec2 = boto3.client('ec2', region_name='us-east-1', endpoint_url='$moto')
print($1)"; }
image=$(boto "sorted(i['ImageId'] for i in ec2.describe_images(Owners=['amazon'])['Images'] if i['Architecture'] == 'x86_64')[0]")
up() { rayctl up --provider Amazon --region us-east-1 --endpoint "$moto" --machine-image "$image" --workers 1 "$@"; }

# --- images of this computer: a stand-in for Ray that answers its health endpoints ---
mkdir -p ctx/bin
cp "$(command -v busybox)" ctx/bin/busybox
for command in sh mkdir hostname httpd sleep echo cat; do ln -s busybox ctx/bin/$command; done
cp "$top/tests/e2e/stand-in/run" ctx/bin/run
chmod 755 ctx/bin/run
printf 'ARG V\nFROM scratch\nARG V\nCOPY bin /bin\nENV PATH=/bin VERSION=$V\n' >ctx/Dockerfile
for v in 1 2; do rayctl build -t "stand:$v" --build-arg "V=$v" ctx >/dev/null 2>build.log || { cat build.log; fail build; }; done

# --- machines that answer where moto says ---
machine() { rayctl machines -o json | jq -er ".[0].machines[] | select(.role == \"$1\") | .$2"; }
user_data() { boto "base64.b64decode(ec2.describe_instance_attribute(InstanceId='$(machine "$1" id)', Attribute='userData')['UserData']['Value']).decode()" | tee "$1.user-data"; }
sysctl -qw net.ipv4.ip_forward=1
boot() {  # NUMBER ROLE: a namespace with the machine's two addresses
  local ns=un$$-$1 address
  make_netns "$ns"
  ip link add "n$1" type veth peer name eth0 netns "$ns"
  ip addr add "192.0.2.$((1 + $1 * 4))/30" dev "n$1"
  ip link set "n$1" up
  ip -n "$ns" addr add "192.0.2.$((2 + $1 * 4))/30" dev eth0
  ip -n "$ns" link set eth0 up
  for address in "$(machine "$2" public_address)" "$(machine "$2" private_address)"; do
    ip -n "$ns" addr add "$address/32" dev eth0
    ip route add "$address/32" via "192.0.2.$((2 + $1 * 4))"
  done
  ip -n "$ns" route add default via "192.0.2.$((1 + $1 * 4))"
}
start() {  # NUMBER NAME FLAG...
  local number=$1 name=$2; shift 2
  background "$name" ip netns exec "un$$-$number" "$RAYCTL" --state-dir "$T/$name" --run-dir "$T/$name-r" node --memory 1G "$@"
}
start_head() { start 0 head --role head --image head:stand:1 --workers 1 --overlay vxlan --advertise "$(machine Master private_address)" --claim-token-file "$T/head-token"; }
for name in head worker; do on_exit "'$RAYCTL' --state-dir '$T/$name' --run-dir '$T/$name-r' node stop"; done

background up "$RAYCTL" up --provider Amazon --region us-east-1 --endpoint "$moto" --machine-image "$image" --workers 1 \
  --image stand:1 --yes --wait 100s
up_pid=$pid
addressed() { machine Master public_address && machine Worker private_address; }
wait_for 30 addressed
boot 0 Master; boot 1 Worker
user_data Master | grep -o 'rctl1\.[^.]*\.head\.[A-Za-z0-9_.-]*' | head -n 1 >head-token
user_data Worker | grep -o 'rctl1\.[^.]*\.worker\.[A-Za-z0-9_.-]*' | head -n 1 >worker-token
grep_quiet '"image":"head:stand:1"' Master.user-data
start_head
start 1 worker --role worker --join "$(machine Master private_address)" --token-file "$T/worker-token" --advertise "$(machine Worker private_address)"
wait "$up_pid" || { cat up.log; tail -n 20 head.log worker.log; fail 'up'; }
grep_quiet '^Cluster ray is healthy: 2 machines, \$0\.192/h, \$0' up.log
containers() { rayctl ps -o json | jq -r 'sort_by(.name)[] | [.name, .image, .state, .id] | @tsv'; }
containers >first
equal "$(cut -f 2,3 first | sort -u)" "$(printf 'head:stand:1\trunning')"

# --- what it costs stands in status ---
expect 0 rayctl status
grep_quiet '^machines: 2 machines, \$0\.192/h, \$0(\.[0-9]+)? so far$' out
grep_quiet '^cluster [0-9a-f]+: image head:stand:1, ' out
expect 0 rayctl status -o json
equal "$(jq -c '[.cost.machines, (.cost.per_hour * 1000 | round), .cost.unknown]' out)" '[2,192,0]'

# --- another image: the plan says so and asks; containers are replaced, machines aren't ---
expect 0 up --image stand:2 --dry-run
grep_quiet '^Plan for ray: boot 0, terminate 0, keep 2$' out
grep_quiet '^  image +head:stand:1 -> head:stand:2$' out
grep_quiet 'containers on machines that stay are ended and made anew' out
expect 2 up --image stand:2
grep_quiet 'there is no terminal to ask on' err
equal "$(containers)" "$(cat first)" 'nothing was said yes to'
rayctl machines -o json | jq -c '[.[0].machines[].id]' >before
expect 0 up --image stand:2 --yes --wait 30s
containers >second
equal "$(cut -f 2,3 second | sort -u)" "$(printf 'head:stand:2\trunning')"
equal "$(sort first second | cut -f 4 | sort | uniq -d)" '' 'containers that stayed'
equal "$(rayctl machines -o json | jq -c '[.[0].machines[].id]')" "$(cat before)" 'machines'
equal "$(rayctl exec head sh -c 'echo $VERSION')" 2
expect 0 up --image stand:2 --dry-run
grep_none '->|made anew' out

# --- the head's own file still has the first one: a restart and another `up` change nothing ---
kill -9 "$(pgrep -f "$T/head --run-dir $T/head-r node" | head -n 1)"
start_head; head_pid=$pid
grown() { [ "$(rayctl ps -o json | jq -r '[.[] | select(.state == "running")] | length')" = 2 ]; }
wait_for 30 grown
expect 0 up --image stand:2 --yes --wait 30s
equal "$(containers)" "$(cat second)"

# --- a head that stops answering isn't counted as healthy any longer, until it answers again ---
background daemon "$RAYCTL" daemon
wait_for 30 grep -q Connected daemon.log
stages() { [ "$(rayctl machines -o json | jq -r '.[0].machines | sort_by(.role)[] | "\(.stage) \(.connected)"' | xargs)" = "$1" ]; }
wait_for 30 stages 'healthy true healthy true'
kill -STOP "$head_pid"
on_exit "kill -CONT $head_pid"
wait_for 60 stages 'unhealthy false healthy true'
machine Master stage_error | tee error
grep_quiet "^cannot reach the head |^no answer to '" error
kill -CONT "$head_pid"
wait_for 60 stages 'healthy true healthy true'
expect 0 rayctl down ray --yes
