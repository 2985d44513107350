#!/usr/bin/env bash
# A folder of src is a layer and includes only those left of it: base <- {oci, run, net <- wg, stitch, cloud}
# <- cluster <- {ray, fleet} <- cli
set -euo pipefail
declare -A may=([base]="base" [oci]="base oci" [run]="base run" [net]="base net" [wg]="base net wg" [stitch]="base stitch"
  [cloud]="base cloud" [cluster]="base net cloud cluster" [ray]="base oci run net wg stitch cloud cluster ray"
  [fleet]="base oci stitch cloud cluster fleet" [cli]="base oci run net wg stitch cloud cluster ray fleet cli")
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
