#!/usr/bin/env bash
# The binary is one file: nothing to load, small.
source "$(dirname "$0")/common.sh"
need_command readelf file ldd

readelf -dW "$RAYCTL" >dynamic
grep_quiet 'There is no dynamic section' dynamic
readelf -lW "$RAYCTL" >segments
grep_none '\bINTERP\b' segments
ldd "$RAYCTL" >ldd 2>&1 || true
grep_quiet 'not a dynamic executable' ldd

# a stack that may be executed, or pages both writable and executable, would be a mistake of the link
grep_none 'GNU_STACK.* RWE|LOAD.* RWE ' segments

strip -o stripped "$RAYCTL"
size=$(stat -c %s stripped)
limit=$((15 * 1024 * 1024))
[ "${RAYCTL_MODE:-release}" != dev ] || limit=$((40 * 1024 * 1024))  # -O0
[ "$size" -le "$limit" ] || fail "$size bytes stripped; at most $limit"
if [ "${RAYCTL_MODE:-release}" = release ]; then equal "$(stat -c %s "$RAYCTL")" "$size" 'the release is not stripped'; fi
