#!/usr/bin/env bash
# A head and two workers with real Ray on three "machines": joined, healthy, pi computed, then everything a user does to
# it, and what must survive. The image is built from images/ (cached in RAYCTL_DEMO_CACHE).
# timeout: 1200
# network: host
source "$(dirname "$0")/common.sh"
need_root
need network_namespaces overlayfs vxlan memory_12g disk_8g
D=$T CACHE=${RAYCTL_DEMO_CACHE:-/var/cache/rayctl/demo}
. "$top/tests/demo/lab.sh"

# --- the image ---
export -n RAYCTL_STATE_DIR RAYCTL_RUN_DIR
mkdir -p "$CACHE"
build() { rayctl --state-dir "$CACHE" --run-dir "$T/build" build "$@"; }
image=$lab_registry/ray:test
bundle=/etc/ssl/certs/ca-certificates.crt
build -t ray-base:bookworm -f "$top/images/base/Dockerfile" "$("$top/images/base/make-rootfs.sh")"
SSL_CERT_FILE=$bundle build -t "$image" --ca-bundle host -f "$top/images/ray/Dockerfile" "$top"

on_exit "'$RAYCTL' --state-dir '$CACHE' --run-dir '$T/build' node stop"
# --- the cluster ---
make_lab vm0 vm1 vm2
lab_start_registry
DOCKER_CONFIG=$T/registry in_lab "$RAYCTL" --state-dir "$CACHE" --run-dir "$T/build" push --registry-ca "$T/registry/ca.pem" "$image"
common=(--memory 4G --cpus 1 --registry-auth "$T/registry/config.json" --registry-ca "$T/registry/ca.pem")
head=(--role head --image "$image" --workers 2 --job 'python -c "print(6 * 7, flush=True)"' "${common[@]}")
start_node vm0 "${head[@]}"
token=$T/vm0/state/cluster/worker-token
wait_for 30 test -s "$token"
equal "$(stat -c %a "$token")" 600 "the worker token's mode"
for vm in vm1 vm2; do start_node $vm --role worker --join "$lab_network.10" --token-file "$token" "${common[@]}"; done
while ! grep -qE '^ray-wk-1 .* healthy ' stages 2>/dev/null; do node vm0 status >>stages 2>/dev/null || true; sleep 0.2; done &
node vm0 status --wait 5m
grep_quiet ' pulling [0-9]+ % ' stages

# --- what people look at ---
node vm0 status >status
grep_quiet 'overlay auto \(encrypted: 3 (userspace|wireguard)\)' status
equal "$(grep -cE '^ray-(ms-0|wk-[01]) .* healthy' status)" 3 'healthy nodes'
node vm0 ps >ps
grep_quiet '^CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES +ROLE +ADDRESS$' ps
grep_quiet "^[0-9a-f]{12} +$image +\"run head\" +.* ago +Up .*\(healthy\) +ray-ms-0/ray +head +10\.64\.0\.2$" ps
equal "$(grep -c '"run worker"' ps)" 2 'workers in ps'
equal "$(node vm1 ps | grep -c '"run')" 1 'a worker lists its own container'
node vm0 logs head >logs
for line in 'Waiting for [0-9a-f]{12}' 'Network up! \[10\.64\.0\.2\]' 'Starting scheduler' 'Starting node' \
  '#### START RAY INIT ####' 'ray.init\(address="10\.64\.0\.2:6379"\)' 'Waiting for ray-wk-1.q'; do grep_quiet "^$line\$" logs; done
wait_for 30 bash -c "'$RAYCTL' --run-dir '$T/vm0/run' logs head | grep -qx 42"  # the job's output

# --- pi ---
node vm0 exec head sh -c 'cd ~/ray/scripts && python driver.py' >pi
grep_quiet '^Pi is approximately 3\.1[34]' pi
equal "$(grep -cE '^10\.64\.0\.[0-9]+ \(.*\): [1-9][0-9]* tasks$' pi)" 3 'nodes that took part'
grep_quiet '^Successfully shut down Ray\.$' pi

