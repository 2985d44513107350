#!/usr/bin/env bash
# A spec's containers on three "machines": several a node, any image and command, names by label; a change replaces what
# it concerns and nothing else; a supervisor's end touches none; without the deployment each node is as before.
# timeout: 300
# network: host
source "$(dirname "$0")/common.sh"
source "$here/app_lab.sh"
need vxlan
cat >ctx/Dockerfile <<'END'
FROM scratch
COPY --chmod=755 busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
COPY --chmod=755 <<serve /bin/serve
#!/bin/sh
echo "\$1 is here, \$WHO"
mkdir -p /srv; echo "\$1 \$WHO" >/srv/index.html
exec httpd -f -p 80 -h /srv
serve
CMD ["/bin/serve", "default"]
END
make_lab vm0 vm1 vm2
app_image vm0 vm1 vm2
for vm in vm0 vm1 vm2; do rayctl --state-dir "$T/$vm/state" tag app:1 app:2; done
start_head 2 --overlay vxlan
start_workers vm1 vm2
joined() { [ "$(node vm0 status | grep -c ' joined ')" = 3 ]; }
wait_for 90 joined
equal "$(node vm0 deploy)" 'no deployment: each node runs its own Ray'

# --- place ---
cat >web.spec <<'END'
(define Namespace "web")
(define web (label "web" (makeList 3 (docker "app:1" "/bin/serve" "web"))))
(setEnv web "WHO" "first")
(define db (label "db" (docker "app:1")))
(define side (label "side" (docker "app:2" "sh" "-c" "echo side; sleep 100000")))
(place (labelRule "exclusive" db) side)
(connect 80 web db)
(connect 80 side web)
END
node vm0 deploy web.spec >placed
up() { [ "$(node vm0 ps | grep -c ' Up ')" = "$1" ]; }
wait_for 90 up 5
node vm0 ps >ps
equal "$(grep -cE ' ray-wk-0/| ray-wk-1/' ps)" 5 'all are on workers'
grep_quiet '"/bin/serve web" +.* +Up [^(]* +ray-wk-[01]/2.web +worker +10\.64\.' ps
node_of() { awk -v n="/$1\$" '{for (i = 1; i <= NF; ++i) if ($i ~ n) {sub(n, "", $i); print $i}}' ps; }
[ "$(node_of db)" != "$(node_of side)" ] || fail 'db and side share a machine'
node vm0 status >status
equal "$(grep -c ' healthy ' status)" 3 'healthy nodes'
equal "$(node vm0 logs 2.web)" 'web is here, first'
equal "$(node vm0 exec db cat /srv/index.html)" 'default '
# names: one for the label, one for each member, from any machine
# (a static busybox has no getaddrinfo)
get() { node vm0 exec "$1" sh -c 'at=$(nslookup "$1" | awk "/^Address: 10\./ {print \$2; exit}") && wget -q -O - "http://$at/"' - "$2"; }
wait_for 20 get side 3.web.q
equal "$(get side 1.web.q)" 'web first'
equal "$(get 1.web db.q)" 'default '
serving() { [ "$(node vm0 exec side nslookup web.q 2>/dev/null | grep -c 'Address.*10\.64\.')" = "$1" ]; }
wait_for 20 serving 3

# what the spec doesn't connect is closed, and has no name
! node vm0 exec db nslookup 1.web.q >/dev/null 2>&1 || fail 'db can look up web'
web=$(awk '/1\.web/ {print $NF}' ps)
equal "$(node vm0 exec side wget -q -O - "http://$web/")" 'web first'
! node vm0 exec db timeout 3 wget -q -O - "http://$web/" >/dev/null 2>&1 || fail 'db reaches web'

# --- change one: the others keep their ids and pids ---
ids() { node vm0 ps -o json | python3 -c 'import json, sys
for c in sorted(json.load(sys.stdin), key=lambda c: c["name"]): print(c["name"], c["id"], c["pid"], c["restarts"])'; }
ids >before
sed -i 's/"app:2" "sh"/"app:1" "sh"/; s/^(connect 80 web db)/& (label "again" side)/' web.spec
node vm0 deploy web.spec >placed
changed() { ids >after; [ "$(grep -c ' [1-9][0-9]* 0$' after)" = 5 ] && ! grep -qF "$(grep ^side before | cut -d' ' -f2)" after; }
wait_for 60 changed
diff <(grep -v ^side before) <(grep -v ^side after)
grep_quiet '^side ' after
wait_for 20 get 1.web db.q

# --- the supervisor ends: containers go on, the next one takes them over ---
kill -9 "$(cat vm1/pid)"
start_node vm1 --role worker --join "$lab_network.10" "${sizes[@]}"
sleep 1
same() { ids >again; diff -q after again; }
wait_for 60 same

# --- one that doesn't run leaves the label's name; when none does, all are named ---
node vm0 stop 3.web >stopped
wait_for 30 serving 2
for member in 1.web 2.web; do node vm0 stop $member >stopped; done
wait_for 30 serving 3
for member in 1.web 2.web 3.web; do node vm0 restart $member >restarted; done
wait_for 30 up 5

# --- fewer; an operator stops one; none ---
sed -i 's/makeList 3/makeList 1/' web.spec
node vm0 deploy web.spec >placed
wait_for 60 up 3
diff <(grep -E '^(db|side)' after) <(ids | grep -E '^(db|side)')
node vm0 stop db >stopped
wait_for 30 up 2
node vm0 restart db >restarted
wait_for 30 up 3
node vm0 deploy --clear >cleared
none() { ! node vm0 ps | grep -qE '/(db|side|web|1.web)\b'; }
wait_for 60 none
equal "$(node vm0 deploy)" 'no deployment: each node runs its own Ray'
