#!/usr/bin/env bash
# Makes a machine image for the provider Local (QEMU): Debian with its cloud kernel, cloud-init, systemd and sshd. Prints
# the directory that holds it (vmlinuz, initrd.img, root.img: an ext4 file system), and makes it the default image:
#
#   images/machine/make-machine.sh            then: rayctl up --provider Local …
#
# The packages come from this machine's own apt sources for Debian bookworm; RAYCTL_APT_SOURCES=FILE names another list.
# RAYCTL_MACHINE_PACKAGES='a b' adds packages. The image is kept in RAYCTL_MACHINES (/var/lib/rayctl/machines for root,
# ~/.local/share/rayctl/machines otherwise), by a hash of what goes into it; --refresh makes it again with today's packages.
# Needs mmdebstrap and e2fsprogs; without root also user namespaces (uidmap).
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

release=bookworm
size=8G  # of the root file system; a machine's disk is larger, and cloud-init grows it
case $(dpkg --print-architecture) in
amd64) kernel=linux-image-cloud-amd64 ;;
arm64) kernel=linux-image-cloud-arm64 ;;
*) kernel=linux-image-$(dpkg --print-architecture) ;;
esac
packages=("$kernel" ca-certificates cloud-guest-utils cloud-init curl dbus e2fsprogs iproute2 openssh-server
  procps sudo systemd-resolved systemd-sysv systemd-timesyncd udev zstd)
read -ra extra <<<"${RAYCTL_MACHINE_PACKAGES-}"
packages+=("${extra[@]}")

fail() {
  echo "make-machine.sh: $*" >&2
  exit 1
}

case ${1-} in
'') ;;
--refresh) refresh=1 ;;
*) fail "cannot use '$1': the only option is --refresh" ;;
esac
for command in mmdebstrap mke2fs; do
  command -v $command >/dev/null || fail "cannot find '$command': install it (apt-get install mmdebstrap e2fsprogs)"
done

apt_sources() {  # deb lines for the release, its updates and its security updates, as apt understands this machine's files
  apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' |
    awk -v release="$release" '$3 == release || $3 == release "-updates" || $3 == release "-security"' | sort -u
}
if [ -n "${RAYCTL_APT_SOURCES-}" ]; then
  sources=$(grep '^deb ' "$RAYCTL_APT_SOURCES") || fail "cannot use '$RAYCTL_APT_SOURCES': it has no line that begins with 'deb '"
else
  sources=$(apt_sources)
  [ -n "$sources" ] || fail "cannot find Debian $release among this machine's apt sources: run apt-get update as root, or name a list of them with RAYCTL_APT_SOURCES=FILE"
fi

if [ "$(id -u)" = 0 ]; then
  machines=/var/lib/rayctl/machines
  mapped() { "$@"; }
else
  machines=${XDG_DATA_HOME:-$HOME/.local/share}/rayctl/machines
  mapped() { mmdebstrap --unshare-helper "$@"; }
fi
machines=${RAYCTL_MACHINES:-$machines}
key=$({ cat "${BASH_SOURCE[0]}"; echo "$size" "${packages[@]}" "$sources"; } | sha256sum | cut -c1-16)
image=$machines/debian-$release-$key

if [ -n "${refresh-}" ] || [ ! -f "$image/root.img" ]; then
  mkdir -p "$machines"
  work=$(mktemp -d "$machines/.making.XXXXXX")
  trap 'mapped rm -rf "$work/root"; rm -rf "$work"' EXIT
  chmod 755 "$work"
  printf '%s\n' "$sources" >"$work/sources.list"

  # Before the kernel is installed: an initrd with what a QEMU machine's disk needs, which starts in less time.
  cat >"$work/first" <<'EOF'
set -eu
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
echo MODULES=list >"$1/etc/initramfs-tools/conf.d/rayctl"
printf '%s\n' virtio_pci virtio_blk ext4 >"$1/usr/share/initramfs-tools/modules.d/rayctl"
EOF
  cat >"$work/last" <<'EOF'
set -eu
echo 'datasource_list: [NoCloud, None]' >"$1/etc/cloud/cloud.cfg.d/90-rayctl.cfg"
printf 'ssh_genkeytypes: [ed25519]\nlocale: false\napt: {preserve_sources_list: true}\n' >"$1/etc/cloud/cloud.cfg.d/91-rayctl.cfg"
echo 'LABEL=root / ext4 defaults,discard 0 1' >"$1/etc/fstab"
chroot "$1" systemctl enable systemd-networkd systemd-resolved serial-getty@ttyS0 >/dev/null 2>&1
chroot "$1" systemctl disable apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap \
  fstrim.timer >/dev/null 2>&1 || :
# the names of this machine, and what each machine must have for itself
rm -f "$1"/etc/hostname "$1"/etc/*- "$1"/var/lib/dpkg/*-old "$1"/etc/ssh/ssh_host_*
: >"$1/etc/machine-id"
ln -sf ../run/systemd/resolve/stub-resolv.conf "$1/etc/resolv.conf"
EOF
  TMPDIR=/var/tmp mmdebstrap --variant=apt --format=tar --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --include="$(IFS=,; echo "${packages[*]}")" \
    --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
    --essential-hook="sh $work/first \"\$1\"" --customize-hook="sh $work/last \"\$1\"" \
    "$release" "$work/root.tar" "$work/sources.list" >&2 || fail "cannot make '$image': mmdebstrap failed, see above"

  mapped sh -euc '
    mkdir "$1/root"
    tar -x -f "$1/root.tar" -C "$1/root" --numeric-owner --xattrs --xattrs-include="*"
    cp "$1"/root/boot/vmlinuz-* "$1/vmlinuz"
    cp "$1"/root/boot/initrd.img-* "$1/initrd.img"
    chmod 644 "$1/vmlinuz" "$1/initrd.img"
    mke2fs -q -t ext4 -L root -d "$1/root" "$1/root.img" "$2"
    chmod 644 "$1/root.img"
    rm -rf "$1/root"
  ' make "$work" "$size" >&2 || fail "cannot make '$image': no file system, see above"
  rm -rf "$image.old" "$work/root.tar" "$work/first" "$work/last" "$work/sources.list"
  [ ! -e "$image" ] || mv "$image" "$image.old"  # machines that run keep the files of the old one open
  mv "$work" "$image"
  rm -rf "$image.old"
  trap - EXIT
fi
ln -sfn "$(basename "$image")" "$machines/default"
echo "$image"
