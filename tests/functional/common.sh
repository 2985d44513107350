# For functional tests: `source "$(dirname "$0")/common.sh"`. Afterwards the working directory is an empty one of the
# test's own ($T), nothing of the user's configuration is seen, and what on_exit was told is undone at the end.
# A test fails by its first failing command; `fail TEXT` says why. The runner is suite.sh; a test runs by hand too.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
# shellcheck source=/dev/null
. "$here/probes.sh"

RAYCTL=${RAYCTL:-$top/bin/rayctl}
[ -x "$RAYCTL" ] || { echo "build first: no $RAYCTL" >&2; exit 1; }
export RAYCTL
rayctl() { "$RAYCTL" "$@"; }

exit_commands=()
on_exit() { exit_commands=("$*" "${exit_commands[@]}"); }  # COMMAND...: run at the end, last one first
at_exit() {
  local status=$? command
  trap - EXIT INT TERM ERR
  set +e
  for command in "${exit_commands[@]}"; do eval "$command" >/dev/null 2>&1; done
  exit "$status"
}
trap at_exit EXIT
trap 'exit 130' INT TERM
trap 'echo "failed: ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND" >&2' ERR
set -E

if [ -z "${RAYCTL_TEST_DIR:-}" ]; then
  RAYCTL_TEST_DIR=$(mktemp -d "${TMPDIR:-/tmp}/rayctl-test.XXXXXX")
  on_exit "cd / && rm -rf --one-file-system '$RAYCTL_TEST_DIR'"
fi
T=$(readlink -f "$RAYCTL_TEST_DIR")
cd "$T"
[ "$(id -u)" != 0 ] || ip link set lo up 2>/dev/null || true
mkdir -p "$T/.home" "$T/.run"
export HOME=$T/.home XDG_DATA_HOME=$T/.home/data XDG_RUNTIME_DIR=$T/.run DOCKER_CONFIG=$T/.home/docker
export RAYCTL_STATE_DIR=$T/.state RAYCTL_RUN_DIR=$T/.run/rayctl
export LC_ALL=C.UTF-8 NO_COLOR=1
unset SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY no_proxy NO_PROXY

fail() { printf 'failed: %s\n' "$*" >&2; exit 1; }
skip() { printf 'skip: %s: %s\n' "$1" "$2"; exit 77; }  # PROBE REASON
need() { local probe; for probe; do "probe_$probe" >/dev/null 2>&1 || skip "$probe" "this machine has no ${probe//_/ }"; done; }
need_root() { [ "$(id -u)" = 0 ] || skip root 'run the tests as root'; }
need_command() { local c; for c; do command -v "$c" >/dev/null || fail "no command '$c': type: make deps-test"; done; }

# expect CODE COMMAND...: its output is then in $T/out and $T/err
expect() {
  local wanted=$1 code=0; shift
  "$@" >"$T/out" 2>"$T/err" </dev/null || code=$?
  [ "$code" = "$wanted" ] || {
    printf 'failed: exit %s, not %s, from: %s\n' "$code" "$wanted" "$*" >&2
    sed 's/^/  out: /' "$T/out" >&2; sed 's/^/  err: /' "$T/err" >&2
    exit 1
  }
}
grep_quiet() {  # REGEX FILE: shows the file when there is no match
  grep -qE -e "$1" "$2" || { printf "failed: no '%s' in %s:\n" "$1" "$2" >&2; sed 's/^/  | /' "$2" >&2; exit 1; }
}
grep_none() {  # REGEX FILE
  ! grep -nE -e "$1" "$2" >&2 || fail "'$1' must not be in $2"
}
equal() { [ "$1" = "$2" ] || fail "'$1' is not '$2'${3:+: $3}"; }

# wait_for SECONDS COMMAND...: until it succeeds
wait_for() {
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || fail "still not so: $*"
    sleep 0.1
  done
}

