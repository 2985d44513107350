#!/usr/bin/env bash
# Without a registry: an image goes to the head over the control channel, a worker runs it from there; then logs, exec,
# cp, ports and Ray's dashboard from another machine.
source "$(dirname "$0")/common.sh"
need_root
need network_namespaces vxlan overlayfs
need_command busybox curl
h=ih$$ o=io$$ w=iw$$
make_netns "$h" "$o" "$w"
connect_netns "$h" 10.9.5.1/24 "$o" 10.9.5.2/24
connect_netns "$h" 10.9.6.1/24 "$w" 10.9.6.2/24
export XDG_CONFIG_HOME=$T/config XDG_DATA_HOME=$T/data
unset RAYCTL_STATE_DIR RAYCTL_RUN_DIR
mine() { ip netns exec "$o" "$RAYCTL" --state-dir "$T/mine" --context lab "$@"; }
start() {
  local name=$1 ns=$2; shift 2
  on_exit "'$RAYCTL' --state-dir '$T/$name' --run-dir '$T/$name-r' node stop"
  background "$name" ip netns exec "$ns" "$RAYCTL" --state-dir "$T/$name" --run-dir "$T/$name-r" node --memory 1G "$@"
}

# --- an image whose "Ray" is a web server and a sleeping worker ---
mkdir ctx
cp "$(command -v busybox)" ctx/busybox
cat >ctx/run <<'RUN'
#!/bin/busybox sh
echo "this is $1"
[ "$1" != head ] || exec /bin/busybox httpd -f -p 8265 -h /www
exec /bin/busybox sleep 1000
RUN
head -c 3000000 /dev/urandom >ctx/big
cat >ctx/Dockerfile <<'END'
FROM scratch
COPY --chmod=755 busybox run /bin/
COPY big /www/big
ENV PATH=/bin
END
"$RAYCTL" --state-dir "$T/mine" build -t tiny:1 ctx >/dev/null 2>build.log || { cat build.log; fail build; }

# --- the head waits for it, and takes it as soon as it is there ---
ip netns exec "$o" "$RAYCTL" context claim-token lab --out token >/dev/null
start head "$h" --role head --image head:tiny:1 --overlay vxlan --workers 1 --advertise 10.9.6.1 --claim-token-file "$T/token"
ip netns exec "$o" "$RAYCTL" context claim lab 10.9.5.1 --wait 30s >/dev/null
mine token create --file "$T/worker-token" >/dev/null
start worker "$w" --role worker --join 10.9.6.1 --token-file "$T/worker-token"
waits() { mine status | grep -q "the head has no image 'tiny:1' yet (rayctl push head:tiny:1)"; }
wait_for 30 waits
expect 1 mine push head:none:1
grep_quiet "none:1" err
expect 0 mine push head:tiny:1
grep_quiet '^head:tiny:1 sha256:[0-9a-f]{64}$' out
both_run() { [ "$(mine ps | grep -c ' Up ')" = 2 ]; }
wait_for 90 both_run
mine ps >ps
equal "$(grep -c ' head:tiny:1 ' ps)" 2 'containers of the image'
expect 0 mine push head:tiny:1  # nothing is sent again
grep_none 'pushed in' err
grep_quiet '(installing .*, )?joining .*, pulling .*, creating .*, starting Ray ' <(mine status --boot)

# --- from another machine, without root on either ---
mine logs head >logs
grep_quiet '^this is head$' logs
grep_quiet '^this is worker$' <(mine logs ray-wk-0)
expect 5 mine exec ray-wk-0 /bin/busybox sh -c 'exit 5'
size='ip netns exec '$o' "$RAYCTL" --state-dir "$T/mine" --context lab exec -it ray-wk-0 /bin/busybox sh -c "/bin/busybox sleep 1; /bin/busybox stty size"'
equal "$(script -qec "stty rows 33 cols 77; $size" /dev/null </dev/null | tr -dc '0-9 ')" '33 77' 'the terminal inside'
echo hello >file
mine cp file head:/www/index.html
equal "$(mine exec head /bin/busybox cat /www/index.html)" hello

# --- a port, the dashboard ---
background forward ip netns exec "$o" "$RAYCTL" port-forward head 0:8265 --context lab
wait_for 10 test -s forward.log
at() { ip netns exec "$o" curl -sS --max-time 20 "$@"; }
equal "$(at "http://$(cat forward.log)/")" hello
at "http://$(cat forward.log)/big" >big
cmp big ctx/big
background dashboard ip netns exec "$o" "$RAYCTL" dashboard --context lab
wait_for 10 grep -q '^http' dashboard.log
url=$(grep -m 1 '^http' dashboard.log)
equal "$(at -o /dev/null -w '%{http_code}' "${url%%\?*}")" 403 'without the key'
equal "$(at -L -b jar -c jar "$url")" hello 'with the key'
equal "$(at -b jar "${url%%\?*}" -o /dev/null -w '%{http_code}' -H 'Host: evil.example')" 403 'a name from elsewhere'
background closed ip netns exec "$o" "$RAYCTL" port-forward head 0:81 --context lab
wait_for 10 test -s closed.log
expect 52 at "http://$(head -n 1 closed.log)/"

# --- logins for nodes ---
printf '{"auths":{"localhost:5000":{"auth":"%s"}}}' "$(printf u:geheim | base64)" >auth.json
expect 0 mine registry set localhost:5000 --registry-auth auth.json
equal "$(stat -c %a "$T/head/cluster/registries.json")" 600
equal "$(mine registry ls)" localhost:5000
grep_none geheim head.log
grep_none geheim "$T"/head/cluster/journal.*
expect 0 mine registry rm localhost:5000
