"""Computes pi by the Monte Carlo method, with at least one task on every node of the cluster."""
import collections, random, sys
import ray

# ray.init(address="auto")

from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

SPREAD_TASKS = 10  # besides the one that is bound to each node
SIDE = 400


@ray.remote
def estimate_pi(seed):
    """Throws one dart into each cell of a SIDE x SIDE grid; returns the estimate and the id of the node that made it."""
    uniform = random.Random(seed).random
    hits = 0
    for row in range(SIDE):
        for column in range(SIDE):
            hits += (row + uniform()) ** 2 + (column + uniform()) ** 2 < SIDE**2
    return 4 * hits / SIDE**2, ray.get_runtime_context().get_node_id()


if not ray.is_initialized():
    ray.init()  # joins the cluster that RAY_ADDRESS names, else the one that runs on this machine

nodes = {node["NodeID"]: node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1}
if not nodes:
    sys.exit("driver.py: cannot compute pi: no alive node of the cluster has a CPU")

# The bound tasks come first: then each node has a worker, and Ray can spread the others evenly.
strategies = [NodeAffinitySchedulingStrategy(node_id, soft=False) for node_id in nodes]
results = ray.get([estimate_pi.options(scheduling_strategy=s).remote(seed) for seed, s in enumerate(strategies)])
seeds = range(len(results), len(results) + SPREAD_TASKS)
results += ray.get([estimate_pi.options(scheduling_strategy="SPREAD").remote(seed) for seed in seeds])

print(f"Pi is approximately {sum(estimate for estimate, _ in results) / len(results)}.")
tasks = collections.Counter(node_id for _, node_id in results)
for node_id, node in nodes.items():
    print(f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']}): {tasks[node_id]} tasks")
ray.shutdown()
print("Successfully shut down Ray.")

idle = [node["NodeManagerAddress"] for node_id, node in nodes.items() if not tasks[node_id]]
if idle:
    sys.exit(f"driver.py: no task ran on {', '.join(idle)}")
