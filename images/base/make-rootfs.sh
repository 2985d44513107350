#!/usr/bin/env bash
# Makes the root file system that images/base/Dockerfile starts from, and prints the directory that holds it as
# rootfs.tar, which is the build context:
#
#   rayctl build -t ray-base:bookworm -f images/base/Dockerfile "$(images/base/make-rootfs.sh)"
#
# The packages come from this machine's own apt sources for Debian bookworm, and the image keeps those sources. Name
# another list of them with RAYCTL_APT_SOURCES=FILE. The tar is kept in RAYCTL_ROOTFS_CACHE (/var/cache/rayctl/rootfs for
# root, ~/.cache/rayctl/rootfs otherwise), by a hash of all that goes into it but the package versions: --refresh makes
# it again with today's. The same packages give the same bytes; SOURCE_DATE_EPOCH is the date of what has no other.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

release=bookworm
packages=(ca-certificates python3-venv sudo vim-tiny)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1767225600}

fail() {
  echo "make-rootfs.sh: $*" >&2
  exit 1
}

case ${1-} in
'') ;;
--refresh) refresh=1 ;;
*) fail "cannot use '$1': the only option is --refresh" ;;
esac
command -v mmdebstrap >/dev/null || fail "cannot find 'mmdebstrap': install it (apt-get install mmdebstrap)"

# deb lines for the release, its updates and its security updates, as apt itself understands this machine's files
apt_sources() {
  apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    awk -v release="$release" '$3 == release || $3 == release "-updates" || $3 == release "-security"' | sort -u
}

if [ -n "${RAYCTL_APT_SOURCES-}" ]; then
  sources=$(grep '^deb ' "$RAYCTL_APT_SOURCES") || fail "cannot use '$RAYCTL_APT_SOURCES': it has no line that begins with 'deb '"
else
  sources=$(apt_sources)
  # Until the first apt-get update, apt doesn't know which of its sources are Debian's.
  if [ -z "$sources" ] && [ "$(id -u)" = 0 ]; then
    apt-get update >&2
    sources=$(apt_sources)
  fi
  [ -n "$sources" ] || fail "cannot find Debian $release among this machine's apt sources: run apt-get update as root, or name a list of them with RAYCTL_APT_SOURCES=FILE"
fi

if [ "$(id -u)" = 0 ]; then cache=/var/cache/rayctl/rootfs; else cache=${XDG_CACHE_HOME:-$HOME/.cache}/rayctl/rootfs; fi
cache=${RAYCTL_ROOTFS_CACHE:-$cache}
key=$({ cat "${BASH_SOURCE[0]}"; dpkg --print-architecture; echo "$SOURCE_DATE_EPOCH" "$sources"; } | sha256sum | cut -c1-16)
context=$cache/$key

if [ -n "${refresh-}" ] || [ ! -f "$context/rootfs.tar" ]; then
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/.making.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  printf '%s\n' "$sources" >"$work/sources.list"

  # Last: the user that rayproject/ray has, and the name `vim`, which vim-tiny leaves out.
  cat >"$work/finish" <<'EOF'
set -eu
chroot "$1" useradd --uid 1000 --gid users --create-home --shell /bin/bash --no-log-init ray
echo 'ray ALL=(ALL:ALL) NOPASSWD: ALL' >"$1/etc/sudoers.d/ray"
chmod 440 "$1/etc/sudoers.d/ray"
chroot "$1" update-alternatives --quiet --install /usr/bin/vim vim /usr/bin/vim.tiny 15
# the names of this machine, and backups
rm -f "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/etc/*- "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old
EOF

  # usr-is-merged spares the perl that usrmerge needs to convert a root that isn't. /var/tmp, for in a directory that apt's
  # own user can't reach apt works as root, and leaves other owners.
  TMPDIR=/var/tmp mmdebstrap --variant=apt --format=tar --skip=output/dev \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --include="$(IFS=,; echo "${packages[*]}")" \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
    --customize-hook="sh $work/finish \"\$1\"" \
    "$release" "$work/rootfs.tar" "$work/sources.list" >&2 || fail "cannot make '$context/rootfs.tar': mmdebstrap failed, see above"

  # Device nodes have no place in a layer, but a container's /dev needs something to be mounted on.
  mkdir -m 755 "$work/dev"
  tar --append --file="$work/rootfs.tar" --format=ustar --owner=root:0 --group=root:0 --mtime="@$SOURCE_DATE_EPOCH" -C "$work" ./dev

  mkdir -p "$context"
  mv "$work/rootfs.tar" "$context/rootfs.tar"
fi
echo "$context"
