#!/usr/bin/env bash
# A Dockerfile, a context or a base image that wants out: nothing outside the image and the context is read or written.
# timeout: 180
source "$(dirname "$0")/common.sh"
source "$here/build_lib.sh"

base_context ctx
mkdir victim && echo secret >victim/secret && chmod 700 victim
victim_state() { find victim -printf '%p %m %U:%G %s %T@\n' | sort; }
victim_state >before
line() { { echo "$BASE"; printf '%s\n' "$@"; } >ctx/Dockerfile; }
in="the build context 'ctx'"

# COPY and ADD out of the context, by name, by symlink, by a pattern, in the middle of a path
ln -s ../victim/secret ctx/up; ln -s "$T/victim" ctx/abs; mkdir ctx/d; ln -s ../../victim ctx/d/dir; ln -s /proc/self/root ctx/proc
line 'COPY ../victim /x'; fails "ctx/Dockerfile:12: COPY ../victim /x: cannot copy '../victim': it leads out of $in" ctx
line 'COPY a/../../victim /x'; fails "ctx/Dockerfile:12: COPY a/../../victim /x: cannot copy 'a/../../victim': it leads out of $in" ctx
line 'COPY up /x'; fails "ctx/Dockerfile:12: COPY up /x: cannot copy 'up' from $in: the link '/up' -> '../victim/secret' leads out of it" ctx
line 'ADD abs/secret /x'; fails "ctx/Dockerfile:12: ADD abs/secret /x: cannot copy 'abs/secret' from $in: the link '/abs' -> '$T/victim' leads out of it" ctx
line 'COPY d/dir/sec* /x'; fails "ctx/Dockerfile:12: COPY d/dir/sec* /x: cannot copy 'd/dir' from $in: the link '/d/dir' -> '../../victim' leads out of it" ctx
line 'COPY proc/etc/passwd /x'; fails "ctx/Dockerfile:12: COPY proc/etc/passwd /x: cannot copy 'proc/etc/passwd' from $in: the link '/proc' -> '/proc/self/root' leads out of it" ctx
line 'COPY d /x'; build inside ctx; equal "$(layer inside -1 | grep dir)" 'lrwxrwxrwx 0/0 x/dir -> ../../victim' # within a tree it's only a link
rm ctx/up ctx/abs ctx/proc ctx/d/dir

# a base whose directories are links to the host: destinations resolve within the image
line "RUN ln -s $T/victim /out && ln -s ../../../../../../../..$T/victim /up && ln -s /out/../etc /odd" \
  'WORKDIR /out/made' 'COPY busybox /up/copied' 'WORKDIR /out' 'COPY --chown=ray busybox ./rel' 'ADD a.tar /up/tar' 'RUN touch here'
tar -cf ctx/a.tar -C ctx Dockerfile
build links ctx
tree "$T/oci:links" >files; grep_quiet "\\.$T/victim/made" files; grep_quiet "\\.$T/victim/rel" files; grep_quiet "\\.$T/victim/tar/Dockerfile" files
victim_state | diff before -

# an archive that climbs out, by name, by link, by hard link (Zip-Slip, CVE-2021-29136 and its kin)
python3 - <<'END'
import io, tarfile
def make(name, *members):
    with tarfile.open(f'ctx/{name}', 'w') as tar:
        for path, kind, extra in members:
            m = tarfile.TarInfo(path); m.type = kind
            if kind == tarfile.REGTYPE: m.size = len(extra); tar.addfile(m, io.BytesIO(extra))
            else: m.linkname = extra; tar.addfile(m)
F, L, H, D = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
import os
victim = os.path.abspath('victim')
make('name.tar', ('../../victim/x', F, b'x'))
make('link.tar', ('l', L, victim), ('l/x', F, b'x'), ('l/secret', F, b'overwritten'), ('root', L, '/'), ('root/in-root', F, b'x'))
make('hard.tar', ('h', H, '../../victim/secret'))
make('hard2.tar', ('l', L, victim), ('h', H, 'l/secret'))
make('whiteout.tar', ('.wh.etc', F, b''))
make('replace.tar', ('etc', L, victim), ('etc/passwd', F, b'x'))
END
line 'ADD name.tar /t/'; fails "ctx/Dockerfile:12: ADD name.tar /t/: cannot extract 'name.tar': its member '../../victim/x' leads out of the archive" ctx
line 'ADD hard.tar /t/'; fails "ctx/Dockerfile:12: ADD hard.tar /t/: cannot extract 'hard.tar': its member '../../victim/secret' leads out of the archive" ctx
line 'ADD hard2.tar /t/'; fails "ctx/Dockerfile:12: ADD hard2.tar /t/: cannot link '/t/h' to '$T/victim/secret': there is no such file" ctx
line 'ADD whiteout.tar /'; fails "ctx/Dockerfile:12: ADD whiteout.tar /: cannot pack '/.wh.etc': names that begin with .wh. mark deletions in a layer" ctx
line 'ADD link.tar /t/' 'RUN cat /in-root && cat /t/l/x'; build archive ctx; tree "$T/oci:archive" | grep_quiet "\\.$T/victim/secret" /dev/stdin
line 'ADD replace.tar /' 'RUN cat /etc/hosts >/dev/null && echo ok'; build replace ctx; grep_quiet '^    ok$' replace.log
victim_state | diff before -

