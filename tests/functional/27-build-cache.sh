#!/usr/bin/env bash
# The cache: what must hit, and what must miss.
# timeout: 180
source "$(dirname "$0")/common.sh"
source "$here/build_lib.sh"

base_context ctx
mkdir -p ctx/src/d; echo 1 >ctx/src/a; echo 2 >ctx/src/d/b; ln -s a ctx/src/l; echo other >ctx/other
dockerfile() {  # LINES...: on the small system
  { echo "$BASE"; printf '%s\n' "$@"; } >ctx/Dockerfile
}
cached() {  # EXPECTED [OPTION...]: how many of the steps after $BASE came from the cache
  local wanted=$1 base=3; shift
  build c ctx "$@"
  local got; got=$(sed -nE 's/^built .*\(([0-9]+) of .*/\1/p' c.log)
  equal "$((got - base))" "$wanted" "$(grep -vE '^    ' c.log)"
}
steps=('COPY src /src' 'RUN cat /src/a >/r' 'RUN echo second >/s')
dockerfile "${steps[@]}"
build first ctx
cached 3; equal "$(cat first.id)" "$(cat c.id)" 'the same again has the same digest'
touch -d 2001-01-01 ctx/src/a ctx/src/d; cached 3                       # times don't count
echo more >ctx/other; cached 3                                          # nor does what isn't copied
mv ctx/src/a ctx/src/z; ln -sf z ctx/src/l; expect 1 rayctl build ctx; mv ctx/src/z ctx/src/a; ln -sf a ctx/src/l; cached 3
echo changed >ctx/src/a; cached 0; cached 3                             # content
chmod 600 ctx/src/a; cached 0; chmod 644 ctx/src/a; cached 3            # a mode
mv ctx/src/d/b ctx/src/d/c; cached 0; cached 3     # a name
ln -sf d/c ctx/src/l; cached 0                                          # a symlink's target
touch ctx/src/new; cached 0
printf 'src/new\n' >ctx/.dockerignore; cached 3                         # ignored: as if it weren't there
rm ctx/.dockerignore ctx/src/new

# what RUN depends on, and what not
run=('RUN echo run >/run')
dockerfile 'ENV A=1' "${run[@]}"; build env ctx; cached 1
dockerfile 'ENV A=2' "${run[@]}"; cached 0
dockerfile 'ENV A=1' 'LABEL x=y' 'EXPOSE 80' 'HEALTHCHECK CMD x' "${run[@]}"; cached 1
equal "$(config c | jq -r '.config.Labels.x')" y
[ "$(cat c.id)" != "$(cat env.id)" ] || fail 'a label makes another image'
dockerfile 'ENV A=1' 'USER ray' "${run[@]/\/run/\/tmp-run}" ; expect 1 rayctl build ctx
dockerfile 'ENV A=1' 'WORKDIR /etc' "${run[@]}"; cached 0
dockerfile 'ENV A=1' 'SHELL ["/bin/busybox","sh","-c"]' "${run[@]}"; cached 0
dockerfile 'ENV A=1' 'RUN --network=none echo run >/run'; cached 0
dockerfile 'ENV A=1' 'ARG V=1' "${run[@]}"; cached 0; cached 1; cached 0 --build-arg V=2; cached 1 --build-arg V=2
cached 1 --build-arg HTTP_PROXY=http://127.0.0.1:1 --build-arg no_proxy=x  # proxies don't count
dockerfile 'RUN <<E' 'echo one >/h' 'E'; cached 0; cached 1
dockerfile 'RUN <<E' ' echo one >/h' 'E'; cached 0                      # a heredoc's body, blanks included
dockerfile 'COPY <<E /h' 'one' 'E'; cached 0; dockerfile 'COPY <<E /h' 'two' 'E'; cached 0
dockerfile 'COPY --chown=1 other /o'; cached 0; dockerfile 'COPY --chown=2 other /o'; cached 0
dockerfile 'COPY --chmod=600 other /o'; cached 0; dockerfile 'COPY --exclude=b src /o'; cached 0
dockerfile 'COPY src /o'; cached 0; cached -3 --no-cache

# a stage that changes without changing its result
dockerfile 'FROM busybox AS one' 'RUN echo fixed >/f && touch -t 200101010000.00 /f' 'FROM busybox' 'COPY --from=one /f /f' 'RUN cat /f'
build stages ctx
dockerfile 'FROM busybox AS one' 'RUN echo  fixed >/f && touch -t 200101010000.00 /f' 'FROM busybox' 'COPY --from=one /f /f' 'RUN cat /f'
cached 2

# the other compression is made from the layers at hand
dockerfile "${steps[@]}"; build z ctx; COMPRESSION=zstd cached 3; grep_none ' done in' c.log
equal "$(manifest c | jq -r '[.layers[].mediaType] | unique[]')" application/vnd.oci.image.layer.v1.tar+zstd
equal "$(config c | jq -c .rootfs)" "$(config z | jq -c .rootfs)"
# gone layers and blobs are misses, not errors
rm -rf "$RAYCTL_STATE_DIR"/layers/*; cached -3
