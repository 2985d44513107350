# The fuzz suite: each tests/fuzz/NAME.cc runs for TIME seconds. Its corpus grows in build/fuzz/corpus/NAME; it starts
# from tests/fuzz/corpus/NAME and tests/golden/*/NAME, where there are any. An input that crashes is left in
# build/fuzz/crash/NAME; moved to tests/fuzz/corpus/NAME it is tried first ever after.

run_fuzz() {
  local source name log seeds corpus crash
  mkdir -p "$logs/fuzz"
  for source in tests/fuzz/*.cc; do
    name=$(basename "$source" .cc)
    [ -e "$source" ] && wanted "fuzz/$name" || continue
    log=$logs/fuzz/$name.log corpus=$RAYCTL_BUILD/corpus/$name crash=$RAYCTL_BUILD/crash/$name
    mkdir -p "$corpus" "$crash"
    seeds=()
    for directory in "tests/fuzz/corpus/$name" tests/golden/*/"$name"; do [ ! -d "$directory" ] || seeds+=("$directory"); done
    if ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1 timeout -k 10 $((${TIME:-30} + 120)) \
        "$RAYCTL_BUILD/bin/$name" -max_total_time="${TIME:-30}" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$crash/" "$corpus" "${seeds[@]}" >"$log" 2>&1 </dev/null; then
      pass "fuzz/$name ($(sed -nE 's/^stat::number_of_executed_units: +//p' "$log") inputs, $(find "$corpus" -type f | wc -l) kept)"
    else
      tail -n 40 "$log"
      fail "fuzz/$name (log: $log; input: $crash)"
    fi
  done
}
