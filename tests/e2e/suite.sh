# The suite of whole clusters in virtual machines: tests/e2e/[0-9]*.sh, each in a directory of its own. They need root, QEMU
# and, without KVM, patience. `# timeout: SECONDS` is as in the functional suite; ONLY picks by name.
run_e2e() {
  local script name log directory seconds start status
  mkdir -p "$logs/e2e"
  for script in tests/e2e/[0-9]*.sh; do
    name=e2e/$(basename "$script" .sh)
    wanted "$name" || continue
    log=$logs/$name.log
    directory=$(mktemp -d /var/tmp/rayctl-e2e.XXXXXX)
    seconds=$(sed -nE 's/^# timeout: ([0-9]+).*/\1/p' "$script" | head -n 1)
    start=$SECONDS
    RAYCTL_TEST_DIR=$directory timeout --foreground -k 60 "${seconds:-1200}" bash "$script" >"$log" 2>&1 </dev/null
    status=$?
    sed -n '/^-- seconds of each stage/,$p' "$log"
    case $status in
      0) pass "$name ($((SECONDS - start))s)" ;;
      77) skip "$name" "$(sed -n 's/^skip: //p' "$log" | tail -n 1)" ;;
      124 | 137) tail -n 60 "$log"; fail "$name (no end after ${seconds:-1200} s; log: $log)" ;;
      *) tail -n 60 "$log"; fail "$name (exit $status; log: $log)" ;;
    esac
    rm -rf --one-file-system "$directory"
  done
}
