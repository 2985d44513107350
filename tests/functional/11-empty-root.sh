#!/usr/bin/env bash
# It starts in a root directory that holds nothing else, and says the versions of itself and of what is linked.
source "$(dirname "$0")/common.sh"
need_root

mkdir root
cp "$RAYCTL" root/rayctl
expect 0 env -i "$(command -v chroot)" root /rayctl version
grep_quiet '^rayctl [0-9]+\.[0-9]+\.[0-9]+' out
for library in Boost c-ares CLI11 curl fmt ISA-L libarchive libseccomp libyaml nghttp2 nlohmann-json OpenSSL pugixml zlib zstd; do
  grep_quiet "^ *$library +[0-9]+\.[0-9]+" out
done
expect 0 env -i "$(command -v chroot)" root /rayctl --help
grep_quiet 'build' out
expect 2 env -i "$(command -v chroot)" root /rayctl no-such-command
grep_quiet 'no-such-command' err
equal "$(ls -A root)" rayctl 'it left something behind'
