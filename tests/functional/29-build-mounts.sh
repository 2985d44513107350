#!/usr/bin/env bash
# RUN --mount: bind, cache, tmpfs, secret; none of them leaves a trace in the layer.
# timeout: 180
source "$(dirname "$0")/common.sh"
source "$here/build_lib.sh"

base_context ctx
mkdir -p ctx/src/sub; echo from-context >ctx/src/f; echo ignored >ctx/src/no; echo src/no >ctx/.dockerignore
echo s3cret >token
{
  echo "$BASE"
  cat <<'END'
FROM busybox AS made
RUN mkdir /out && echo wheel >/out/a.whl
FROM busybox
ENV SRC=src CACHE=/home/ray/.cache/uv
USER ray
RUN --mount=type=bind,source=$SRC,target=/mnt/src \
    --mount=type=bind,from=made,source=/out,target=/wheels,rw \
    --mount=type=cache,target=$CACHE,uid=1000,gid=100 \
    --mount=type=tmpfs,target=/scratch,size=1m \
    --mount=type=secret,id=token,uid=1000 \
    --mount=type=secret,id=token,env=TOKEN,required \
    <<EOF
#!/bin/sh
set -e
cat /mnt/src/f; ls /mnt/src /wheels; echo x >/scratch/x
touch /mnt/src/x 2>&1 | sed 's/.*: //'
echo "secret $(cat /run/secrets/token) $TOKEN"; ls -l /run/secrets/token | cut -c1-10
echo run >>$CACHE/count; echo "count $(wc -l <$CACHE/count)"
dd if=/dev/zero of=/scratch/z bs=64k count=32 2>&1 | grep -o 'No space left.*' | head -n 1
EOF
USER root
RUN --mount=from=made,source=/out,target=/wheels,rw echo x >/wheels/b && ls /wheels
END
} >ctx/Dockerfile
build mounts ctx --secret id=token,src=token
for line in from-context a.whl 'Read-only file system' 'secret s3cret s3cret' '-r--------' 'count 1' 'No space left on device' b; do
  grep_quiet "^    $line$" mounts.log
done
grep_none '^    no$' mounts.log  # what the ignore file leaves out isn't bound either
equal "$(manifest mounts | jq '.layers | length')" 3 'no stub, no byte of a mount is in a layer'
config mounts >config.json; grep_none s3cret config.json
TOKEN=$(cat token) build mounts ctx --secret id=token,env=TOKEN; grep_none '^    ' mounts.log  # cached: contents don't count

# what binds hold does count
echo changed >ctx/src/f; build mounts ctx --secret id=token,src=token; grep_quiet '^    changed$' mounts.log; grep_quiet '^    count 2$' mounts.log
echo changed >ctx/src/no; build mounts ctx --secret id=token,src=token; grep_none '^    ' mounts.log
sed -i 's/echo wheel/echo other/' ctx/Dockerfile; build mounts ctx --secret id=token,src=token; grep_quiet '^    count 3$' mounts.log

# a locked cache serializes
line() { { echo "$BASE"; printf '%s\n' "$@"; } >ctx/Dockerfile; }
line 'ARG N' 'RUN --mount=type=cache,id=l,target=/c,sharing=locked ! [ -e /c/busy ] && touch /c/busy && sleep 0.5 && rm /c/busy && echo $N >/n'
build warm ctx --build-arg N=0
build a ctx --build-arg N=1 & first=$!
build b ctx --build-arg N=2 & second=$!
wait $first; wait $second

line 'RUN --mount=type=secret,id=gone,required x'
fails "ctx/Dockerfile:12: RUN --mount=type=secret,id=gone,required x: --mount=type=secret: there is no secret 'gone' (give it with --secret id=gone,src=FILE)" ctx
line 'RUN --mount=type=secret,id=gone test ! -e /run/secrets/gone'; build optional ctx
line 'RUN --mount=type=bind,source=none,target=/x y'
fails "ctx/Dockerfile:12: RUN --mount=type=bind,source=none,target=/x y: cannot copy 'none': it is not in the build context 'ctx'" ctx
line 'RUN --mount=type=bind,target=/ y'; fails "ctx/Dockerfile:12: RUN --mount: the target can't be '/'" ctx
line 'RUN --mount=type=cache,target=/x,mode=99 y'
fails "ctx/Dockerfile:12: RUN --mount=type=cache,target=/x,mode=99 y: --mount: mode=99 is no mode up to 7777" ctx

# hostile: the source of a bind is resolved in its root (CVE-2024-1753), and out of the context is an error
line 'FROM busybox AS evil' 'RUN ln -s / /root-link && ln -s ../../../.. /up' 'FROM busybox' \
  'RUN --mount=type=bind,from=evil,source=/root-link/etc,target=/m ls /m' 'RUN --mount=type=bind,from=evil,source=/up/etc,target=/m ls /m'
build evil ctx; equal "$(grep -c '^    passwd$' evil.log)" 2; grep_none shadow evil.log
ln -s / ctx/outside; line 'RUN --mount=type=bind,source=outside,target=/m ls /m'
fails "ctx/Dockerfile:12: RUN --mount=type=bind,source=outside,target=/m ls /m: cannot copy 'outside' from the build context 'ctx': the link '/outside' -> '/' leads out of it" ctx
rm ctx/outside
line 'RUN --mount=type=cache,id=../../../../etc,target=/m ls /m; touch /m/in-cache'; build id ctx; [ ! -e /etc/in-cache ]
