#!/usr/bin/env bash
# What one run of the binary costs before it does anything: part of every container start and exec.
source "$(dirname "$0")/lib.sh"
need_command crun runc

twenty() { local i; for ((i = 0; i < 20; i++)); do "$@" >/dev/null; done; }
ours() { twenty "$RAYCTL" version; }
ours_help() { twenty "$RAYCTL" --help; }
crun_version() { twenty crun --version; }
runc_version() { twenty runc --version; }
compare '20 x version' 9 rayctl ours crun crun_version runc runc_version
compare '20 x --help' 9 rayctl ours_help crun 'twenty crun --help' runc 'twenty runc --help'
