#!/usr/bin/env bash
# A spec of 5,000 machines: to JSON. No peer: Quilt's interpreter isn't built any more. The bound is the issue's: 1 s.
source "$(dirname "$0")/lib.sh"
mkdir -p "$T/spec"; cd "$T/spec"
rayctl spec new . >/dev/null
sed -i '11s/CHANGE_ME/mine/; 24s/YOUR_GITHUB_USERNAME/me/; s/nWorker 1/nWorker 4999/' ray-runner.spec
eval_5000() { rayctl spec eval ray-runner.spec; }
graph_5000() { rayctl spec graph --format svg ray-runner.spec; }
compare 'spec eval, 5,000 machines' 7 rayctl eval_5000
compare 'spec graph, 5,000 labels' 3 rayctl graph_5000
equal "$(rayctl spec eval ray-runner.spec | grep -c '"role"')" 5000
took=$(seconds eval_5000)
awk -v t="$took" 'BEGIN { exit !(t < 1) }' || fail "spec eval of 5,000 machines took $took s: more than 1"
