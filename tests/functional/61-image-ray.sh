#!/usr/bin/env bash
# The Ray image, built from PyPI as `make demo` builds it: its shape, driver.py against a real Ray of one node, a script
# added in well under a second by the last layer alone, and no trace of the CA bundle that pip needed.
# timeout: 600
# network: host
source "$(dirname "$0")/common.sh"
need_root
need_command mmdebstrap python3
layers() { python3 -c '
import json, sys
blob = lambda digest: json.load(open(sys.argv[1] + "/blobs/sha256/" + digest[7:]))
print(*[l["digest"] for l in blob(json.load(open(sys.argv[1] + "/index.json"))["manifests"][-1]["digest"])["layers"]])' "$1"; }

make_ca own localhost
cat /etc/ssl/certs/ca-certificates.crt own/ca.pem >bundle.pem
context=$("$top/images/base/make-rootfs.sh" 2>log) || { cat log >&2; fail 'make-rootfs.sh'; }
mkdir repository
cp -r "$top/images" "$top/scripts" "$top/.dockerignore" repository
build() { rayctl build --ca-bundle bundle.pem "$@" >out 2>err || { tail -n 30 err >&2; fail "build $*"; }; }
build -t ray-base:bookworm -f repository/images/base/Dockerfile "$context"
build -t ray -o oci:one -f repository/images/ray/Dockerfile repository

echo 'print("mine")' >repository/scripts/mine.py
start=${EPOCHREALTIME/./}
build -t ray -f repository/images/ray/Dockerfile repository
took=$(((${EPOCHREALTIME/./} - start) / 1000))
build -t ray -o oci:two -f repository/images/ray/Dockerfile repository
read -r -a before <<<"$(layers one)"; read -r -a after <<<"$(layers two)"
equal "${after[*]::${#after[@]}-1}" "${before[*]::${#before[@]}-1}" 'more than the last layer changed'
[ "${after[-1]}" != "${before[-1]}" ] || fail 'the script is not in the image'
[ "$took" -lt 1000 ] || fail "a script more took $took ms"
mark=$(sed -n 3p own/ca.pem)  # a line of the certificate that only this bundle has
[ "${#mark}" = 64 ] && ! grep -rqF -e "$mark" "$RAYCTL_STATE_DIR/layers" || fail 'the CA bundle is in a layer'

equal "$(sed -n 5p "$top/scripts/driver.py")" '# ray.init(address="auto")' 'line 5 is what the guide says to uncomment'
cat >Dockerfile <<'END'
FROM ray
SHELL ["/bin/bash", "-euxc"]
RUN [ "$(id -un) $(id -u) $(id -g) $HOME $PWD" = 'ray 1000 100 /home/ray /home/ray/ray' ]; \
    [ "$PYTHONPATH" = /home/ray/ray/lib/python/:/home/ray/ray/thirdparty/numbuf/build ]; \
    [ "$(command -v python ray | xargs)" = '/home/ray/venv/bin/python /home/ray/venv/bin/ray' ]; \
    [ "$(sudo -n id -u)" = 0 ]; command -v vim bash; \
    [ "$(stat -c %U:%G scripts scripts/driver.py scripts/mine.py | sort -u)" = ray:users ]; \
    diff <(sed '/^#/d; s/[=].*//; s/_/-/g' constraints.txt | tr A-Z a-z | sort) <(pip freeze | sed 's/=.*//; s/_/-/g' | tr A-Z a-z | sort); \
    python -v -c 'import ray, ray.dashboard.head' 2>trace; ! grep -E '# wrote|bytecode is stale' trace; \
    [ -z "$(ls -A /var/lib/apt/lists | grep -vE '^(lock|partial)$')" ]; [ ! -e ~/.cache ]; [ -z "$(ls -A /tmp)" ]
# The apt sources of the base serve, and a package may replace the bundle that pip was lent.
RUN sudo apt-get update; sudo apt-get install -y --no-install-recommends --reinstall ca-certificates hello; hello
ENV RAY_USAGE_STATS_ENABLED=0
RUN ray start --head --num-cpus=1 --object-store-memory=80000000; \
    python scripts/driver.py; \
    sed '5s/^# //' scripts/driver.py >uncommented.py; python uncommented.py; \
    ray stop
END
mkdir empty
build -f Dockerfile empty
equal "$(grep -cE 'Pi is approximately 3\.14[0-9]+\.' err)" 2 'two drivers'
grep_quiet 'Successfully shut down Ray\.' err
grep_quiet ': 11 tasks$' err
grep_quiet 'Hello, world!' err

# rayproject/ray has a Ray, which stays
build -f repository/images/ray/Dockerfile --build-arg BASE=ray repository
grep_quiet 'this base has ray, version [0-9.]+ already' err
