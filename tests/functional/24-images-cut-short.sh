#!/usr/bin/env bash
# pull and push when the disk is full or Ctrl-C comes: what is finished stays, what isn't is never seen as an image, and
# the next try goes on from there.
# timeout: 180
source "$(dirname "$0")/common.sh"
need_root
need overlayfs
need_command docker-registry jq
export RAYCTL_RETRY_MS=10
mkdir -p registry-disk context
mount -t tmpfs -o size=60m tmpfs registry-disk && on_exit "umount -l '$T/registry-disk'"
mkdir .registry && mkdir registry-disk/store && ln -s ../registry-disk/store .registry/store
start_registry --plain --open
head -c 12000000 /dev/urandom >context/random
head -c 60000000 /dev/zero >context/zeros
printf '%s\n' 'FROM scratch' 'COPY random /' 'COPY zeros /' >context/Dockerfile
rayctl build -t "$REGISTRY/x:1" --compression gzip context >id 2>log
slow() { tc qdisc replace dev lo root tbf rate 24mbit burst 64kb latency 400ms; }
fast() { tc qdisc del dev lo root; }
kept() { find "$1" -type f -size +200k 2>/dev/null | grep -q .; }
# interrupt COMMAND...: SIGINT once a part of the transfer is there, as `seen` says; it must end with 130, soon
interrupt() {
  local code=0 pid
  env --default-signal=INT "$@" >out 2>err & pid=$!
  wait_for 20 seen
  kill -INT "$pid"; SECONDS=0; wait "$pid" || code=$?
  equal "$code" 130 "$*"; grep_quiet '^rayctl: interrupted$' err
  [ "$SECONDS" -lt 5 ] || fail "it took $SECONDS s to end"
}

# --- push ---
slow
seen() { kept registry-disk/store; }
interrupt "$RAYCTL" push "$REGISTRY/x:1"
fast
equal "$(rayctl images -q | wc -l)" 1
expect 1 rayctl inspect "docker://$REGISTRY/x:1"  # no half of it has a name there
expect 0 rayctl push "$REGISTRY/x:1"
head -c 70000000 /dev/urandom >context/random
rayctl build -t "$REGISTRY/big:1" --compression gzip context >big-id 2>log
expect 1 rayctl push "$REGISTRY/big:1"
grep_quiet "^rayctl: pushing $REGISTRY/big:1: cannot push to '$REGISTRY/big': " err  # the registry says no more than 500
equal "$(rayctl images -q | wc -l)" 2
mount -o remount,size=200m registry-disk
expect 0 rayctl push "$REGISTRY/big:1"

# --- pull ---
export RAYCTL_STATE_DIR=$T/disk
mkdir disk
mount -t tmpfs -o size=150m tmpfs disk && on_exit "umount -l '$T/disk'"
nothing() {
  equal "$(rayctl images -q)" '' images
  equal "$(find disk/layers -mindepth 1 -maxdepth 1 -name 'new-*' | wc -l)" 0 drafts
}
slow
seen() { kept disk/store/partial; }
interrupt "$RAYCTL" pull "$REGISTRY/x:1"
fast
nothing
kept disk/store/partial || fail 'the part that was there is gone'
mount -o remount,size=40m disk
expect 1 rayctl pull "$REGISTRY/x:1"  # 12 MB and 60 MB of zeros that arrive as a few kB: found out while unpacking
grep_quiet '^rayctl: .*No space left on device' err
nothing
grep_quiet 'msg="response completed".*http.response.status=206|http.request.method=GET.*206' registry.log
expect 1 rayctl pull "$REGISTRY/big:1"
grep_quiet "^rayctl: .*cannot pull into '$T/disk/store': about [0-9]+ MB are needed and [0-9.]+ MB are free" err
nothing
mount -o remount,size=150m disk
expect 0 rayctl pull "$REGISTRY/x:1"
equal "$(rayctl images -q | wc -l)" 1
equal "$(cat disk/layers/*/fs/zeros | wc -c)" 60000000
