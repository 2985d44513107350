#!/usr/bin/env bash
# What the build needs from outside: packages of Debian, and three static libraries built from Debian's source packages.
#   deps.sh --prefix [ARCH]      print where those libraries are installed
#   deps.sh GROUP...             make sure that the groups of `packages` are there; `build` also builds the libraries
#   deps.sh --update GROUP...    the same, and rebuild a library that Debian has a newer revision of
#   deps.sh --arch ARCH build    the libraries, and Debian's, for another processor; and the cross-compiler
# RAYCTL_DEPS moves the cache: /var/cache/rayctl/deps for root, ~/.cache/rayctl/deps otherwise.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "$(id -u)" = 0 ]; then cache=/var/cache/rayctl/deps; else cache=${XDG_CACHE_HOME:-$HOME/.cache}/rayctl/deps; fi
cache=${RAYCTL_DEPS:-$cache}
libraries=(curl libarchive libisal)

# The key changes with the recipe and the machine's architecture; revisions of Debian are files beside the libraries.
key=$(cat "$here/libraries.sh" | cksum | cut -d' ' -f1)
arch=$(uname -m)

fail() { printf 'deps: %s\n' "$*" >&2; exit 1; }

missing_packages() {  # of the groups given, one a line
  local group wanted=()
  for group; do
    mapfile -t -O "${#wanted[@]}" wanted < <(awk -v g="$group" '$1 == g { print $2 }' "$here/packages")
  done
  [ ${#wanted[@]} -gt 0 ] || return 0
  { dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null || true; } |
    awk -v all="${wanted[*]}" '$1 == "installed" { have[$2] = 1 }
      END { n = split(all, want, " "); for (i = 1; i <= n; i++) if (!(want[i] in have)) print want[i] }'
}

lock() {  # one installation, and one build of the libraries, at a time on the machine
  mkdir -p "$cache"
  exec 9>"$cache/.lock"
  flock -n 9 || { echo "deps: waiting for another one" >&2; flock 9; }
}

install_packages() {
  local missing
  missing=$(missing_packages "$@" | sort -u | tr '\n' ' ')
  [ -n "$missing" ] || return 0
  [ "$(id -u)" = 0 ] || fail "packages are missing; as root, type: apt-get install ${missing% }"
  lock
  missing=$(missing_packages "$@" | sort -u | tr '\n' ' ')
  [ -n "$missing" ] || return 0
  echo "deps: installing ${missing% }" >&2
  export DEBIAN_FRONTEND=noninteractive
  local log=$cache/apt.log options=(-q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
  hold_services
  { apt-get "${options[@]}" update || echo "apt-get update failed; trying with the lists there are"
    # shellcheck disable=SC2086
    apt-get "${options[@]}" install -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null ||
    { release_services; tail -n 20 "$log" >&2; fail "cannot install packages (log: $log); type: apt-get install ${missing% }"; }
  release_services
  # shellcheck disable=SC2086
  ! command -v systemctl >/dev/null || dpkg -L $missing | sed -nE 's#^(/usr)?/lib/systemd/system/([^@]+\.(service|socket))$#\2#p' |
    xargs -r systemctl disable >>"$log" 2>&1 || true
}

# Tests start their own servers: a package that has a service (docker-registry listens on port 5000) must not start it.
policy=/usr/sbin/policy-rc.d
hold_services() {
  [ ! -e $policy ] || return 0
  printf '#!/bin/sh\n# temporary, by rayctl/tests/deps\nexit 101\n' >$policy && chmod 755 $policy
  trap release_services EXIT
}
release_services() { if grep -qs 'temporary, by rayctl' $policy; then rm -f $policy; fi; }

libraries_there() {
  local name
  for name in "${libraries[@]}"; do [ -e "$prefix/.stamp-$name" ] || return 1; done
}

main() {
  [ "${1:-}" != --prefix ] || { echo "$cache/${2:-$arch}-$key"; return; }
  local update=
  [ "${1:-}" != --update ] || { update=1; shift; }
  [ "${1:-}" != --arch ] || { arch=$2; shift 2; }
  prefix=$cache/$arch-$key
  command -v dpkg-query >/dev/null ||
    fail "this is no Debian: install what $here/packages lists, and curl, libarchive and isa-l as $here/libraries.sh says"
  local cross=
  [ "$arch" = "$(uname -m)" ] || cross=cross-$arch
  install_packages "$@" $cross
  case " $* " in *' test '* | *' bench '*) "$here/go.sh" ;; esac
  case " $* " in *' test '*) "$here/python.sh"; "$here/oci_validation.sh" ;; esac
  case " $* " in *' build '*) ;; *) return 0 ;; esac
  if [ -z "$update" ] && libraries_there; then return 0; fi
  lock
  if [ -z "$update" ] && libraries_there; then return 0; fi
  [ -z "$cross" ] || "$here/sysroot.sh" "$arch" "$prefix"
  "$here/libraries.sh" "$arch" "$prefix" "${libraries[@]}"
}
main "$@"
