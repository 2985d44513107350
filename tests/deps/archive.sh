#!/usr/bin/env bash
# Sourced by libraries.sh and sysroot.sh: a state of apt's own in $work, from entries derived from the machine's; nothing
# in /etc or /var/lib changes.
fail() { printf 'deps: %s\n' "$*" >&2; exit 1; }

find_archive() {  # deb|deb-src DEBIAN-ARCHITECTURE
  local keyring=/usr/share/keyrings/debian-archive-keyring.gpg option=
  architecture=$2
  [ ! -e $keyring ] || option="[signed-by=$keyring] "
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
  apt-get indextargets --format "$1 $option\$(REPO_URI) \$(RELEASE) \$(COMPONENT)" \
    'Created-By: Packages' 'Origin: Debian' | sort -u >"$work/sources.list"
  [ -s "$work/sources.list" ] || fail "apt knows no archive of Debian; type as root: apt-get update"
  archive_apt update >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "cannot read the archive's lists ($1, $2)"; }
}

archive_apt() {
  apt-get -q -o APT::Architecture="$architecture" -o APT::Architectures="$architecture" \
    -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$work/lists" \
    -o Dir::State::status=/dev/null -o Dir::Cache="$work/cache" -o APT::Sandbox::User= -o Acquire::Retries=3 \
    -o APT::Get::Only-Source=true "$@"
}
