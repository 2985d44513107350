#!/usr/bin/env bash
# scripts/driver.py against a stand-in for Ray: which nodes must take part, and what it says and returns when one doesn't.
source "$(dirname "$0")/common.sh"
need_command python3
mkdir -p ray/util
cat >ray/__init__.py <<'E'
import os, types
class Task:
    def __init__(self, f, strategy=None): self.f, self.strategy = f, strategy
    def options(self, scheduling_strategy): return Task(self.f, scheduling_strategy)
    def remote(self, *arguments):
        global node
        node = "a" if self.strategy == "SPREAD" else self.strategy.node_id
        if node == os.environ.get("ELSEWHERE"): node = "a"
        return self.f(*arguments)
def remote(f): return Task(f)
def init(*arguments, **named): print("init", arguments, named)
def is_initialized(): return os.environ.get("UNCOMMENTED") == "1"
def nodes():
    cpus = [word.split(":") for word in os.environ.get("CPUS", "a:1 b:2 none:0").split()]
    found = [dict(NodeID=name, Alive=True, Resources={"CPU": float(cpu)}) for name, cpu in cpus]
    found += [dict(NodeID="dead", Alive=False, Resources={"CPU": 1.0}), dict(NodeID="head", Alive=True, Resources={})]
    return [dict(n, NodeManagerAddress="10.0.0." + n["NodeID"], NodeManagerHostname="host-" + n["NodeID"]) for n in found]
def get(results): return results
def get_runtime_context(): return types.SimpleNamespace(get_node_id=lambda: node)
def shutdown(): pass
E
: >ray/util/__init__.py
cat >ray/util/scheduling_strategies.py <<'E'
class NodeAffinitySchedulingStrategy:
    def __init__(self, node_id, soft): assert soft is False; self.node_id = node_id
E
driver() { expect "$1" env PYTHONPATH="$T" PYTHONDONTWRITEBYTECODE=1 "${@:2}"; }

driver 0 python3 "$top/scripts/driver.py"
grep_quiet '^Pi is approximately 3\.14[0-9]+\.$' out
grep -v Pi out >told
cat >wanted <<'E'
init () {}
10.0.0.a (host-a): 11 tasks
10.0.0.b (host-b): 1 tasks
Successfully shut down Ray.
E
diff wanted told
# Line 5 is the one that the guide of 2016 has users uncomment: it is then the only ray.init.
sed '5s/^# //' "$top/scripts/driver.py" >uncommented.py
driver 0 UNCOMMENTED=1 python3 uncommented.py
equal "$(grep init out)" "init () {'address': 'auto'}"

driver 1 ELSEWHERE=b python3 "$top/scripts/driver.py"
grep_quiet '^driver.py: no task ran on 10\.0\.0\.b$' err
driver 1 CPUS=none:0 python3 "$top/scripts/driver.py"
grep_quiet '^driver.py: cannot compute pi: no alive node of the cluster has a CPU$' err
