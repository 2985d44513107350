#!/usr/bin/env bash
# What tests need from Python's index, in a virtual environment of its own beside the other dependencies.
#   python.sh          makes it if need be         python.sh --prefix     prints where it is
# pip is told nothing about where the index is: that is the machine's configuration.
set -euo pipefail
# EC2's API as a server (its extra "server" would bring every other service); botocore comes along, which signs independently of us
packages=('moto[ec2]>=5.1,<6' flask flask-cors)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=$(dirname "$("$here/deps.sh" --prefix)")/python-$(printf '%s\n' "${packages[@]}" "$(uname -m)" | cksum | cut -d' ' -f1)
[ "${1:-}" != --prefix ] || { echo "$prefix"; exit; }
[ ! -e "$prefix/.complete" ] || exit 0
mkdir -p "$(dirname "$prefix")"
exec 8>"$prefix.lock"
flock 8
[ ! -e "$prefix/.complete" ] || exit 0
echo "deps: installing ${packages[*]}" >&2
rm -rf "$prefix"
if ! { python3 -m venv "$prefix" && "$prefix/bin/pip" -q install "${packages[@]}"; } >"$prefix.log" 2>&1; then
  tail -n 5 "$prefix.log" >&2
  echo "deps: cannot install ${packages[*]}: tests that need it are skipped (log: $prefix.log)" >&2
  exit 0
fi
touch "$prefix/.complete"
