# The functional suite: each tests/functional/[0-9]*.sh runs in its own temporary directory and, as root, in its own
# mount, pid and network namespaces, so that tests leave nothing behind and may use any port. Lines of a test that begin
# so are for the runner:  `# timeout: SECONDS` (default 120),  `# network: host` (it needs the machine's network).
# Exit 77 after a line `skip: PROBE: reason` skips it. ACCEPT and other variables pass through.

functional_isolation() {  # SCRIPT: words to put before it
  [ "$(id -u)" = 0 ] || return 0
  local namespaces=(unshare --mount --propagation private --pid --fork --kill-child --mount-proc)
  grep -q '^# network: host' "$1" || namespaces+=(--net)
  "${namespaces[@]}" true 2>/dev/null && printf '%s\n' "${namespaces[@]}"
}

functional_skip() {  # NAME LOG: a skip, or under RAYCTL_MUST_RUN=1 a failure unless the probe says so too
  local probe reason
  reason=$(grep '^skip: ' "$2" | tail -n 1)
  reason=${reason#skip: }
  probe=${reason%%:*}
  if [ -z "$reason" ]; then
    fail "$1 (exit 77 without a line 'skip: PROBE: reason')"
  elif [ "${RAYCTL_MUST_RUN:-}" = 1 ] && ! functional_cannot "$probe"; then
    fail "$1 (it must run here, but was skipped: $reason)"
  else
    skip "$1" "$reason"
  fi
}

functional_cannot() (  # PROBE: true when it is in the list and says that this machine can't
  # shellcheck source=/dev/null
  . tests/functional/probes.sh
  declare -F "probe_$1" >/dev/null && ! "probe_$1" >/dev/null 2>&1
)

run_functional() {
  local script name log directory seconds start status isolation
  mkdir -p "$logs/functional"
  for script in tests/functional/[0-9]*.sh; do
    name=functional/$(basename "$script" .sh)
    [ -e "$script" ] && wanted "$name" || continue
    log=$logs/$name.log
    directory=$(mktemp -d "${TMPDIR:-/tmp}/rayctl-test.XXXXXX")
    seconds=$(sed -nE 's/^# timeout: ([0-9]+).*/\1/p' "$script" | head -n 1)
    mapfile -t isolation < <(functional_isolation "$script")
    start=$SECONDS
    RAYCTL_TEST_DIR=$directory timeout --foreground -k 15 "${seconds:-120}" "${isolation[@]}" bash "$script" >"$log" 2>&1 </dev/null
    status=$?
    case $status in
      0) pass "$name ($((SECONDS - start))s)" ;;
      77) functional_skip "$name" "$log" ;;
      124 | 137) tail -n 40 "$log"; fail "$name (no end after ${seconds:-120} s; log: $log)" ;;
      *) tail -n 40 "$log"; fail "$name (exit $status; log: $log)" ;;
    esac
    rm -rf --one-file-system "$directory"
  done
}
