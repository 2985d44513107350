#!/usr/bin/env bash
# What a machine does with user-data: the boothook and the script that it leaves, run by Debian's shell in a root of its own.
# timeout: 300
source "$(dirname "$0")/common.sh"
need_root
need mount_namespaces disk_8g

root=$T/root
mkdir "$root"
tar -x -f "$(RAYCTL_ROOTFS_CACHE=${RAYCTL_ROOTFS_CACHE:-/var/cache/rayctl/rootfs} "$top/images/base/make-rootfs.sh")/rootfs.tar" -C "$root"
mkdir -p "$root/etc/systemd/system" "$root/dev"
mknod -m 666 "$root/dev/null" c 1 3
printf '#!/bin/sh\necho "$*" >>/systemctl.log\n' >"$root/usr/local/bin/systemctl"
chmod 755 "$root/usr/local/bin/systemctl"
inside() { chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

mkdir good bad
cp "$RAYCTL" good/rayctl
echo 'not rayctl' >bad/rayctl
good=$(free_port); background good python3 -m http.server -b 127.0.0.1 -d good "$good"
bad=$(free_port); background bad python3 -m http.server -b 127.0.0.1 -d bad "$bad"
wait_for 10 bash -c "exec 3<>/dev/tcp/127.0.0.1/$good"
wait_for 10 bash -c "exec 3<>/dev/tcp/127.0.0.1/$bad"
fetched() { grep -c 'GET /rayctl' "$T/good.log" || true; }

# --- a worker: the first URL gives something else, the second one the binary ---
umask 077
secret=$(printf 'A%.0s' {1..43})
echo "rctl1.$(printf 'A%.0s' {1..43}).worker.abcd1234.$secret" >token
key='ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0000000000000000000000000000000000000000000 me'
data() {
  rayctl user-data --role worker --join 10.0.0.1 --token-file token --ssh-key "$key" \
    --binary-url "http://127.0.0.1:$bad/rayctl" --binary-url "http://127.0.0.1:$good/rayctl" "$@"
}
data >user-data
equal "$(head -n 1 user-data)" '#cloud-boothook'
[ "$(stat -c %s user-data)" -lt 4096 ] || fail 'user-data is 4 KiB or more'
boot() { tail -n +2 user-data >"$root/boothook" && inside sh -e /boothook; }
boot
equal "$(stat -c %a "$root/etc/rayctl" "$root/etc/rayctl/node.json" "$root/etc/rayctl/token" | xargs)" '700 600 600'
equal "$(cat "$root/etc/rayctl/token")" "$(cat token)"
jq -e '.role == "worker" and .join == "10.0.0.1" and ."token-file" == "/etc/rayctl/token"' "$root/etc/rayctl/node.json" >/dev/null
equal "$(stat -c %a "$root"/etc/systemd/system/rayctl-{node,pods}.service | xargs)" '644 644'
equal "$(cat "$root/systemctl.log")" '--no-block enable --now rayctl-node.service'
inside sh /etc/rayctl/prepare
cmp "$RAYCTL" "$root/usr/local/bin/rayctl"
equal "$(fetched)" 1 'fetches'
grep_quiet '^rayctl:.*:ray$' "$root/etc/group"
equal "$(cat "$root/home/ray/.ssh/authorized_keys")" "$key"
equal "$(stat -c '%U %a' "$root/home/ray/.ssh/authorized_keys")" "$(stat -c %U "$root/home/ray") 600"

# --- each further boot changes nothing that is right, and mends what isn't ---
boot && inside sh /etc/rayctl/prepare
equal "$(fetched)" 1 'fetches at the second boot'
equal "$(wc -l <"$root/home/ray/.ssh/authorized_keys")" 1 'keys at the second boot'
truncate -s 1000 "$root/usr/local/bin/rayctl"
rm "$root/etc/systemd/system/rayctl-node.service"
boot && inside sh /etc/rayctl/prepare
cmp "$RAYCTL" "$root/usr/local/bin/rayctl"
[ -s "$root/etc/systemd/system/rayctl-node.service" ]
mkdir -p "$root/var/lib/rayctl/cluster" && touch "$root/var/lib/rayctl/cluster/node.crt"  # it has joined: the token has done its duty
rm "$root/etc/rayctl/token"
boot
[ ! -e "$root/etc/rayctl/token" ] || fail 'the token of a member was written again'

# --- the user's own link leads root nowhere ---
rm -rf "$root/home/ray/.ssh" && ln -s /root "$root/home/ray/.ssh"
inside sh /etc/rayctl/prepare 2>/dev/null
[ ! -e "$root/root/authorized_keys" ] || fail "root wrote through the user's link"

# --- other forms, and what can't be ---
data --format cloud-config >cloud-config && equal "$(head -n 1 cloud-config)" '#cloud-config'
data --format ignition >ignition
jq -e '.ignition.version and (.systemd.units | length) == 2' ignition >/dev/null
python3 "$here/ignition.py" <ignition >files
for file in '600 /etc/rayctl/node.json' '600 /etc/rayctl/token'; do grep_quiet "^$file [1-9]" files; done
for wrong in '.storage.files[0].mode = "0600"' '.storage.files[0].content = {}' '.storage.files += [.storage.files[0]]' \
  '.ignition.version = "3.5.0"' '.systemd.units[0].name = "x"' '.storage.files[0].path = "etc/x"'; do
  ! jq "$wrong" ignition | python3 "$here/ignition.py" >/dev/null 2>&1 || fail "the check lets pass: $wrong"
done

# --- Ignition itself, as Flatcar and Fedora CoreOS run it in their initrd, on a root without ours ---
need_command ignition-validate
ignition-validate ignition
inside groupdel rayctl
rm -r "$root/etc/rayctl" "$root"/etc/systemd/system/rayctl-* "$root/var/lib/rayctl"
# Debian's build labels what it wrote for SELinux, which isn't here.
mkdir -p "$root/run/ignition" "$root/etc/selinux/none/contexts/files"
echo SELINUXTYPE=none >"$root/etc/selinux/config"
: >"$root/etc/selinux/none/contexts/files/file_contexts"
printf '#!/bin/sh\ncat >/dev/null\n' >"$root/usr/local/sbin/setfiles"
chmod 755 "$root/usr/local/sbin/setfiles"
cp /usr/lib/dracut/modules.d/30ignition/ignition "$root/run/ignition/program"
cp ignition "$root/run/ignition/config"
apply() {  # with a /proc and a /dev, as in an initrd
  unshare --mount --pid --fork sh -euc 'mount -t proc proc "$1/proc"; mount --bind /dev "$1/dev"; cd "$1"
    for stage in fetch disks mount files; do
      IGNITION_CONFIG_FILE=/run/ignition/config chroot . /run/ignition/program --platform=file --stage=$stage --log-to-stdout \
        --config-cache=/run/ignition/cache --state-file=/run/ignition/state
    done' apply "$root" >applied || { tail -n 5 applied >&2; fail 'Ignition refuses it'; }
}
apply
equal "$(cd "$root/etc" && stat -c '%a %n' rayctl/* systemd/system/rayctl-* | xargs)" \
  '600 rayctl/node.json 700 rayctl/prepare 600 rayctl/token 644 systemd/system/rayctl-node.service 644 systemd/system/rayctl-pods.service'
equal "$(cat "$root/etc/rayctl/token")" "$(cat token)"
equal "$(cat "$root"/etc/systemd/system-preset/*-ignition.preset)" 'enable rayctl-node.service'
grep_quiet '^rayctl:.*:core$' "$root/etc/group"
equal "$(cat "$root/home/core/.ssh/authorized_keys.d/ignition")" "$key"
inside sh /etc/rayctl/prepare && cmp "$RAYCTL" "$root/opt/bin/rayctl"
jq '.storage.files[0].mode = "0600"' ignition >"$root/run/ignition/config"
! (apply) 2>/dev/null || fail 'Ignition takes anything'

data --output file && cmp file user-data && equal "$(stat -c %a file)" 600
expect 2 rayctl user-data --role worker --join 10.0.0.1
grep_quiet 'rayctl: --token-file: missing: a worker joins with a token' err
expect 2 rayctl user-data --role head --image ray
grep_quiet 'rayctl: --binary-url: missing: say where the machine fetches rayctl$' err