# background NAME COMMAND...: output in $T/NAME.log, pid in $pid, ended (TERM, then KILL) at exit
background() {
  local name=$1; shift
  "$@" >"$T/$name.log" 2>&1 </dev/null &
  pid=$!
  on_exit "kill $pid; for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 $pid || break; sleep 0.1; done; kill -9 $pid; wait $pid"
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# make_netns NAME...: network namespaces with lo up; names carry the test's pid when it runs in the host's own
make_netns() {
  local name
  for name; do
    ip netns add "$name"
    on_exit "ip netns pids '$name' | xargs -r kill -9; ip netns del '$name'"
    ip -n "$name" link set lo up
  done
}
# connect_netns NS1 ADDRESS1/LEN NS2 ADDRESS2/LEN: a veth pair, named v-NS2 in NS1 and v-NS1 in NS2
connect_netns() {
  ip -n "$1" link add "v-$3" type veth peer name "v-$1" netns "$3"
  ip -n "$1" addr add "$2" dev "v-$3"
  ip -n "$3" addr add "$4" dev "v-$1"
  ip -n "$1" link set "v-$3" up
  ip -n "$3" link set "v-$1" up
}

# make_ca DIRECTORY NAME...: ca.pem there, and key.pem, cert.pem for these DNS names or IP addresses
make_ca() {
  local directory=$1 name names=; shift
  mkdir -p "$directory"
  for name; do [[ $name =~ ^[0-9.]+$|: ]] && names+=,IP:$name || names+=,DNS:$name; done
  ( cd "$directory"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj '/CN=throw-away CA' \
      -keyout ca-key.pem -out ca.pem
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout key.pem -out request.pem
    openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -out cert.pem \
      -extfile <(printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\n' "${names#,}") ) >"$directory/log" 2>&1 ||
    { cat "$directory/log" >&2; fail 'cannot make a CA'; }
}

# start_registry [OPTION...]: Debian's docker-registry on a free port, with TLS of a throw-away CA and a password.
#   --plain            HTTP, no TLS          --open             no password
#   --netns NS         in that namespace     --address A        listens there (default 127.0.0.1)
#   --name N           a further name in its certificate; also names its files, so that there can be several
# Sets REGISTRY (HOST:PORT), REGISTRY_CA (file), REGISTRY_USER, REGISTRY_PASSWORD, REGISTRY_STORE (directory).
start_registry() {
  local tls=1 auth=1 netns='' address=127.0.0.1 name=registry port directory
  while [ $# -gt 0 ]; do
    case $1 in
      --plain) tls='' ;;
      --open) auth='' ;;
      --netns) netns=$2; shift ;;
      --address) address=$2; shift ;;
      --name) name=$2; shift ;;
      *) fail "start_registry: no option $1" ;;
    esac
    shift
  done
  need_command docker-registry openssl perl
  directory=$T/.$name port=$(free_port)
  REGISTRY=$address:$port REGISTRY_USER=ray REGISTRY_PASSWORD=sesame REGISTRY_CA=$directory/ca.pem REGISTRY_STORE=$directory/store
  make_ca "$directory" "$name" localhost 127.0.0.1 "$address"
  perl -e 'print "$ARGV[0]:", crypt($ARGV[1], "\$2b\$04\$abcdefghijklmnopqrstuu"), "\n"' \
    "$REGISTRY_USER" "$REGISTRY_PASSWORD" >"$directory/htpasswd"
  {
    printf 'version: 0.1\nlog: {level: info}\nstorage:\n  filesystem: {rootdirectory: %s}\n  delete: {enabled: true}\n' "$REGISTRY_STORE"
    printf 'http:\n  addr: %s\n  secret: throw-away\n' "$REGISTRY"
    [ -z "$tls" ] || printf '  tls: {certificate: %s, key: %s}\n' "$directory/cert.pem" "$directory/key.pem"
    [ -z "$auth" ] || printf 'auth:\n  htpasswd: {realm: test, path: %s}\n' "$directory/htpasswd"
  } >"$directory/config.yml"
  background "$name" ${netns:+ip netns exec "$netns"} docker-registry serve "$directory/config.yml"
  REGISTRY_PID=$pid
  wait_for 20 ${netns:+ip netns exec "$netns"} bash -c "exec 3<>/dev/tcp/$address/$port"
}
# registry_login: writes docker's config.json for $REGISTRY as `docker login` does
registry_login() {
  mkdir -p "$DOCKER_CONFIG"
  printf '{"auths":{"%s":{"auth":"%s"}}}\n' "$REGISTRY" "$(printf %s "$REGISTRY_USER:$REGISTRY_PASSWORD" | base64 -w0)" \
    >"$DOCKER_CONFIG/config.json"
}
