#!/usr/bin/env bash
# COPY and ADD: the same file tree as buildah makes of the same Dockerfile, and what only BuildKit's language has.
source "$(dirname "$0")/common.sh"
source "$here/build_lib.sh"
need_command buildah
unset DOCKER_CONFIG

mkdir -p ctx/tree/sub ctx/tree/empty ctx/other
base_context ctx
echo one >ctx/one.txt; echo two >ctx/two.txt; echo s >ctx/tree/sub/s
ln -s sub/s ctx/tree/link; ln -s one.txt ctx/alias; echo w >"ctx/two words"; mkfifo ctx/tree/pipe; chmod 700 ctx/other
tar -C ctx -czf ctx/archive.tgz --owner=7 --group=8 one.txt tree; tar -C ctx -cf - two.txt | zstd -q >ctx/archive.dat
printf 'secret*\n*.log\n!keep.log\n' >ctx/.dockerignore; touch ctx/secret.key ctx/x.log ctx/keep.log
cat >ctx/Dockerfile <<'END'
FROM scratch AS first
COPY busybox /bin/
COPY one.txt /a/b/renamed
COPY one.txt two.txt /dir/
COPY ["two words", "/with space/"]
COPY tree /tree
COPY alias /alias-is-a-file
COPY tree/s* /globbed/
COPY --chown=12:34 tree /owned/
COPY --chmod=0640 one.txt /mode/
COPY . /all
ADD archive.tgz /from-archive
ADD archive.dat /from-archive/
COPY archive.tgz /kept.tgz
WORKDIR /work/dir
COPY two.txt .
COPY one.txt /dir/two.txt
FROM scratch
COPY --from=first /tree /tree
COPY --from=0 /owned/sub/ /tree/sub/
END
build copy ctx
tree "$T/oci:copy" >ours
storage=(--root "$T/.storage" --runroot "$T/.runroot" --storage-driver vfs)
buildah "${storage[@]}" bud --isolation chroot --format oci -t peer ctx >peer.log 2>&1 || { cat peer.log; exit 1; }
buildah "${storage[@]}" push peer "oci:$T/peer:peer" >peer.log 2>&1 || { cat peer.log; exit 1; }
tree "$T/peer:peer" >theirs
diff theirs ours
build first ctx --target first
buildah "${storage[@]}" bud --isolation chroot --format oci --target first -t first ctx >peer.log 2>&1 || { cat peer.log; exit 1; }
buildah "${storage[@]}" push first "oci:$T/peer:first" >peer.log 2>&1 || { cat peer.log; exit 1; }
tree "$T/peer:first" >theirs; tree "$T/oci:first" >ours
diff theirs ours

# BuildKit's own: heredocs, --exclude, --parents, --link, symbolic modes; symlinks of the image are followed
cat >ctx/Dockerfile <<'END'
FROM scratch AS one
COPY <<one <<-"two" /h/
a ${x:-b}
one
	c $x
two
COPY --exclude=**/s --exclude=pipe tree /ex/
COPY --parents tree/./sub/s tree/link one.txt /p/
COPY --chmod=u=rwX,go= tree /sym/
ADD --unpack=false archive.tgz /plain/
WORKDIR /real
FROM one
COPY --link one.txt /l/deep/
COPY one.txt two.txt ./
END
build language ctx
tree "$T/oci:language" | grep -vE 'archive.tgz' >ours
diff - ours <<'END'
d 700 0:0 ./sym 
d 700 0:0 ./sym/empty 
d 700 0:0 ./sym/sub 
d 755 0:0 ./ex 
d 755 0:0 ./ex/empty 
d 755 0:0 ./ex/sub 
d 755 0:0 ./h 
d 755 0:0 ./l 
d 755 0:0 ./l/deep 
d 755 0:0 ./p 
d 755 0:0 ./p/sub 
d 755 0:0 ./p/tree 
d 755 0:0 ./plain 
d 755 0:0 ./real 
f 600 0:0 2 1 ./sym/sub/s
f 644 0:0 2 1 ./p/sub/s
f 644 0:0 2 1 ./p/tree/link
f 644 0:0 4 1 ./h/one
f 644 0:0 4 1 ./l/deep/one.txt
f 644 0:0 4 1 ./p/one.txt
f 644 0:0 4 1 ./real/one.txt
f 644 0:0 4 1 ./real/two.txt
f 644 0:0 5 1 ./h/two
l 777 0:0 ./ex/link sub/s
l 777 0:0 ./sym/link sub/s
p 600 0:0 ./sym/pipe 
END
equal "$(cat "$T/.bundle/rootfs/h/one" "$T/.bundle/rootfs/h/two")" "a b
c \$x"
