#!/usr/bin/env bash
# The Open Container Initiative's own validation suite for runtimes, built beside the other dependencies.
#   oci_validation.sh      builds it if need be      oci_validation.sh --prefix      prints where it is
# Go is told nothing about where modules come from: that is the machine's configuration. A machine without Go goes without.
set -euo pipefail
module=github.com/opencontainers/runtime-tools@v0.9.0
requires=(github.com/blang/semver@v3.5.1+incompatible github.com/hashicorp/go-multierror@v1.1.0
  github.com/mndrix/tap-go@v0.0.0-20171203230836-629fa407e90b github.com/mrunalp/fileutils@v0.5.0
  github.com/opencontainers/runtime-spec@v1.0.2 github.com/opencontainers/selinux@v1.2.2 github.com/satori/go.uuid@v1.2.0
  github.com/sirupsen/logrus@v1.8.1 github.com/syndtr/gocapability@v0.0.0-20200815063812-42c35b437635
  github.com/urfave/cli@v1.22.5 github.com/xeipuuv/gojsonschema@v1.2.0 golang.org/x/sys@v0.50.0)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=$(dirname "$("$here/deps.sh" --prefix)")/oci-validation-$(printf '%s\n' "$module" "${requires[@]}" "$(uname -m)" | cksum | cut -d' ' -f1)
[ "${1:-}" != --prefix ] || { echo "$prefix"; exit; }
[ ! -e "$prefix/.complete" ] || exit 0
PATH=$PATH:/usr/local/go/bin
command -v go >/dev/null || exit 0
mkdir -p "$(dirname "$prefix")"
exec 8>"$prefix.lock"
flock 8
[ ! -e "$prefix/.complete" ] || exit 0
echo "deps: building ${module%@*}" >&2
rm -rf "$prefix"
mkdir "$prefix"
build() {
  export GOPATH=$prefix/path GOCACHE=$prefix/cache GOFLAGS=-modcacherw CGO_ENABLED=0
  cd "$prefix"
  printf 'module suite\n\ngo 1.17\n' >go.mod
  cp -r "$(go mod download -json "$module" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",/\1/p')" source
  chmod -R u+w source
  cd source
  {
    printf 'module %s\n\ngo 1.17\n\nrequire (\n' "${module%@*}"
    printf '%s\n' "${requires[@]}" | sed 's/@/ /'
    echo ')'
  } >go.mod
  export GOFLAGS='-modcacherw -mod=mod'
  go build -ldflags '-s -w' -o ../runtimetest ./cmd/runtimetest
  mkdir ../validation
  for test in validation/*/; do
    [ "$test" = validation/util/ ] || go build -ldflags '-s -w' -o "../validation/$(basename "$test")" "./$test"
  done
  cp rootfs-amd64.tar.gz ..
}
if ! (build) >"$prefix.log" 2>&1; then
  tail -n 5 "$prefix.log" >&2
  echo "deps: cannot build ${module%@*}: tests that need it are skipped (log: $prefix.log)" >&2
  rm -rf "$prefix"
  exit 0
fi
rm -rf "$prefix/path" "$prefix/cache" "$prefix/source"
touch "$prefix/.complete"
