#!/usr/bin/env bash
# Processes in a running container: stdio, exit codes, users, terminals, time limits; attach.
# timeout: 180
source "$(dirname "$0")/common.sh"
source "$here/containers.sh"
need_command python3 perl setpriv

run_container x -- sh -c 'trap "exit 0" TERM; while :; do sleep 0.1; done'
x() { container exec x "$@"; }
runs() { x -- ps -o args >list; grep -q "^$1" list; }
gone() { ! runs "$1"; }

equal "$(printf 'a\nb\n' | x -- cat)" $'a\nb'
expect 42 x -- sh -c 'echo to-out; echo to-err >&2; exit 42'
equal "$(cat out)" to-out
equal "$(cat err)" to-err
expect 137 x -- sh -c 'kill -9 $$'
expect 1 x -- /no/such/program
equal "$(cat err)" "cannot run '/no/such/program': No such file or directory"
head -c 3000000 /dev/zero | x -- wc -c >count
equal "$(cat count)" 3000000
equal "$(x -- sh -c 'head -c 2000000 /dev/zero' | wc -c)" 2000000

equal "$(x -u ray -- sh -c 'id -u; id -g; id -G; echo $HOME')" $'1000\n100\n100 4\n/home/ray'
equal "$(x -u 5:7 -- sh -c 'id -u; id -g')" $'5\n7'
expect 1 x -u nobody-here -- true
grep_quiet 'nobody-here' err
expect 1 x -u 4294967296 -- true
equal "$(x -w /tmp -e A=1 -e PATH=/bin -- sh -c 'pwd; echo $A $PATH')" $'/tmp\n1 /bin'
for n in 3 4 5 6 7 8 9 10; do expect 1 x -w "/proc/self/fd/$n" -- true; done  # CVE-2024-21626
equal "$(x -- ls /proc/self/fd | xargs)" '0 1 2 3'
equal "$(x -- awk '/^CapInh|^SigBlk|^SigIgn/ {print $2}' /proc/self/status | sort -u)" 0000000000000000

# a terminal: its size, its foreground, its end
cat >tty.py <<'P'
import subprocess, sys
p = subprocess.run(sys.argv[1:], input=b"echo size $(stty size)\ntty\nps -o pid,tty,args | head -3\nexit 6\n", stdout=subprocess.PIPE, timeout=20)
print(p.stdout.decode().replace("\r", "")); sys.exit(p.returncode)
P
expect 6 python3 tty.py "$DRIVER" exec x -t -- sh
grep_quiet '^size 31 97$' out
grep_quiet '^/dev/pts/[0-9]+$' out

# a time limit ends it and what it started
start=$(milliseconds)
expect 137 x -T 300 -- sh -c 'sleep 1000 & sleep 1001'
grep_quiet '^timed out$' err
[ $(($(milliseconds) - start)) -lt 3000 ] || fail 'the time limit took long'
gone 'sleep 100' || fail 'what the exec had started runs on'

# a client that dies takes its process along, detached ones stay
"$DRIVER" exec x -- sleep 2000 & pid=$!
wait_for 5 runs 'sleep 2000'
kill -9 "$pid"
wait_for 5 gone 'sleep 2000'
x -d -- sleep 3000
wait_for 5 runs 'sleep 3000'

# 200 probes leave no descriptor, no memory and no cgroup behind; the detached exec keeps its own
shim=$(container shim-pid x)
count() { ls "/proc/$shim/fd" | wc -l; }
x -- true
before=$(count) rss=$(awk '/^VmRSS/ {print $2}' "/proc/$shim/status")
for _ in $(seq 200); do x -- true; done
equal "$(count)" "$before" 'descriptors leak'
grown=$(($(awk '/^VmRSS/ {print $2}' "/proc/$shim/status") - rss))
[ "$grown" -lt 600 ] || fail "200 execs cost the shim $grown KiB"
equal "$(cgroup_directories | grep -c '/exec-')" 1

# malformed and foreign requests: an answer, and the shim lives on
python3 - "$C/x/shim.sock" <<'P'
import json, os, socket, struct, sys
os.chdir(os.path.dirname(sys.argv[1]))
def talk(data):
    s = socket.socket(socket.AF_UNIX); s.connect("shim.sock"); s.settimeout(5); s.sendall(data); s.shutdown(socket.SHUT_WR)
    text = b""
    while True:
        try: part = s.recv(65536)
        except ConnectionResetError: break
        if not part: break
        text += part
    return text
def frame(kind, body): return kind + struct.pack("<I", len(body)) + body
assert b"unknown kind" in talk(frame(b"X", b""))
assert b"unknown" in talk(frame(b"J", b'{"op":"dance"}'))
assert b"cannot parse" in talk(frame(b"J", b'{'))
assert b"a frame of" in talk(b"J" + struct.pack("<I", 2**31))
assert b"0 descriptors" in talk(frame(b"J", json.dumps({"op": "exec", "process": {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}}}).encode()))
assert b"no terminal" in talk(frame(b"J", b'{"op":"resize","rows":1,"columns":1}'))
talk(b"J"); talk(b"")
for _ in range(300): talk(frame(b"J", b'{"op":"attach"}'))
P
x -- true
# a connection of another user is closed unheard, even if the modes allowed it
chmod 711 "$T" "$C" "$C/x"
chmod 666 "$C/x/shim.sock"
setpriv --reuid 65534 --clear-groups /usr/bin/perl -MIO::Socket::UNIX -e '
  my $s = IO::Socket::UNIX->new($ARGV[0]) or die "connect: $!"; $SIG{PIPE} = "IGNORE";
  print $s "J", pack("V", 15), "{\"op\":\"attach\"}"; $s->flush; print "heard\n" if sysread $s, my $text, 10' "$C/x/shim.sock" >heard
equal "$(cat heard)" ''
container remove x

# attach: input and output of the container itself, without and with a terminal
run_container in -i -- sh -c 'echo ready; while read -r line; do echo "got $line"; done; echo the end'
equal "$(printf '1\n2\n' | container attach in)" $'got 1\ngot 2\nthe end'
grep_quiet '"code": 0' "$C/in/exit.json"
equal "$(container logs in)" $'ready\ngot 1\ngot 2\nthe end'
container remove in
run_container tty -t -- sh -c 'tty; read -r line; echo "got $line"; exit 4'
(sleep 0.3; echo hello; sleep 1) | container attach tty >out
grep_quiet 'got hello' out
container logs tty >log
grep_quiet '/dev/(pts/0|console)' log
equal "$(container wait tty)" 'exit code 4'
container remove tty
