#!/usr/bin/env bash
# sysroot.sh ARCH PREFIX: Debian's libraries and headers for another processor, unpacked under PREFIX/sysroot. They are
# what `packages` lists in the group sysroot; the machine's own packages stay as they are, and no foreign architecture is
# added to dpkg. What is there in Debian's newest revision is left alone. Run by deps.sh, under its lock.
set -euo pipefail
arch=$1 prefix=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/deps/archive.sh
. "$here/archive.sh"
case $arch in aarch64) debian=arm64 ;; x86_64) debian=amd64 ;; *) fail "no sysroot for '$arch'" ;; esac
work=$(mktemp -d "${TMPDIR:-/tmp}/rayctl-sysroot.XXXXXX")
trap 'rm -rf "$work"' EXIT

mapfile -t wanted < <(awk '$1 == "sysroot" { print $2 }' "$here/packages")
find_archive deb "$debian"
revisions=$(archive_apt --print-uris download "${wanted[@]}" | awk '{ print $2, $4 }' | sort)
[ "$(grep -c . <<<"$revisions")" = "${#wanted[@]}" ] || fail "Debian's archive lacks a package of ${wanted[*]} for $debian"
[ "$revisions" != "$(cat "$prefix/.stamp-sysroot" 2>/dev/null)" ] || exit 0

echo "deps: unpacking ${#wanted[@]} packages for $arch" >&2
mkdir "$work/debs" "$work/sysroot"
(cd "$work/debs" && archive_apt download "${wanted[@]}") >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "cannot fetch the packages for $arch"; }
for deb in "$work"/debs/*.deb; do dpkg-deb -x "$deb" "$work/sysroot"; done
[ -e "$work/sysroot/usr/lib/$arch-linux-gnu/libc.a" ] || fail "the packages for $arch have no libc.a"
# nothing but headers and archives is of use
rm -rf "$work/sysroot/usr/share" "$work/sysroot/usr/bin"
mkdir -p "$prefix"
rm -rf "$prefix/sysroot" "$prefix"/.stamp-*
cp -a "$work/sysroot" "$prefix/"
printf '%s\n' "$revisions" >"$prefix/.stamp-sysroot.new"
mv "$prefix/.stamp-sysroot.new" "$prefix/.stamp-sysroot"
