#!/usr/bin/env bash
# Between two nodes stands a relay that loses, doubles, mixes up, repeats and forges packets, one way or both: what arrives
# is whole and comes once; after a cut of 20 s an open connection goes on within 5 s, as do new ones.
# timeout: 240
source "$(dirname "$0")/common.sh"
source "$here/net_lab.sh"
need tun
export LAB_MODE=userspace NODES='0 1' CONTAINERS=c
make_lab
ip -n sw addr add 192.0.2.9/24 dev br0
# relay.py: node 0 and node 1 know it as each other; the file `mode` holds {"loss01": %, "loss10": %, "dup": %, "mix": %, "junk": %}
cat >relay.py <<'PY'
import collections, json, os, random, select, socket, time
random.seed(1)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
s.bind(('192.0.2.9', 51820)); s.setblocking(False)
ends = ('192.0.2.1', 51820), ('192.0.2.2', 51820)
mode, read, held, seen = {}, 0, [], collections.deque(maxlen=5000)
print('ready', flush=True)
def chance(name): return random.random() * 100 < mode.get(name, 0)
def send(p, to):
    try: s.sendto(p, to)
    except BlockingIOError: pass
while True:
    select.select([s], [], [], 0.005)
    now = time.time()
    if now - read > 0.05:
        read = now
        try: mode = json.load(open('mode'))
        except (OSError, ValueError): pass
    for due, p, to in [h for h in held if h[0] <= now]: send(p, to)
    held = [h for h in held if h[0] > now]
    for _ in range(256):
        try: p, a = s.recvfrom(65535)
        except BlockingIOError: break
        way = 0 if a[0] == ends[0][0] else 1
        to = ends[1 - way]
        if chance('loss01' if way == 0 else 'loss10'): continue
        seen.append((p, to))
        if chance('junk'):
            forged = bytearray(p); forged[random.randrange(len(p))] ^= 1 << random.randrange(8); send(bytes(forged), to)
            send(*random.choice(seen)); send(os.urandom(len(p)), to)
        if chance('mix'): held.append((now + random.uniform(0.001, 0.03), p, to)); continue
        send(p, to)
        if chance('dup'): send(p, to)
PY
mode() { echo "$1" >mode.new; mv mode.new mode; sleep 0.2; }
background relay in_sw python3 relay.py
wait_for 5 grep -q ready relay.log
LAB_PEERS='1=192.0.2.9' node 0 reconcile
LAB_PEERS='0=192.0.2.9' node 1 reconcile
background serve0 in_c c0 python3 serve.py 7000
background serve1 in_c c1 python3 serve.py 7000
reach() { in_c c0 python3 send.py "$(address c1)" 7000 300000 && in_c c1 python3 send.py "$(address c0)" 7000 300000; }
wait_for 10 reach

# count.py serve | ADDRESS RUN: 600 numbered datagrams; what came of them, in came.RUN as {number: how often}
cat >count.py <<'PY'
import collections, json, os, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if sys.argv[1] == 'serve':
    s.setsockopt(socket.SOL_SOCKET, 33, 1 << 23); s.bind(('0.0.0.0', 7002)); s.settimeout(0.3); seen = {}
    while True:
        try: run, number = s.recv(2000).split()[:2]; seen.setdefault(run.decode(), collections.Counter())[number.decode()] += 1
        except TimeoutError:
            for run in seen: json.dump(seen[run], open('came.new', 'w')); os.rename('came.new', 'came.' + run)
for i in range(600):
    s.sendto(b'%s %06d ' % (sys.argv[2].encode(), i) + b'x' * 500, (sys.argv[1], 7002)); time.sleep(0.001)
PY
background counter in_c c1 python3 count.py serve
run=0
came() {  # AT-LEAST: so many of 600 datagrams come; none of them twice
  run=$((run + 1)); in_c c0 python3 count.py "$(address c1)" $run; sleep 1
  wait_for 3 test -s "came.$run"
  python3 -c 'import json, sys; c = json.load(open(sys.argv[1])); assert max(c.values()) == 1; print(len(c))' "came.$run" >came.out || fail 'a datagram came twice'
  [ "$(cat came.out)" -ge "$1" ] || fail "$(cat came.out) datagrams came, not $1: $(cat mode)"
}
mode '{"dup": 60}'; came 595; reach
mode '{"mix": 50}'; came 595; reach
mode '{"junk": 40, "mix": 20, "dup": 20}'; came 595; reach
mode '{"loss01": 15}'; came 350; wait_for 15 reach
mode '{"loss10": 15, "dup": 10, "mix": 10}'; came 595; wait_for 15 reach

# an open connection: a line each 100 ms, echoed by node 1; talk.log has the moment of each echo
cat >talk.py <<'PY'
import socket, sys, threading, time
if sys.argv[1] == 'serve':
    l = socket.socket(); l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); l.bind(('0.0.0.0', 7003)); l.listen(5)
    c, _ = l.accept()
    while (b := c.recv(4096)): c.sendall(b)
    raise SystemExit
s = socket.create_connection((sys.argv[1], 7003), 5); s.settimeout(None)
def read():
    while (b := s.recv(4096)): print('%.2f' % time.time(), flush=True)
threading.Thread(target=read, daemon=True).start()
while True: s.sendall(b'.'); time.sleep(0.1)
PY
mode '{}'
background talk-serve in_c c1 python3 talk.py serve
sleep 0.5; background talk in_c c0 python3 talk.py "$(address c1)"
wait_for 5 test -s talk.log
echoes_since() { awk -v t="$1" '$1 > t { found = 1 } END { exit !found }' talk.log; }
cut() {  # SECONDS MODE
  local back
  mode "$2"; sleep 1; cp talk.log talk.before; sleep "$1"; cmp -s talk.log talk.before || fail "packets pass: $2"
  mode '{}'; back=$(date +%s.%N)
  wait_for 5 reach
  awk -v a="$back" -v b="$(date +%s.%N)" 'BEGIN { exit b - a > 5 }' || fail 'new connections took more than 5 s'
  cp talk.log talk.back
}
cut 12 '{"loss01": 100}'; wait_for 8 echoes_since "$(date +%s)"  # one way only
cut 20 '{"loss01": 100, "loss10": 100}'; wait_for 8 echoes_since "$(date +%s)"
