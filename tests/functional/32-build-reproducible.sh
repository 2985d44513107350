#!/usr/bin/env bash
# SOURCE_DATE_EPOCH: two machines, two times, other thread counts, the same digests. And builds side by side, and Ctrl-C.
# timeout: 180
source "$(dirname "$0")/common.sh"
source "$here/build_lib.sh"

base_context ctx; mkdir ctx/d; echo a >ctx/d/a; echo '# x' >ctx/d/b; head -c 20M /dev/urandom >ctx/big
{ echo "$BASE"; cat <<'END'
ARG SOURCE_DATE_EPOCH
WORKDIR /work
COPY d big ./d/
COPY <<E /made
E
RUN echo $SOURCE_DATE_EPOCH >/epoch; mkdir -p /z/y; cp -r /work/d /z; date >/dev/null; rm -r /work/d/big; ln /epoch /z/link
LABEL a=b
END
} >ctx/Dockerfile
machine() {  # NAME WORDS...: builds with a state directory and a context of its own
  cp -r ctx "ctx-$1"; find "ctx-$1" -exec touch {} +
  (cd "$T" && RAYCTL_STATE_DIR=$T/state-$1 RAYCTL_RUN_DIR=$T/run-$1 SOURCE_DATE_EPOCH=1700000000 "${@:2}" "$RAYCTL" build -t r \
    -o "oci-archive:$T/$1.tar" "ctx-$1" 2>"$1.log") || { cat "$1.log" >&2; return 1; }
}
one=$(machine one env); sleep 1.1
two=$(machine two taskset 1)
equal "$one" "$two" 'two machines'
cmp one.tar two.tar
mkdir a; tar -C a -xf one.tar
jq -r '.manifests[0].digest' a/index.json | grep_quiet "$one" /dev/stdin
config=a/blobs/$(jq -r .config.digest "a/blobs/${one/://}" | tr : /)
equal "$(jq -r '[.created, .history[].created] | unique[]' "$config")" 2023-11-14T22:13:20Z
for digest in $(jq -r '.layers[].digest' "a/blobs/${one/://}"); do
  zstd -dcq "a/blobs/${digest/://}" | tar -tvf - --full-time | awk '{ print $4 " " $5 }' | sort -u >times
  while read -r day time; do [[ "$day $time" < '2023-11-14 22:13:21' ]] || fail "$day $time is later than SOURCE_DATE_EPOCH"; done <times
done

# many at once on one state directory: each ends well, with the same result
base_context many; { echo "$BASE"; echo 'RUN echo same >/f && touch -t 200101010000.00 /f / '; echo 'COPY busybox /c'; } >many/Dockerfile
pids=()
for i in 1 2 3 4; do SOURCE_DATE_EPOCH=1700000000 rayctl build -t "m$i" many >"m$i.id" 2>"m$i.log" & pids+=($!); done
for p in "${pids[@]}"; do wait "$p" || { cat m*.log; fail 'a build among others failed'; }; done
equal "$(sort -u m?.id | wc -l)" 1
equal "$(find "$RAYCTL_STATE_DIR/layers" -maxdepth 1 -name 'new-*' | wc -l)" 0

# Ctrl-C: exit code 130, soon, nothing committed, no process left
{ echo "$BASE"; echo 'RUN echo started; echo half >/half; sleep 321'; } >many/Dockerfile
env --default-signal=INT "$RAYCTL" build -t interrupted many >i.id 2>i.log & build=$!
wait_for 20 grep -q '^    started' i.log
kill -INT "$build"; code=0; wait "$build" || code=$?
equal "$code" 130; grep_quiet '^rayctl: interrupted$' i.log; equal "$(cat i.id)" ''
expect 1 rayctl inspect interrupted
! pgrep -f 'sleep 321' >/dev/null || fail 'the step still runs'
equal "$(find "$RAYCTL_STATE_DIR/layers" -maxdepth 1 -name 'new-*' | wc -l)" 0
sed -i 's/sleep 321/true/' many/Dockerfile; rayctl build -t after many >/dev/null 2>after.log
# a killed build leaves a draft that the next removal of images sweeps, and no lock
sed -i 's/true$/sleep 322/' many/Dockerfile; "$RAYCTL" build -t killed many >/dev/null 2>k.log & build=$!
wait_for 20 grep -q '^    started' k.log; kill -KILL "$build"; wait "$build" 2>/dev/null || true
wait_for 10 bash -c '! pgrep -f "[s]leep 322"'
rayctl build -t after2 ctx-one >/dev/null 2>&1
rayctl rmi after >/dev/null; equal "$(find "$RAYCTL_STATE_DIR/layers" -maxdepth 1 -name 'new-*' | wc -l)" 0

# rmi of another image keeps the cache of what is named
rayctl build -t after2 ctx-one 2>again.log >/dev/null; grep_none 'done in' again.log