# a step that wants out of its container, or to leave traps in its layer for the next one
line 'WORKDIR /x' "RUN rmdir /x && ln -s /proc/self/fd /x" 'RUN ls'; expect 1 rayctl build ctx
line 'RUN ln -s /proc/self/fd/7 /fd7' 'WORKDIR /fd7/x'; expect 1 rayctl build ctx; grep_quiet "it lies in /proc" "$T/err"
for n in 3 4 5 6 7 8 9; do
  line "RUN cat /proc/self/fd/$n/../../etc/shadow >/stolen 2>/dev/null || ls /proc/self/fd/$n/.. 2>/dev/null || exit 3"; expect 1 rayctl build ctx
done
line 'RUN mkdir -p /a && mknod /a/dev c 0 0 2>/dev/null; mknod /null c 1 3 && mknod /disk b 8 0 && echo devices made; cat /disk 2>&1 | head -c 20'; build devices ctx
grep_none 'sda|ext4' devices.log
line 'RUN ls /proc/1/root/victim; cat /proc/sys/kernel/core_pattern >/dev/null; echo x >/proc/sys/kernel/core_pattern || echo no; mount -t tmpfs none /mnt || echo no; echo b >/proc/sysrq-trigger || echo no'
build caged ctx; equal "$(grep -c '^    no$' caged.log)" 3
victim_state | diff before -

# /etc/passwd of the image as a link to the host's, or huge: the builder's own reading stays inside (CVE-2024-9676)
line "RUN rm /etc/passwd && ln -s $T/victim/secret /etc/passwd" 'COPY --chown=secret busybox /y'
fails "ctx/Dockerfile:13: COPY --chown=secret busybox /y: the image has no user 'secret' in /etc/passwd" ctx
line 'RUN rm /etc/passwd && mkfifo /etc/passwd' 'COPY --chown=ray busybox /y'; expect 1 timeout 20 "$RAYCTL" build ctx
line 'RUN dd if=/dev/zero of=/etc/passwd bs=1M count=8 2>/dev/null' 'COPY --chown=ray busybox /y'; expect 1 rayctl build ctx
grep_quiet "cannot read '/etc/passwd': it is larger than" "$T/err"

# a pulled image is never a cache candidate, whatever history it brings (CVE-2024-24557)
line 'RUN echo honest >/who'; build honest ctx
rm -rf other && RAYCTL_STATE_DIR=$T/other rayctl build -t honest -o "oci:$T/poison:p" ctx >/dev/null 2>&1
sed -i 's/honest/honest /' ctx/Dockerfile; build again ctx; grep_quiet 'RUN echo honest.*' again.log; grep_quiet 'done in' again.log

# metadata addresses are out of a step's reach, and names resolve by our own resolver
line 'RUN cat /etc/resolv.conf; for a in 169.254.169.254 169.254.170.2; do nc -w 1 $a 80 </dev/null && echo reached $a; done; true'; build metadata ctx
grep_quiet '^    nameserver 127.0.0.11$' metadata.log; grep_none '^    reached' metadata.log
line 'RUN --network=none ls /sys/class/net'; build alone ctx; equal "$(grep '^    ' alone.log | tr -d ' ' | tr '\n' ' ')" 'lo '
# a step's own host name has an address in every kind of network, and its colours don't reach a pipe
for network in none host default; do
  line "RUN --network=$network grep -c \"[[:space:]]\$(hostname)\\\$\" /etc/hosts; printf '\\033[1;31mred\\033[0m\\r\\nbar 1\\rbar 2\\n'"; build named ctx
  equal "$(grep '^    ' named.log | tr -d ' ' | tr '\n' ' ')" '1 red bar2 ' "$network"
done
