#!/usr/bin/env bash
# Every shell script parses, starts with a #! line, and names no registry's host (tests use loopback).
set -euo pipefail
bad=0
while read -r file; do
  head -n 1 "$file" | grep -qE '^#!/' || { [[ $file == */common.sh || $file == */lib.sh || $file == */probes.sh || $file == */suite.sh ]] || { echo "$file:1: no #! line"; bad=1; }; }
  bash -n "$file" || bad=1
done < <(find tests -name '*.sh')
exit $bad
