#!/usr/bin/env bash
# The house rules that a regular expression can see. forbid REASON REGEX [FILE THAT MAY]...
set -euo pipefail
bad=0
sources() { find src "$@" -name '*.cc' -o -name '*.h'; }

forbid() {
  local reason=$1 regex=$2 found; shift 2
  local files=src except=()
  for file; do except+=(--exclude="$file"); done
  if found=$(grep -rnE --include='*.cc' --include='*.h' "${except[@]}" -e "$regex" $files); then
    printf '%s\n' "$found" | cut -c1-160 | sed "s|\$|    <- $reason|"; bad=1
  fi
}

forbid 'every fd is O_CLOEXEC: use src/base' '\b(std::)?(basic_)?[io]?fstream\b'
forbid 'every fd is O_CLOEXEC: fopen needs mode "e"' '\bfopen\([^,]*, *"[rwa+b]*"\)'
forbid 'every fd is O_CLOEXEC: use pipe2, accept4' '(^|[^_[:alnum:].>:])(::)?(pipe|accept)\('
forbid 'no shell between us and a program' '(^|[^_[:alnum:].>])(std::|::)?(system|popen)\('
forbid 'CLI11 is in one file' '#include [<"]CLI/(App|CLI)' options.cc
forbid 'no note of unfinished work' '\b(TODO|FIXME|XXX|HACK)\b'
forbid 'not in clang 14' '#include <(expected|format|print|source_location|ranges|generator|stacktrace)>|std::(views|ranges::views)\b'
forbid 'std::regex is slow' '#include <regex>'
forbid 'no get_ prefix' '^[[:space:]]+[[:alnum:]_:<>,&* ]+[ &*]get_[a-z_]+\([^;]*\)[^;]*[;{]$'
forbid 'using namespace is for tests and main' '^[[:space:]]*using namespace [^;]*[^s];' main.cc

if found=$(grep -rnE --include='*.h' -e '#include <nlohmann/json.hpp>' src); then
  printf '%s    <- json.hpp only in .cc files: headers take json_fwd.hpp\n' "$found"; bad=1
fi
while read -r lines file; do
  [ "$lines" -lt 500 ] || { echo "$file:$lines: a file has less than 500 lines: split it by noun"; bad=1; }
done < <(sources tests | xargs wc -l | grep -v ' total$')
while read -r file; do
  grep -q '^#pragma once' "$file" || { echo "$file:1: a header begins with #pragma once"; bad=1; }
done < <(find src tests -name '*.h')
while read -r file; do
  name=$(basename "$file")
  [[ $name =~ ^[a-z0-9_]+\.(cc|h)$ ]] || { echo "$file: file names are snake_case"; bad=1; }
done < <(sources tests)
exit $bad
