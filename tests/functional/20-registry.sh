#!/usr/bin/env bash
# push and pull against Debian's docker-registry (TLS, password), with skopeo on the other end.
source "$(dirname "$0")/common.sh"
need_root
need_command skopeo docker-registry jq umoci
start_registry
auth=(--src-creds "$REGISTRY_USER:$REGISTRY_PASSWORD" --src-cert-dir "$T/certs")
to=(--dest-creds "$REGISTRY_USER:$REGISTRY_PASSWORD" --dest-cert-dir "$T/certs")
mkdir certs && cp "$REGISTRY_CA" certs/ca.crt

# an image of three layers, by umoci
umoci init --layout src && umoci new --image src:1
for layer in 1 2 3; do
  mkdir -p "l$layer/dir"
  head -c 300000 /dev/urandom >"l$layer/dir/random$layer"
  [ $layer != 2 ] || { : >l2/dir/.wh.random1; chmod 4755 l2/dir/random2; ln l2/dir/random2 l2/link; }
  tar -C "l$layer" -cf "l$layer.tar" .
  umoci raw add-layer --image src:1 "l$layer.tar"
done
umoci config --image src:1 --config.cmd=/bin/true --config.user=1000:100
skopeo copy -q "${to[@]}" oci:src:1 "docker://$REGISTRY/a/b:1"

# no login, a wrong one, the right one
expect 1 rayctl pull --registry-ca "$REGISTRY_CA" "$REGISTRY/a/b:1"
grep_quiet "rayctl: pulling $REGISTRY/a/b:1: cannot read .*rayctl login $REGISTRY\)" err
printf wrong >password
expect 1 bash -c '"$RAYCTL" login -u ray --password-stdin --registry-ca "$0" "$1" <password' "$REGISTRY_CA" "$REGISTRY"
grep_quiet "cannot log in to '$REGISTRY': wrong user name or password" err
expect 2 rayctl login "$REGISTRY"
grep_quiet 'there is no terminal' err
printf sesame | rayctl login -u ray --password-stdin --registry-ca "$REGISTRY_CA" "$REGISTRY" >out
equal "$(stat -c %a "$DOCKER_CONFIG/config.json")" 600
# without the CA
expect 1 rayctl pull "$REGISTRY/a/b:1"
grep_quiet 'registry-ca FILE' err

rayctl pull --registry-ca "$REGISTRY_CA" "$REGISTRY/a/b:1" >out 2>err
digest=$(skopeo inspect --format '{{.Digest}}' "--creds=$REGISTRY_USER:$REGISTRY_PASSWORD" --cert-dir certs "docker://$REGISTRY/a/b:1")
grep_quiet "^$REGISTRY/a/b:1 $digest\$" out
equal "$(rayctl images -q | wc -l)" 1
# the layers are overlayfs's: the whiteout works, links and modes are there
layers=$(rayctl inspect "$REGISTRY/a/b:1" | jq -r '.[0].RootFS.Layers[0]' | cut -d: -f2)
[ -f "$RAYCTL_STATE_DIR/layers/$layers/fs/dir/random1" ] || fail 'layer 1 is not unpacked'
cmp l1/dir/random1 "$RAYCTL_STATE_DIR/layers/$layers/fs/dir/random1"
find "$RAYCTL_STATE_DIR/layers" -name random1 -type c | grep -q . || fail 'no whiteout'
find "$RAYCTL_STATE_DIR/layers" -path '*/fs/link' -links 2 -perm 4755 | grep -q . || fail 'link or mode is lost'
equal "$(stat -c %a "$RAYCTL_STATE_DIR/layers")" 700

# a second pull has nothing to do; by digest too
rayctl pull --registry-ca "$REGISTRY_CA" "$REGISTRY/a/b:1" >out 2>err
grep_none 'layer|blob' err
rayctl pull -q --registry-ca "$REGISTRY_CA" "$REGISTRY/a/b@$digest" >out

# push under two names: the second is mounted; skopeo reads it back, byte for byte
rayctl tag "$REGISTRY/a/b:1" "$REGISTRY/c:2"
rayctl push --registry-ca "$REGISTRY_CA" "$REGISTRY/c:2" >out 2>err
grep_quiet "mounted from a/b" err
rayctl push --registry-ca "$REGISTRY_CA" "$REGISTRY/a/b:1" "$REGISTRY/a/b:again" 2>err
grep_quiet 'is there already' err
skopeo copy -q "${auth[@]}" "docker://$REGISTRY/c:2" oci:back:1
equal "$(jq -r '.manifests[0].digest' back/index.json)" "$digest"

# layouts, both ways
rayctl push "$REGISTRY/c:2" oci-archive:c.tar:c >out 2>err
skopeo copy -q oci-archive:c.tar oci:c2:x
equal "$(jq -r '.manifests[0].digest' c2/index.json)" "$digest"
rayctl push "$REGISTRY/c:2" oci:c3:tagged 2>err
equal "$(skopeo inspect --format '{{.Digest}}' oci:c3:tagged)" "$digest"
equal "$(ls c3)" "$(printf 'blobs\nindex.json\noci-layout')"
RAYCTL_STATE_DIR=$T/.other rayctl pull oci-archive:c.tar:c --name from/file:1 >out 2>err
grep_quiet "^from/file:1 $digest" out
equal "$(rayctl inspect oci:c3 | jq -r '.[0].Config.User')" 1000:100
equal "$(rayctl inspect --raw --registry-ca "$REGISTRY_CA" "docker://$REGISTRY/c:2" | sha256sum | cut -d' ' -f1)" "${digest#sha256:}"

# what isn't there
expect 1 rayctl pull --registry-ca "$REGISTRY_CA" "$REGISTRY/a/b:none"
grep_quiet "cannot find '$REGISTRY/a/b:none' in the registry" err
expect 1 rayctl push "$REGISTRY/nope:1"
grep_quiet "cannot find image '$REGISTRY/nope:1'" err
expect 2 rayctl pull
kill "$REGISTRY_PID"; wait_for 5 bash -c "! kill -0 $REGISTRY_PID"
RAYCTL_RETRY_MS=1 expect 1 rayctl pull --registry-ca "$REGISTRY_CA" "$REGISTRY/a/b:none"
grep_quiet "cannot reach 'https://$REGISTRY/v2/': Connection refused" err

# names and images go; layers with the last of them
rayctl rmi "$REGISTRY/c:2" >out 2>err
grep_none freed err
expect 1 rayctl rmi "${digest:7:12}"
grep_quiet 'it has 2 names' err
rayctl rmi -f "${digest:7:12}" >out 2>err
grep_quiet '^freed ' err
equal "$(find "$RAYCTL_STATE_DIR/store/blobs" -type f | wc -l)" 0
equal "$(ls "$RAYCTL_STATE_DIR/layers")" l
rayctl logout "$REGISTRY" | grep -q '^logged out of'