# --- the network: every way is probed, the rules are the kernel's, and new keys come into use under way ---
node vm0 net check >checks
equal "$(grep -cE '^ray-(ms-0|wk-[01]) +reach ray-.* ok ' checks)" 6 'ways between nodes'
grep_quiet '^ray-ms-0 +overlay +ok +(userspace|wireguard), encrypted, UDP port 51820' checks
node vm0 net rules ray-wk-1 >rules
grep_quiet '^anyone +containers +all +dropped$' rules
node vm0 net rotate >keys
equal "$(wc -l <keys)" 3 'new keys'
new_key_in_use() { grep -q "this node's new key is in use" "$T/$1/log"; }
for vm in vm0 vm1 vm2; do wait_for 5 new_key_in_use $vm; done
reaches_all() { node vm0 net check | grep -cE ' reach ray-.* ok ' | grep -qx 6; }
wait_for 15 reaches_all

# --- the container's inside ---
inside() { node vm0 exec "$1" sh -c "$2"; }
equal "$(inside head hostname)" "$(node vm0 ps -q | head -n 1)" 'the host name is the id'
equal "$(inside head 'id -u')" 1000 'the user'
equal "$(inside head 'tr "\0" " " </proc/1/cmdline' | cut -d' ' -f1-2)" '/.rayctl/rayctl init' 'PID 1'
shm=$(inside head 'df --output=size -B1 /dev/shm | tail -n 1')
[ $((shm * 100 / 4294967296)) = 35 ] || fail "/dev/shm has $shm bytes"
equal "$(inside head 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max')" 4294967296 'memory limit'
equal "$(inside head 'sort ~/ray/scripts/nodes.txt | wc -l')" 3 'lines of nodes.txt'
equal "$(inside ray-wk-1 'getent hosts ray-wk-0.q head.q ray-ms-0.q | cut -d" " -f1 | sort -u | wc -l')" 2 'names'
equal "$(inside ray-wk-0 'getent hosts 10.64.0.2 | tr -s " " | cut -d" " -f2')" ray-ms-0.q 'reverse name'
equal "$(inside head 'stat -c %U:%a /.rayctl/ray-token')" ray:400 'the token is the image user'\''s'
inside head 'sudo -n true'
inside head 'curl --version >/dev/null 2>&1 || python - <<E
import urllib.request, urllib.error
try: urllib.request.urlopen("http://10.64.0.2:8265/api/v0/nodes"); raise SystemExit("no token was asked for")
except urllib.error.HTTPError as e: assert e.code == 401, e.code
E'

# --- exec, cp ---
expect 7 node vm0 exec head sh -c 'exit 7'
equal "$(echo 'import sys; print(sys.stdin.read(), 1 + 1)' >my.py; node vm0 exec -i head python - <my.py | tr -d ' ')" 2
echo 'print("mine")' >mine.py
node vm0 cp mine.py ray-wk-1:/tmp/
equal "$(inside ray-wk-1 'python /tmp/mine.py')" mine
node vm0 cp head:/home/ray/ray/scripts copied
cmp "$top/scripts/driver.py" copied/driver.py
expect 1 node vm0 exec nobody true
grep_quiet "cannot find container 'nobody': 'rayctl ps' lists those that there are" "$T/err"

# --- the supervisor dies: nothing that runs is touched; the next one takes it over ---
pid_of() { node vm0 ps -o json | python3 -c "import json, sys; print([c['pid'] for c in json.load(sys.stdin) if c['node'] == '$1'][0])"; }
before=$(pid_of ray-ms-0)
kill -9 "$(cat "$T/vm0/pid")"
sleep 0.5
kill -0 "$before"
cat >listen.py <<'PY'  # as systemd does, until the service is ready
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
while (message := s.recv(4096).decode()) != "READY=1":
    pass
