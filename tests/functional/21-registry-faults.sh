#!/usr/bin/env bash
# pull and push against a registry that misbehaves in every way that real ones do (fault_registry.py).
source "$(dirname "$0")/common.sh"
need_root
need_command python3 openssl
make_ca "$T/ca" localhost 127.0.0.1
background faults python3 "$here/fault_registry.py" "$T" "$T/ca/cert.pem" "$T/ca/key.pem"
wait_for 10 test -e ports
read -r http second tls digest <ports
export RAYCTL_RETRY_MS=10 RAYCTL_STALL_SECONDS=2
R=127.0.0.1:$http

fresh() { rm -rf "$RAYCTL_STATE_DIR"; }
works() { fresh; expect 0 rayctl pull "$@"; equal "$(find "$RAYCTL_STATE_DIR/layers" -name 'a[012]' -size +400k | wc -l)" 3 "$*"; }
fails() {  # REGEX PULL-ARGUMENTS...: and nothing is committed
  local regex=$1; shift
  fresh
  expect 1 rayctl pull "$@"
  grep_quiet "$regex" err
  equal "$(ls "$RAYCTL_STATE_DIR/layers")" l "$*"
  equal "$(rayctl images -q)" '' "$*"
}

# transfers that are cut, slowed, redirected, refused for a while
for name in plain cut shifted no-range range-416 encoded redirect busy-seconds busy-date loris; do works "$R/$name:1"; done
grep -q 'second GET /blobs/.* -$' log || fail 'no redirect was followed'
grep_none 'second .*(Bearer|Basic)' log
grep -qE 'GET /v2/cut/blobs/\S+ bytes=[0-9]+-' log || fail 'no range was asked for'
works "$R/token-expires:1"
[ "$(grep -c 'GET /token?.*scope=repository%3Atoken-expires%3Apull' log)" -gt 2 ] || fail 'no new token was fetched'
mkdir -p "$DOCKER_CONFIG"; printf '{"auths":{"%s":{"auth":"cmF5OnNlc2FtZQ=="}}}' "$R" >"$DOCKER_CONFIG/config.json"
works "$R/basic:1"
rm "$DOCKER_CONFIG/config.json"

# a large layer comes in pieces over several connections, or as a whole where there are no ranges
export RAYCTL_PIECE_BYTES=150000
: >log
for name in plain cut shifted no-range range-416 encoded redirect loris; do works "$R/$name:1"; done
grep -qE 'GET /v2/plain/blobs/\S+ bytes=300000-449999' log || fail 'no piece was asked for'
fails 'blob sha256:[0-9a-f]+ is damaged: its digest is' "$R/wrong-digest:1"
fails 'ended after [0-9]+ of [0-9]+ bytes \(tried 5 times\)' "$R/short:1"
works "$R/token-once:1"  # each piece needs a token of its own
unset RAYCTL_PIECE_BYTES
works "$R/token-once:1"

# what must fail, and how
fails 'cannot read .*auth-loop:1.: unauthorized \(type: rayctl login' "$R/auth-loop:1"
[ "$(grep -c 'GET /v2/auth-loop/' log)" -le 3 ] || fail 'it asks for ever'
fails 'cannot log in at .http://169.254.169.254/token.*it is not https' "$R/evil-realm:1"
fails 'blob sha256:[0-9a-f]+ is damaged: its digest is' "$R/wrong-digest:1"
fails 'blob sha256:[0-9a-f]+ is damaged: its digest is' "$R/wrong-tail:1"
fails 'ended after [0-9]+ of [0-9]+ bytes \(tried 5 times\)' "$R/short:1"
fails 'is longer than the [0-9]+ bytes that its manifest says' "$R/long:1"
fails "manifest $digest is damaged" "$R/wrong-manifest@$digest"
fails 'contradicts the content type' "$R/wrong-type:1"
fails 'refused as ambiguous' "$R/confused:1"
fails 'is longer than 8388608 bytes' "$R/huge:1"
fails 'unpacks to diff id' "$R/diffid:1"
fails 'its manifest has 2 layers and its config 1 diff ids' "$R/diffcount:1"
fails 'more than 10 redirects' "$R/redirect-loop:1"
fails 'unavailable \(tried 5 times\)|unavailable' "$R/down:1"
fails 'is longer than 8388608 bytes' "$R/endless:1"
fails 'deep' "$R/deep:1"
fails 'HTTP status 400' "$R/deep-refusal:1"
fails "token|is no JSON" "$R/token-html:1"
fails 'deep' "$R/token-deep:1"
fails 'is longer than 1048576 bytes' "$R/token-huge:1"
fails 'characters that no header may have' "$R/token-lines:1"
fails 'token' "$R/token-none:1"
printf '{"auths":{"%s":{"auth":"cmF5OnNlc2FtZQ=="}}}' "$R" >"$DOCKER_CONFIG/config.json"
fails 'unauthorized' "$R/token-away:1"
rm "$DOCKER_CONFIG/config.json"
grep_none 'second .*(Bearer|Basic)' log
fails 'manifest_unknown' "$R/plain:none"
fails 'that would leave https' --registry-ca "$T/ca/ca.pem" "127.0.0.1:$tls/downgrade:1"

# an interrupted pull goes on where it ended, a damaged part is thrown away
fresh; rayctl pull -q "$R/plain:1" >out
blob=$(find "$RAYCTL_STATE_DIR/store/blobs" -size +1000k)
fresh; mkdir -p "$RAYCTL_STATE_DIR/store/partial"
curl -sf "http://$R/v2/plain/blobs/sha256:$(basename "$blob")" >whole; head -c 700000 whole >part
part=$RAYCTL_STATE_DIR/store/partial/sha256-$(basename "$blob")
cp part "$part"
: >log; expect 0 rayctl pull "$R/plain:1"
grep -q 'bytes=700000-' log || fail 'it did not resume'
fresh; mkdir -p "$RAYCTL_STATE_DIR/store/partial"; cp part "$part"
: >log; expect 0 env RAYCTL_PIECE_BYTES=150000 "$RAYCTL" pull "$R/plain:1"
grep -q 'bytes=700000-849999' log || fail 'it did not resume in pieces'
fresh; mkdir -p "$RAYCTL_STATE_DIR/store/partial"; tr '\0' '\1' <part >"$part"
expect 0 rayctl pull "$R/plain:1"
grep_quiet 'starting anew' err

# push: as a whole, in pieces, with retries
for name in push-ok push-acr push-ghcr push-gar push-ecr push-416 push-relative push-503 push-lost; do
  expect 0 rayctl push "$R/plain:1" "$R/$name:1"
  equal "$(curl -sf "http://$R/v2/$name/manifests/1" | sha256sum | cut -d' ' -f1)" "${digest#sha256:}" "$name"
done
expect 0 rayctl push "$R/plain:1" "$R/push-mount:1"
grep -q 'PATCH /v2/push-ecr/' log || fail 'no pieces were sent'
grep_none 'PATCH /v2/push-(ok|gar)/' log

# the words of a registry that can't go on; an upload that goes on elsewhere, without the token
expect 1 rayctl push "$R/plain:1" "$R/push-500:1"
grep_quiet "cannot push blob [0-9a-f]+ to '$R/push-500': the disk is on fire \(HTTP status 500\)" err
expect 0 rayctl push "$R/plain:1" "$R/push-away:1"
grep_none 'second .*(Bearer|Basic)' log
