#!/usr/bin/env bash
# link.sh COMMAND...: runs the linker without the warnings that OpenSSL and c-ares always cause in a static program:
# they hold calls that would load NSS, which rayctl never makes. The same warning about our own code fails the link.
set -uo pipefail
{ "$@" 2>&1 >&3 | awk '
  / in function `.*:$/ { place = $0; next }
  /Using .* in statically linked applications requires at runtime/ {
    if (place !~ /lib(crypto|cares)\.a/) { print place; print; bad = 1 }
    place = ""; next
  }
  { if (place) print place; place = ""; print }
  END { if (place) print place; exit bad }' >&2; } 3>&1
status=("${PIPESTATUS[@]}")
exit $((status[0] ? status[0] : status[1]))
