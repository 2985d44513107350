#!/usr/bin/env bash
# The Open Container Initiative's validation suite drives `rayctl oci`. What fails is listed with its reason; the list is
# exact for what the suite always finds.
# timeout: 600
source "$(dirname "$0")/common.sh"
need_root
need mount_namespaces
need memory_controller
need cgroup_v1  # the suite reads v1's files
need oci_validation
suite=$("$top/tests/deps/oci_validation.sh" --prefix)
ln -s "$RAYCTL" oci-rayctl
export RUNTIME=$T/oci-rayctl

# NAME REGEX of a failure's text: why
declare -A known=(
  [delete]='is not `stopped`'                      # a created container is killed and deleted, as by runc and crun
  [hooks_stdin]='"(prestart|poststart)" hook'     # it wants "created" where later versions say "creating", and no version
  [hooks]='listed order'                           # it wants prestart hooks after start, as version 1.0.0 had it
  [prestart]='after the `start` operation'         # the same
  [poststart]='after the user-specified process'   # it looks for what the process wrote, which may not have run yet
  [poststart_fail]='poststart hook fails'          # version 1.0: a warning; since 1.1: an error that ends the container
  [killsig]='send the specified signal'            # it deletes the container before its process died of the signal
  [start]='exit status 1'                          # starting a container without process: refused when it is created
  [misc_props]='unknown annotation key'            # the container's program is missing from the root that the suite made
  [pidfile]='--pid-file'                           # it signals a container that has ended
  [process_capabilities]='CAP_SYS_RESOURCE'        # not ours to give on a machine that doesn't have it
  [process_rlimits]='RLIMIT_NOFILE'                # the suite's own program raises it
  [linux_cgroups_memory]='kernel'                  # Linux has no limit for kernel memory any more
  [linux_cgroups_relative_memory]='kernel'         # the same
  [linux_cgroups_relative_blkio]='.'               # this machine has no blkio.weight, as for the next four
  [linux_cgroups_relative_hugetlb]='.'
  [linux_cgroups_relative_network]='.'
  [linux_rootfs_propagation]='.'                   # needs a shared root file system on the host
)
# These end early by themselves, under runc too: controllers, AppArmor and SELinux that a machine may lack, and a
# capability by a made-up name that versions since 1.1 want ignored.
ends_early='^(linux_cgroups_blkio|linux_cgroups_hugetlb|linux_cgroups_network|linux_mount_label|linux_process_apparmor_profile|process_capabilities_fail)$'

passed=0
cd "$suite"
for test in validation/*; do
  name=$(basename "$test")
  code=0
  timeout 60 "$test" >"$T/tap" 2>"$T/err" || code=$?
  passed=$((passed + $(grep -c '^ok' "$T/tap" || true)))
  if [ "$code" != 0 ] && ! [[ $name =~ $ends_early ]]; then
    cat "$T/tap" "$T/err"
    fail "$name ends with $code"
  fi
  # a failure is a line "not ok", or, in tests without a plan, a document with an error
  if grep -q '^1\.\.0' "$T/tap"; then shape='^    "error": "[^"]'; else shape='^not ok'; fi
  grep -E "$shape" "$T/tap" >"$T/failures" || true
  while read -r line; do
    [[ -n "${known[$name]:-}" && "$line" =~ ${known[$name]} ]] && continue
    cat "$T/tap" "$T/err"
    fail "$name: $line"
  done <"$T/failures"
done
[ "$passed" -gt 3500 ] || fail "only $passed checks passed"
