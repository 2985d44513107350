#!/usr/bin/env bash
# Every shell script parses and starts with a #! line; no file names a registry's host.
set -euo pipefail
exec 2>&1
bad=0
while read -r file; do
  head -n 1 "$file" | grep -qE '^#!/' || { [[ $file == */common.sh || $file == */lib.sh || $file == */probes.sh || $file == */suite.sh ]] || { echo "$file:1: no #! line"; bad=1; }; }
  bash -n "$file" || bad=1
done < <(find tests .ci -type f \( -name '*.sh' -o -name run \))
hosts='deb\.debian\.org|pypi\.org|pythonhosted\.org|registry\.npmjs\.org|proxy\.golang\.org|crates\.io|\bquay\.io|\bghcr\.io|\bgcr\.io'
if grep -rnE --exclude=30-shell.sh -e "$hosts" $(ls -d Makefile .ci src tests images scripts specs docs 2>/dev/null); then
  echo 'a registry is named: derive it from the machine (apt, pip), or use loopback'; bad=1
fi
exit $bad
