#!/usr/bin/env bash
# Bad input: each has its own exact message, exit code 1 (2 for a wrong line), and nothing is committed.
source "$(dirname "$0")/common.sh"
source "$here/build_lib.sh"

base_context ctx
echo a >ctx/a; echo hidden >ctx/hidden; mkdir ctx/dir
of() { printf '%s\n' "$@" >ctx/Dockerfile; }  # LINE...: after FROM scratch it is line 2
line() { of 'FROM scratch' "$@"; }
in="the build context 'ctx'"

fails "cannot read the build context 'none': No such file or directory" none
fails "cannot read the build context 'ctx/a': it is not a directory" ctx/a
fails "cannot build 'ctx': it has no Dockerfile (name one with -f)" ctx
fails "cannot open 'nowhere': No such file or directory" ctx -f nowhere
of '# nothing'; fails "cannot build from 'ctx/Dockerfile': it has no instructions" ctx
line 'COPPY a b'; fails "ctx/Dockerfile:2: unknown instruction 'COPPY' (did you mean COPY?)" ctx
line 'COPY missing /x'; fails "ctx/Dockerfile:2: COPY missing /x: cannot copy 'missing': it is not in $in" ctx
line 'COPY *.none /x'; fails "ctx/Dockerfile:2: COPY *.none /x: cannot copy '*.none': nothing in $in fits the pattern" ctx
echo hidden >ctx/.dockerignore
line 'COPY hidden /x'; fails "ctx/Dockerfile:2: COPY hidden /x: cannot copy 'hidden': it is not in $in (the ignore file leaves it out)" ctx
echo '[' >ctx/.dockerignore; fails "ctx/.dockerignore:1: bad pattern '[': a '[' isn't closed" ctx; rm ctx/.dockerignore
line 'COPY a dir /x'; fails "ctx/Dockerfile:2: COPY a dir /x: cannot copy 2 sources to '/x': end the destination with '/' to make it a directory" ctx
line 'COPY a /x' 'COPY dir /x'; fails "ctx/Dockerfile:3: COPY dir /x: cannot copy to '/x': it is a file, not a directory" ctx
line 'COPY a /x' 'COPY a /x/'; fails "ctx/Dockerfile:3: COPY a /x/: cannot copy to '/x/': it is a file, not a directory" ctx
line 'COPY a /x' 'COPY a /x/y'; fails "ctx/Dockerfile:3: COPY a /x/y: cannot make directory '/x': a file is in its place" ctx
line 'COPY --chown=ray a /x'; fails "ctx/Dockerfile:2: COPY --chown=ray a /x: the image has no user 'ray' in /etc/passwd" ctx
line 'COPY --chmod=789 a /x'; fails "ctx/Dockerfile:2: COPY --chmod=789 a /x: '789' is no mode: write octal digits up to 7777, or symbols such as u=rwX,go=rX" ctx
line 'COPY --from=nothing /a /x'; expect 1 rayctl build ctx; grep_quiet "^rayctl: ctx/Dockerfile:2: .*nothing" "$T/err"
line 'COPY a /x' 'WORKDIR /x'; fails "ctx/Dockerfile:3: WORKDIR /x: cannot use '/x' as the working directory: it is a file" ctx
line 'WORKDIR /proc/self/fd/7'; fails "ctx/Dockerfile:2: WORKDIR /proc/self/fd/7: cannot use '/proc/self/fd/7' as the working directory: it lies in /proc, which the kernel fills" ctx
xz -c ctx/a >ctx/a.xz; line 'ADD a.xz /x'
fails "ctx/Dockerfile:2: ADD a.xz /x: cannot extract 'a.xz': it is compressed with xz; gzip, zstd and plain tar are read (use COPY, or ADD --unpack=false, to add it as a file)" ctx
of 'FROM nowhere:1'; expect 1 rayctl build ctx; grep_quiet '^rayctl: ctx/Dockerfile:1: .*nowhere' "$T/err"

