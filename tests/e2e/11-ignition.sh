#!/usr/bin/env bash
# One machine from an Ignition configuration: Ignition itself applies it in the initrd, at the first boot, as on Flatcar and
# Fedora CoreOS; Debian's systemd starts what it wrote. cloud-init, with no user-data of ours, gives the machine its network.
# timeout: 900
source "$(dirname "$0")/lib.sh"
ignition=/usr/lib/dracut/modules.d/30ignition/ignition
need_command cpio zstd "$ignition" ignition-validate
start_host
build_stand_in
base=$(vm prepare)
stage 'machine image (where there is none yet)'
printf '{"insecure-registry": ["%s"]}\n' "$REGISTRY" >config.json
rayctl user-data --format ignition --role head --image "$IMAGE" --overlay vxlan --config config.json \
  --ssh-key "$(cat "$VM_STATE/key.pub")" --binary-url "$BINARY_URL" --sha256 "$BINARY_SHA256" >config.ign
ignition-validate config.ign

# --- an initrd that applies it once the root file system is there; what is read last counts ---
mkdir -p initrd/ignition initrd/scripts/local-bottom
cp "$ignition" config.ign initrd/ignition/
echo '/scripts/local-bottom/ignition "$@"' >initrd/scripts/local-bottom/ORDER
cat >initrd/scripts/local-bottom/ignition <<'END'
#!/bin/sh
[ "$1" != prereqs ] || exit 0
[ ! -e "$rootmnt/etc/ignition-done" ] || exit 0
for directory in dev proc sys; do mount -o bind /$directory "$rootmnt/$directory"; done
mkdir -p "$rootmnt/run/ignition"
cp /ignition/* "$rootmnt/run/ignition/"
# Debian's build of Ignition labels what it wrote for SELinux, which isn't here; its sshd must be told of Ignition's keys.
mkdir -p "$rootmnt/etc/selinux/none/contexts/files"
echo SELINUXTYPE=none >"$rootmnt/etc/selinux/config"
: >"$rootmnt/etc/selinux/none/contexts/files/file_contexts"
printf '#!/bin/sh\ncat >/dev/null\n' >"$rootmnt/usr/local/sbin/setfiles"
chmod 755 "$rootmnt/usr/local/sbin/setfiles"
echo 'AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys.d/ignition' >"$rootmnt/etc/ssh/sshd_config.d/ignition.conf"
for stage in fetch disks mount files; do
  chroot "$rootmnt" /usr/bin/env PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin IGNITION_CONFIG_FILE=/run/ignition/config.ign /run/ignition/ignition --root=/ --platform=file \
    --stage=$stage --log-to-stdout --config-cache=/run/ignition/cache --state-file=/run/ignition/state || { echo "Ignition: $stage failed" >/dev/console; poweroff -f; }
done
for directory in dev proc sys; do umount "$rootmnt/$directory"; done
rm -r "$rootmnt/etc/selinux" "$rootmnt/usr/local/sbin/setfiles"
touch "$rootmnt/etc/ignition-done"
echo uninitialized >"$rootmnt/etc/machine-id"  # a first boot: systemd takes the units' presets
ln -s /dev/null "$rootmnt/etc/systemd/system/systemd-firstboot.service"  # and asks nobody for anything
END
chmod 755 initrd/scripts/local-bottom/ignition initrd/ignition/ignition
mkdir image
ln -s "$base/vmlinuz" "$base/root.img" image/
{ cat "$base/initrd.img"; (cd initrd && find . | cpio -o -H newc --quiet | zstd -q); } >image/initrd.img

# --- it boots ---
printf '#cloud-config\nusers: []\n' >none.user-data
export VM_USER=core VM_IMAGE=$T/image VM_USER_DATA=$T/none.user-data
vm start head
stage 'boot until one can log in'
on() { vm ssh -n head "$@"; }
healthy() { on /opt/bin/rayctl ps | grep -q '(healthy)'; }
wait_for 300 healthy
stage 'then until the container is healthy'
on /opt/bin/rayctl status >status
grep_quiet '^ray-ms-0 +head +joined +healthy' status
equal "$(on id -Gn)" 'core rayctl'
on 'systemctl is-enabled rayctl-node; systemctl is-active rayctl-node rayctl-pods; stat -c "%a %U %n" /etc/rayctl/*' >state
printf '%s\n' enabled active active '600 root /etc/rayctl/node.json' '700 root /etc/rayctl/prepare' >wanted
grep -vE 'binary' state | diff wanted -
show_stages
