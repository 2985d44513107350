#!/usr/bin/env bash
# Specs on the command line: new, eval, graph, JSON in place of a spec, QUILT_PATH, and errors with a caret.
source "$(dirname "$0")/common.sh"

expect 0 rayctl spec new cluster
equal "$(cat out)" "$(printf 'cluster/ray.spec\ncluster/ray-runner.spec')"
equal "$(sed -n 11p cluster/ray-runner.spec)" '(define Namespace "CHANGE_ME")'
equal "$(sed -n 24p cluster/ray-runner.spec)" '(define githubKey "YOUR_GITHUB_USERNAME")'
expect 1 rayctl spec new cluster
grep_quiet "^rayctl: cannot write 'cluster/ray.spec': it is there already" err

cd cluster
expect 1 rayctl spec eval ray-runner.spec
grep_quiet "^rayctl: ray-runner.spec:11:19: 'CHANGE_ME' is a placeholder: put your own value there$" "$T/err"
grep_quiet '^                      \^$|^                    \^$' "$T/err"
grep_quiet "^ray-runner.spec:24:19: 'YOUR_GITHUB_USERNAME' is a placeholder, too$" "$T/err"
sed -i '11s/CHANGE_ME/mine/; 24s/.*/(define sshkey "ssh-ed25519 AAAA me@laptop")/; s/nWorker 1/nWorker 2/' ray-runner.spec
sed -i '4s/".*"/"me\/ray:2"/' ray.spec  # an image of one's own, as the guide says
expect 0 rayctl spec eval ray-runner.spec -o json
cp "$T/out" mine.json
python3 - mine.json <<'END'
import json, sys
d = json.load(open(sys.argv[1]))
assert d["namespace"] == "mine" and d["admin_acl"] == ["local"], d
assert [m["role"] for m in d["machines"]] == ["Master", "Worker", "Worker"]
assert all(m["ssh_keys"] == ["ssh-ed25519 AAAA me@laptop"] for m in d["machines"])
assert {c["image"] for c in d["containers"]} == {"me/ray:2"}
head = [c for c in d["containers"] if c["command"] == ["run", "head"]]
assert head[0]["env"]["WORKERHOST"] == "ray-wk-0.q,ray-wk-1.q", head
END
expect 0 rayctl spec eval mine.json
cmp "$T/out" mine.json
expect 0 rayctl spec eval -o table mine.json
grep_quiet '^3 +Worker +Amazon +us-west-1 +m5.large +32 GB$' "$T/out"
expect 0 rayctl spec graph ray-runner.spec
grep_quiet '^ray-ms-0 -> ray-wk-1 +22, 100-65535$' "$T/out"
expect 0 rayctl spec graph --format svg ray-runner.spec
python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$T/out"
expect 0 rayctl spec graph --format dot mine.json
grep_quiet '"ray-wk" -> "ray-wk" \[label="100-65535"\];' "$T/out"
LC_ALL=C.UTF-8 expect 0 rayctl spec graph --format terminal mine.json
grep_quiet '^│ ray-ms-0 ' "$T/out"

# QUILT_PATH wins over a file beside the spec and over what is built in
mkdir -p "$T/path/github.com/NetSys/quilt/specs/stdlib"
printf '(define New 5)\n' >"$T/path/ray.spec"
expect 1 env QUILT_PATH="$T/path" "$RAYCTL" spec eval ray-runner.spec
grep_quiet 'a form begins with a function, not an integer: 5' "$T/err"
mkdir "$HOME/.quilt"; printf '(panic "from home")\n' >"$HOME/.quilt/ray.spec"
expect 1 rayctl spec eval ray-runner.spec
grep_quiet "$HOME/.quilt/ray.spec:1:1: panic: from home" "$T/err"
rm "$HOME/.quilt/ray.spec"

# hostile: it ends in an error, soon and without much memory
printf '(let ((f (lambda (g n) (g g (+ n n))))) (f f "xxxxxxxxxxxxxxxx"))\n' >hostile.spec
( ulimit -v 2000000; expect 1 timeout 20 "$RAYCTL" spec eval hostile.spec )
grep_quiet '^rayctl: hostile.spec:1:[0-9]+: the spec (needs more than|nests too deeply)' "$T/err"
expect 1 rayctl spec eval nothing.spec
grep_quiet "cannot open 'nothing.spec'" "$T/err"
