#!/usr/bin/env bash
# A folder of src is a layer and includes only those left of it: base <- {oci, run, net, stitch, cloud} <- ray <- cli
set -euo pipefail
declare -A may=([base]="base" [oci]="base oci" [run]="base run" [net]="base net" [stitch]="base stitch"
  [cloud]="base cloud" [ray]="base oci run net stitch cloud ray" [cli]="base oci run net stitch cloud ray cli")
bad=0
for path in src/*/; do
  layer=$(basename "$path")
  [ -n "${may[$layer]:-}" ] || { echo "src/$layer is not a layer of the design"; bad=1; continue; }
  while IFS=: read -r file line other; do
    case " ${may[$layer]} " in
      *" $other "*) ;;
      *) echo "$file:$line: $layer may include only: ${may[$layer]} (not $other)"; bad=1 ;;
    esac
  done < <(grep -rnE --include='*.cc' --include='*.h' '^[[:space:]]*#[[:space:]]*include "' "$path" |
    sed -E 's|^([^:]*):([0-9]+):[^"]*"([^"/]*)/?[^"]*".*|\1:\2:\3|')
done
exit $bad
