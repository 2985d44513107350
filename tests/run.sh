#!/usr/bin/env bash
# run.sh SUITE...: runs suites (lint, tidy, unit, asan, functional, bench, fuzz) and ends with one line: N passed, N failed[, N skipped].
# ONLY='words' picks tests by name (globs; without * a part of the name). RAYCTL_MUST_RUN=1: a skip is a failure, unless
# its probe (tests/functional/probes.sh) agrees that this machine can't. The Makefile sets RAYCTL and RAYCTL_BUILD.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
passed=0 failed=0 skipped=0 failures=()
logs=$RAYCTL_BUILD/logs
unset MAKEFLAGS MFLAGS MAKELEVEL  # a make that a test starts is no part of the one that runs us

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then red=$'\e[31m' yellow=$'\e[33m' plain=$'\e[0m'; else red='' yellow='' plain=''; fi

wanted() {  # NAME
  [ -n "${ONLY:-}" ] || return 0
  local word
  for word in $ONLY; do
    # shellcheck disable=SC2053
    if [[ $word == *'*'* ]]; then [[ $1 == $word ]] && return 0; else [[ $1 == *"$word"* ]] && return 0; fi
  done
  return 1
}

pass() { passed=$((passed + 1)); printf 'ok      %s\n' "$1"; }
fail() { failed=$((failed + 1)); failures+=("$1"); printf '%sFAILED  %s%s\n' "$red" "$1" "$plain"; }
skip() { skipped=$((skipped + 1)); printf '%sSKIPPED %s: %s%s\n' "$yellow" "$1" "$2" "$plain"; }

run_lint() {
  local check name
  mkdir -p "$logs/lint"
  for check in tests/lint/*.sh; do
    name=lint/$(basename "$check" .sh)
    wanted "$name" || continue
    if bash "$check" >"$logs/$name.log" 2>&1; then pass "$name"; else cat "$logs/$name.log"; fail "$name"; fi
  done
}

run_unit() {  # ONLY is passed to Catch2 as it is
  local log=$logs/unit.log status good bad
  mkdir -p "$logs"
  # shellcheck disable=SC2086
  timeout -k 10 600 ${RAYCTL_RUNNER:-} "$RAYCTL_BUILD/units" ${ONLY:+$ONLY} >"$log" 2>&1 </dev/null; status=$?
  good=$(sed -nE 's/^All tests passed \([0-9]+ assertions? in ([0-9]+) test cases?\)$/\1/p; s/^test cases: .*[^0-9]([0-9]+) passed.*/\1/p' "$log")
  bad=$(sed -nE 's/^test cases: .*[^0-9]([0-9]+) failed.*/\1/p' "$log")
  [ "$status" = 0 ] || cat "$log"
  if [ "$status" = 0 ] && [ -z "$good" ]; then [ -n "${ONLY:-}" ] && return; bad=1; fi
  if [ "$status" != 0 ] && [ "${bad:-0}" = 0 ]; then bad=1; echo "units ended with status $status"; fi
  passed=$((passed + ${good:-0})) failed=$((failed + ${bad:-0}))
  [ "${bad:-0}" = 0 ] || failures+=("unit ($bad)")
  printf '%s unit (%s test cases)\n' "$([ "${bad:-0}" = 0 ] && echo 'ok     ' || echo "FAILED ")" "$((${good:-0} + ${bad:-0}))"
}

run_make() {  # NAME WHAT-IT-DID-REGEX ARGUMENT...: one `make ARGUMENT...` as one test
  local name=$1 regex=$2 log=$logs/$1.log; shift 2
  mkdir -p "$logs"
  if ONLY='' make "$@" >"$log" 2>&1 </dev/null; then
    pass "$name ($(sed -nE "s/$regex/\\1/p" "$log"))"
  else
    grep -vE '^  (CXX|AR|LINK|TIDY) ' "$log" | tail -n 80; fail "$name (log: $log)"
  fi
}
run_asan() { run_make asan '^ok +unit \((.*)\)$' MODE=asan unit; }  # AddressSanitizer and UBSan
run_tidy() { run_make tidy '^tidy: (.*)$' tidy; }

total() {
  [ ${#failures[@]} = 0 ] || printf '%sfailed: %s%s\n' "$red" "${failures[*]}" "$plain"
  printf '%d passed, %d failed' "$passed" "$failed"
  [ "$skipped" = 0 ] || printf ', %d skipped' "$skipped"
  printf '\n'
  [ "$failed" = 0 ] && [ $((passed + skipped)) -gt 0 ]
}

# shellcheck source=/dev/null
for suite; do [ ! -e "tests/$suite/suite.sh" ] || . "tests/$suite/suite.sh"; done
for suite; do "run_$suite"; done
total