# what this version doesn't do is refused by name, also in stages' triggers; but not where it isn't reached
line 'RUN --mount=type=ssh x'; fails "ctx/Dockerfile:2: RUN --mount=type=ssh is not supported by this version of rayctl (copy a key by --mount=type=secret)" ctx
line 'RUN --security=insecure x'; fails "ctx/Dockerfile:2: RUN --security=insecure is not supported by this version of rayctl (build steps have docker's capabilities)" ctx
line 'RUN --device=gpu x'; fails "ctx/Dockerfile:2: RUN --device=gpu is not supported by this version of rayctl (build steps see no devices of the host)" ctx
line 'ADD https://127.0.0.1/x /x'; fails "ctx/Dockerfile:2: ADD of 'https://127.0.0.1/x' is not supported by this version of rayctl (download it in a RUN, or beforehand)" ctx
line 'ADD --checksum=sha256:00 a /x'; fails "ctx/Dockerfile:2: ADD --checksum is not supported by this version of rayctl (download and check the file in a RUN)" ctx
line 'ONBUILD RUN --security=insecure x'; fails "ctx/Dockerfile:2: RUN --security=insecure is not supported by this version of rayctl (build steps have docker's capabilities)" ctx
of 'FROM scratch' 'RUN --device=gpu x' 'FROM scratch' 'COPY a /a'; build skipped ctx
of 'FROM --platform=linux/s390x scratch'; expect 1 rayctl build ctx; grep_quiet 'Dockerfile:1: FROM --platform=linux/s390x: this machine builds linux/[a-z0-9]+ alone$' "$T/err"

# a failing RUN: its exit code, its last lines, and nothing is committed
{ echo "$BASE"; echo 'RUN echo one; echo two >&2; echo half >/half; exit 7'; } >ctx/Dockerfile
expect 1 rayctl build -t half ctx
equal "$(grep -A 3 '^rayctl:' "$T/err")" "rayctl: ctx/Dockerfile:12: RUN echo one; echo two >&2; echo half >/half; exit 7: exit code 7; its last lines:
    one
    two"
expect 1 rayctl build -t half ctx; grep_quiet '^    one$' "$T/err"  # not cached either
{ echo "$BASE"; echo 'RUN sleep 9 & kill -9 $!; wait $!'; } >ctx/Dockerfile; expect 1 rayctl build ctx; grep_quiet 'exit code 137; its last' "$T/err"
{ echo "$BASE"; echo 'RUN ["/no/such", "x"]'; } >ctx/Dockerfile; expect 1 rayctl build ctx; grep_quiet "^rayctl: ctx/Dockerfile:12: RUN \[\"/no/such\", \"x\"\]: cannot .*No such file or directory" "$T/err"
{ echo "$BASE"; echo 'USER nobody'; echo 'RUN x'; } >ctx/Dockerfile; expect 1 rayctl build ctx; grep_quiet "^rayctl: ctx/Dockerfile:13: RUN x: .*nobody" "$T/err"

# wrong lines
expect 2 rayctl build ctx --compression lzma; expect 2 rayctl build; expect 2 rayctl build ctx -o tar:x
grep_quiet "^rayctl: unknown output 'tar:x': it must be oci:DIR or oci-archive:FILE$" "$T/err"
expect 2 rayctl build ctx --build-arg =x
for context in - https://h/r.git; do expect 2 rayctl build "$context"; grep_quiet 'name the directory' "$T/err"; done
SOURCE_DATE_EPOCH=now expect 2 rayctl build ctx
grep_quiet "^rayctl: SOURCE_DATE_EPOCH is 'now': it must be a number of seconds since 1970$" "$T/err"
line 'ARG USED' 'COPY a /a'; expect 0 rayctl build ctx --build-arg USED=1 --build-arg UNUSED=2
grep_quiet '^warning: --build-arg UNUSED is not used: no ARG of the stages that were built declares it$' "$T/err"; grep_none 'arg USED' "$T/err"

# no room: said so, and no layer is left
if mkdir small && mount -t tmpfs -o size=3m none small 2>/dev/null; then
  on_exit "umount '$T/small'"
  head -c 8M /dev/urandom >ctx/big; line 'COPY big /'
  expect 1 rayctl build --state-dir "$T/small" ctx
  grep_quiet "^rayctl: ctx/Dockerfile:2: COPY big /: cannot .*No space left on device \(make room below '$T/small'\)$" "$T/err"
  equal "$(ls "$T/small/layers" | grep -v '^l$' || true)" ''
fi
