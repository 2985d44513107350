#!/usr/bin/env bash
# --overlay host: containers have their machine's own network. Names lead to the machines, a port that is taken is named,
# nothing of ours is in the kernel, not afterwards either.
source "$(dirname "$0")/common.sh"
source "$here/app_lab.sh"
cat >ctx/run <<'RUN'
#!/bin/busybox sh
echo "this is $1"
[ "$1" != head ] || exec /bin/busybox httpd -f -p 8265 -h /
exec /bin/busybox sleep 1000
RUN
cat >ctx/Dockerfile <<'END'
FROM scratch
COPY --chmod=755 busybox run /bin/
ENV PATH=/bin
END
make_lab vm0 vm1
kernel() { on_vm "$1" ip -br link; on_vm "$1" ip route; on_vm "$1" nft list ruleset; on_vm "$1" sysctl net.ipv4.ip_forward; }
for vm in vm0 vm1; do
  kernel $vm >before-$vm
done
app_image vm0 vm1
nsenter --net=/run/netns/$lab-vm0 busybox nc -l -p 6379 </dev/null & holder=$!  # somebody else's
on_exit "kill $holder 2>/dev/null || true"
start_head 1 --overlay host
taken() { grep -q "TCP port 6379 (Ray's head) is taken on this machine by process $holder (busybox), and with overlay 'host'" vm0/log; }
wait_for 30 taken
kill $holder
start_workers vm1
wait_for 90 both_run
node vm0 status >status
grep_quiet 'overlay host \(no overlay, not encrypted\)$' status
grep_quiet "^ray-wk-0 .* $lab_network.11 +$lab_network.11" status
node vm0 ps >ps
grep_quiet " +$lab_network.10\$" ps

# names lead to the machines, from inside a container too; what listens there is the machine's own
worker() { node vm0 exec ray-wk-0 /bin/busybox "$@"; }
for name in head.q ray-ms-0.q; do equal "$(worker nslookup $name 127.0.0.11 | awk '/^Address/ { a = $NF } END { print a }')" "$lab_network.10"; done
equal "$(worker nslookup ray-wk-0.q 127.0.0.11 | awk '/^Address/ { a = $NF } END { print a }')" "$lab_network.11"
worker wget -qO- http://head.q:8265/bin/run | cmp - ctx/run
on_vm vm1 busybox wget -qO- "http://$lab_network.10:8265/bin/run" | cmp - ctx/run
equal "$(worker ip -o -4 addr show eth0 | awk '{ print $4 }')" "$lab_network.11/24"
node vm0 net check >checks
equal "$(grep -cE " overlay +ok +host \(no overlay, not encrypted, no rules\)" checks)" 2
equal "$(grep -cE " reach ray-(ms|wk)-0 +ok +$lab_network.1[01] answers" checks)" 2
grep_quiet '^anyone +containers +all \(no overlay\) +allowed' <(node vm0 net rules ray-wk-0)
expect 1 node vm0 net rotate
grep_quiet "the overlay 'host' has none" err
for vm in vm0 vm1; do kernel $vm | cmp - before-$vm; done  # nothing of ours

# the name server dies: another serves; the supervisor dies: both go on
kill -9 "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["pid"])' vm1/run/dns/status.json)"
resolves() { worker nslookup head.q 127.0.0.11 | grep -q "$lab_network.10"; }
wait_for 5 resolves
kill -9 "$(cat vm1/pid)"
wait_for 5 flock -n vm1/state/node.lock true
start_node vm1 --role worker --join "$lab_network.10" "${sizes[@]}"
wait_for 30 both_run
wait_for 10 resolves
expect 1 rayctl --state-dir "$T/vm0/state" --run-dir "$T/other" node --role head --image app:1 --overlay vxlan "${sizes[@]}"

for vm in vm1 vm0; do
  node $vm node stop
  kernel $vm | cmp - before-$vm
  [ ! -e $vm/run/netns ] || equal "$(find $vm/run/netns -mindepth 1)" ''
  [ ! -e $vm/run/dns ] || fail 'the name server'
done
