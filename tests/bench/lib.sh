# For benchmarks: `source "$(dirname "$0")/lib.sh"`. A benchmark measures ours and a peer's in turn (A B A B ...), so that
# both see the same machine, and reports medians:
#
#     compare 'container start+exit' 15 'rayctl' './ours' 'crun' './peer' ['runc' './other']
#
# Each command is a shell function or a script, run with stdout in a file; a command that fails ends the benchmark.
# Variables `before_NAME` (NAME with other characters as _) hold what to run, not timed, before each run of NAME.
# rows are collected in $BENCH_RESULTS (tab-separated) and shown as a table at the end by suite.sh.
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/../functional/common.sh"
BENCH_RESULTS=${BENCH_RESULTS:-$T/results.tsv}

# median of the numbers given
median() {
  printf '%s\n' "$@" | sort -g | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# seconds COMMAND...: runs it and prints how long it took, in seconds
seconds() {
  local start=$EPOCHREALTIME
  "$@" >"$T/bench.out" 2>"$T/bench.err" </dev/null || { tail -n 20 "$T/bench.out" "$T/bench.err" >&2; fail "benchmark: $*"; }
  local end=$EPOCHREALTIME
  awk -v a="$start" -v b="$end" 'BEGIN { printf "%.6f\n", b - a }'
}

# report NAME UNIT BETTER OURS PEER PEER_FIGURE: one row; BETTER is lower or higher
# ratio is ours to the peer's so that more than 1 always means that ours is better
report() {
  local ratio
  ratio=$(awk -v o="$4" -v p="$6" -v b="$3" 'BEGIN { if (o == 0 || p == 0) print "-"; else printf "%.2f", b == "lower" ? p / o : o / p }')
  printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$4" "$5" "$6" "$ratio" >>"$BENCH_RESULTS"
  printf '  %-34s ours %s %s, %s %s %s, ratio %s\n' "$1" "$4" "$2" "$5" "$6" "$2" "$ratio"
}
# report_alone NAME UNIT FIGURE: where no peer exists
report_alone() {
  printf '%s\t%s\t%s\t-\t-\t-\n' "$1" "$2" "$3" >>"$BENCH_RESULTS"
  printf '  %-34s ours %s %s\n' "$1" "$3" "$2"
}

# compare NAME RUNS OURS COMMAND [PEER COMMAND]...: interleaved, medians of seconds, ours against each peer
compare() {
  local name=$1 runs=$2 i label command prepare; shift 2
  declare -A times=()
  for ((i = 0; i <= runs; i++)); do  # run 0 warms caches and isn't counted
    for ((j = 1; j < $#; j += 2)); do
      label=${!j}; command=$((j + 1)); command=${!command}
      prepare=before_${label//[^[:alnum:]]/_}
      [ -z "${!prepare:-}" ] || ${!prepare} >/dev/null 2>&1 || fail "benchmark: ${!prepare}"
      local took; took=$(seconds $command)
      [ "$i" = 0 ] || times[$label]+=" $took"
    done
  done
  local ours figure
  # shellcheck disable=SC2086
  ours=$(median ${times[$1]})
  [ $# -gt 2 ] || report_alone "$name" s "$ours"
  for ((j = 3; j < $#; j += 2)); do
    # shellcheck disable=SC2086
    figure=$(median ${times[${!j}]})
    report "$name" s lower "$ours" "${!j}" "$figure"
  done
}

# round_trip_program: rtt.py, which answers (`serve`) or prints the median of 3,000 round trips to ADDRESS, in microseconds
round_trip_program() {
  cat >rtt.py <<'PY'
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if sys.argv[1] == 'serve':
    s.bind(('0.0.0.0', 7100))
    while True:
        data, who = s.recvfrom(100); s.sendto(data, who)
s.connect((sys.argv[1], 7100)); s.settimeout(1); times = []
for _ in range(3000):
    begin = time.perf_counter(); s.send(b'x' * 64); s.recv(100); times.append(time.perf_counter() - begin)
print(round(sorted(times)[1500] * 1e6, 1))
PY
}

# bench_image: an image of two layers in the OCI layout src:1, made of the directories $IMAGE_DIRS, and a registry ($REGISTRY)
bench_image() {
  local dir dirs
  need_root
  need_command skopeo docker-registry umoci
  read -r -a dirs <<<"${IMAGE_DIRS:-/usr/lib/gcc /usr/share}"
  start_registry --plain --open
  umoci init --layout src && umoci new --image src:1
  for dir in "${dirs[@]}"; do
    tar -C / --one-file-system --exclude=usr/lib/debug -cf layer.tar "${dir#/}"
    umoci raw add-layer --image src:1 layer.tar && rm layer.tar
  done
}
