# The bench suite: each tests/bench/*.sh but lib.sh and this, one after the other, and a table of all figures at the end.
# Each runs in namespaces of its own and is bounded (`# timeout: SECONDS`, default 900) as a functional test is; so is exit 77.

run_bench() {
  local script name log directory limit status isolation
  # shellcheck source=/dev/null
  . tests/functional/suite.sh
  mkdir -p "$logs/bench"
  export BENCH_RESULTS=$RAYCTL_BUILD/bench.tsv
  : >"$BENCH_RESULTS"
  for script in tests/bench/*.sh; do
    name=bench/$(basename "$script" .sh)
    case $name in bench/lib | bench/suite) continue ;; esac
    wanted "$name" || continue
    log=$logs/$name.log
    directory=$(mktemp -d "${TMPDIR:-/tmp}/rayctl-bench.XXXXXX")
    limit=$(sed -nE 's/^# timeout: ([0-9]+).*/\1/p' "$script" | head -n 1)
    mapfile -t isolation < <(functional_isolation "$script")
    printf 'bench   %s\n' "$name"
    RAYCTL_TEST_DIR=$directory timeout --foreground -k 30 "${limit:-900}" "${isolation[@]}" bash "$script" 2>&1 </dev/null | tee "$log" | grep '^  '
    status=${PIPESTATUS[0]}
    case $status in
      0) pass "$name" ;;
      77) functional_skip "$name" "$log" ;;
      *) tail -n 40 "$log"; fail "$name (exit $status; log: $log)" ;;
    esac
    rm -rf --one-file-system "$directory"
  done
  bench_table
}

bench_table() {
  [ -s "$BENCH_RESULTS" ] || return 0
  printf '\n%-36s %-6s %12s  %-22s %12s  %s\n' benchmark unit ours peer "peer's" 'ratio (>1: ours is better)'
  awk -F '\t' '{ printf "%-36s %-6s %12s  %-22s %12s  %s\n", $1, $2, $3, $4, $5, $6 }' "$BENCH_RESULTS"
  printf '\n'
}