print(message, flush=True)
PY
python3 listen.py "$T/notify" >notified &
wait_for 5 test -S "$T/notify"
NOTIFY_SOCKET=$T/notify start_node vm0 "${head[@]}"
wait_for 30 node vm0 ps
node vm0 status --wait 1m
grep_quiet '^READY=1$' notified  # what systemd would be told
equal "$(pid_of ray-ms-0)" "$before" "the head's container after kill -9 of its supervisor"
kill -9 "$(cat "$T/vm1/pid")"
wait_for 5 flock -n "$T/vm1/state/node.lock" true  # the kernel takes a moment to end it
start_node vm1 --role worker --join "$lab_network.10" "${common[@]}"  # its certificate is enough now
on_vm1() { node vm1 ps -o json | python3 -c "import json, sys; print(json.load(sys.stdin)[0]['$1'])"; }  # workers are numbered as they come
wait_for 30 on_vm1 node
wait_for 60 bash -c "'$RAYCTL' --run-dir '$T/vm0/run' status | grep -qE '^$(on_vm1 node) .* healthy'"
node vm0 exec head sh -c 'python ~/ray/scripts/driver.py' >pi
grep_quiet '^Pi is approximately 3\.1[34]' pi

# --- a container dies: it comes back under its id and address ---
worker=$(pid_of ray-wk-1)
container_of() { node vm0 ps -o json | python3 -c "import json, sys; print([c['id'] for c in json.load(sys.stdin) if c['node'] == '$1'][0])"; }
container=$(container_of ray-wk-1)
kill -9 "$worker"
came_back() { [ "$(pid_of ray-wk-1)" != "$worker" ] && node vm0 ps | grep 'ray-wk-1/ray' | grep -q ' Up '; }
wait_for 60 came_back
equal "$(container_of ray-wk-1)" "$container" 'its id'
node vm0 status --wait 2m

# --- stop and restart ---
node vm0 stop ray-wk-1
is_down() { node vm0 ps | grep 'ray-wk-1/ray' | grep -q 'Exited ('; }
wait_for 5 is_down  # the worker's report is on its way
node vm0 restart ray-wk-1
node vm0 status --wait 2m

# --- refusals ---
expect 1 timeout 20 ip netns exec "$lab-vm0" "$RAYCTL" --state-dir "$T/vm0/state" --run-dir "$T/vm0/run" node "${head[@]}"
grep_quiet "another 'rayctl node' uses '$T/vm0/state'" "$T/err"

# --- the end: nothing stays ---
groups=$(node vm0 status -o json | python3 -c 'import json, sys; print(*[n["id"][:12] for n in json.load(sys.stdin)["nodes"]])')
on_vm vm2 "$RAYCTL" --state-dir "$T/vm2/state" --run-dir "$T/vm2/run" node reset --yes
[ ! -e "$T/vm2/state" ] && [ ! -e "$T/vm2/run" ] || fail 'node reset left something'
equal "$(ls "$T/vm1/state/store/holds")" "container-$(on_vm1 id | cut -c 1-12)" 'what a running container holds'
on_vm vm1 "$RAYCTL" --state-dir "$T/vm1/state" --run-dir "$T/vm1/run" node stop
equal "$(ls "$T/vm1/state/store/holds")" '' 'what a stopped node holds'
for vm in vm1 vm0; do stop_node $vm; done
for vm in vm0 vm1 vm2; do
  ip -n "$lab-$vm" -o link >links
  grep_none 'rayctl|rc[0-9a-f]{12}' links
  on_vm $vm nft list tables >tables
  grep_none rayctl tables
  ip -n "$lab-$vm" route >routes
  grep_none '10\.64' routes
done
sleep 1
pgrep -fa "$T/vm[0-2]" >processes || true
grep_none . processes
for group in $groups; do find /sys/fs/cgroup -name "$group"; done >groups
grep_none . groups

# --- a Ray that doesn't start: status says why ---
start_node vm2 --role head --image "$image" --overlay vxlan "${common[@]}" -e $'RAYCTL_RAY_START=ray\nstart\n--no-such-flag'
has_failed() { node vm2 status | grep -q '^ray-ms-0 .* failed'; }
wait_for 120 has_failed
node vm2 status >status
grep_quiet '^ray-ms-0: Ray ended: exit code 2' status
grep_quiet 'No such option.*--no-such-flag' status
expect 1 node vm2 status --wait 1s
grep_quiet 'not all nodes are healthy: 0 of 0 workers are healthy; ray-ms-0 is' "$T/err"
stop_node vm2
