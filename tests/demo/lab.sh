#!/usr/bin/env bash
# A laboratory of "machines" on one machine: network namespaces on a bridge, in a namespace of its own, with a registry.
# Sourced by the demo and by tests of the whole; needs $D (a directory), $RAYCTL and the function on_exit COMMAND.
lab=rl$(od -An -N3 -tx1 /dev/urandom | tr -d ' \n')  # several laboratories can stand beside each other
lab_network=172.30.77   # within these namespaces only
lab_registry=$lab_network.1:5000

in_lab() { ip netns exec "$lab-sw" "$@"; }           # at the switch, where the registry is
on_vm() { local vm=$1; shift; nsenter "--net=/run/netns/$lab-$vm" "$@"; }

# make_lab VM...: machine N has the address .10+N
make_lab() {
  local vm number=10
  on_exit lab_remove
  ip netns add "$lab-sw"
  ip -n "$lab-sw" link set lo up
  ip -n "$lab-sw" link add br0 type bridge
  ip -n "$lab-sw" addr add "$lab_network.1/24" dev br0
  ip -n "$lab-sw" link set br0 up
  for vm; do
    ip netns add "$lab-$vm"
    ip -n "$lab-$vm" link set lo up
    ip -n "$lab-$vm" link add eth0 type veth peer name "$vm" netns "$lab-sw"
    ip -n "$lab-sw" link set "$vm" master br0 up
    ip -n "$lab-$vm" addr add "$lab_network.$number/24" dev eth0
    ip -n "$lab-$vm" link set eth0 up
    ip -n "$lab-$vm" route add default via "$lab_network.1"
    number=$((number + 1))
  done
}

lab_remove() {
  local namespace
  for namespace in $(ip netns list | awk -v lab="$lab-" 'index($1, lab) == 1 {print $1}'); do
    ip netns pids "$namespace" | xargs -r kill -9
    ip netns del "$namespace"
  done
}

# lab_start_registry: Debian's docker-registry at the switch, with TLS of a throw-away CA ($D/registry/ca.pem) and a
# password; $D/registry/config.json is the login for it.
lab_start_registry() {
  local r=$D/registry password
  mkdir -p "$r"
  password=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
  (
    cd "$r"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=throw-away CA' -keyout ca-key.pem -out ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=registry -keyout key.pem -out request.pem
    openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -out cert.pem \
      -extfile <(printf 'subjectAltName=IP:%s\nbasicConstraints=CA:FALSE\n' "$lab_network.1")
  ) >"$r/openssl.log" 2>&1
  perl -e 'print "ray:", crypt($ARGV[0], "\$2b\$05\$abcdefghijklmnopqrstuu"), "\n"' "$password" >"$r/htpasswd"
  cat >"$r/config.yml" <<END
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $r/store}}
http: {addr: $lab_registry, secret: throw-away, tls: {certificate: $r/cert.pem, key: $r/key.pem}}
auth: {htpasswd: {realm: demo, path: $r/htpasswd}}
END
  in_lab docker-registry serve "$r/config.yml" >"$r/log" 2>&1 </dev/null &
  on_exit "kill $!"
  for _ in $(seq 100); do
    in_lab bash -c "exec 3<>/dev/tcp/${lab_registry/:/\/}" 2>/dev/null && break
    sleep 0.1
  done
  DOCKER_CONFIG=$r in_lab "$RAYCTL" login --registry-ca "$r/ca.pem" --username ray --password-stdin "$lab_registry" <<<"$password"
}

# node VM COMMAND...: the CLI on that machine, e.g. `node vm0 ps`
node() { local vm=$1; shift; "$RAYCTL" --state-dir "$D/$vm/state" --run-dir "$D/$vm/run" "$@"; }

# start_node VM FLAG...: `rayctl node` there, in the background; its output in $D/VM/log, its pid in $D/VM/pid
start_node() {
  local vm=$1; shift
  mkdir -p "$D/$vm"
  on_exit "stop_node $vm"
  # setsid: a Ctrl-C is for the script, which then ends things in order.
  setsid nsenter "--net=/run/netns/$lab-$vm" "$RAYCTL" --state-dir "$D/$vm/state" --run-dir "$D/$vm/run" node "$@" >>"$D/$vm/log" 2>&1 </dev/null &
  echo $! >"$D/$vm/pid"
}

stop_node() {
  local vm=$1
  on_vm "$vm" "$RAYCTL" --state-dir "$D/$vm/state" --run-dir "$D/$vm/run" node stop >>"$D/$vm/log" 2>&1
  kill "$(cat "$D/$vm/pid")" 2>/dev/null || true  # gone, unless `node stop` failed
  rm -rf --one-file-system "${D:?}/$vm/state" "${D:?}/$vm/run"
}
