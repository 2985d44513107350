#!/usr/bin/env bash
# Layout as .clang-format says; `make format` puts it right.
set -uo pipefail
find src tests \( -name '*.cc' -o -name '*.h' \) -print0 |
  xargs -0 -n 16 -P "$(nproc)" clang-format --dry-run -Werror 2>&1 | grep -E '(error|warning):' | sort -u -t: -k1,2 | head -n 40
bad=${PIPESTATUS[1]}
[ "$bad" = 0 ] || echo "type: make format"
exit "$((bad != 0))"
