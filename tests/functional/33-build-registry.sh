#!/usr/bin/env bash
# FROM a registry, --push, and what an image hands on: ONBUILD, HEALTHCHECK, SHELL, ENTRYPOINT, stages by name.
# timeout: 180
source "$(dirname "$0")/common.sh"
source "$here/build_lib.sh"
need_command docker-registry
start_registry
registry=(--registry-ca "$REGISTRY_CA")
printf '%s' "$REGISTRY_PASSWORD" >pw; rayctl login -u "$REGISTRY_USER" --password-stdin "${registry[@]}" "$REGISTRY" <pw >/dev/null

base_context ctx; echo data >ctx/data
{ echo "$BASE"; cat <<'END'
ONBUILD COPY data /on/
ONBUILD RUN <<E
cat /on/data >/triggered
E
ONBUILD ENV TRIGGERED=1
HEALTHCHECK --interval=1m CMD wget -q x
SHELL ["/bin/sh", "-ec"]
ENTRYPOINT ["/bin/busybox"]
CMD ["sh"]
STOPSIGNAL SIGINT
EXPOSE 6379 8000-8002/udp
VOLUME /data
MAINTAINER Ray <ray@example>
END
} >ctx/Dockerfile
rayctl build -t "$REGISTRY/base/box:1" -t "$REGISTRY/base/box:latest" --compression gzip --push "${registry[@]}" ctx >base.id 2>base.log
grep_quiet "pushed $REGISTRY/base/box:1" base.log; grep_quiet "pushed $REGISTRY/base/box:latest" base.log

# elsewhere: the base comes from the registry, its triggers run first and once
export RAYCTL_STATE_DIR=$T/elsewhere
cat >ctx/Dockerfile <<END
ARG TAG=1
FROM $REGISTRY/base/box:\$TAG AS one
RUN cat /triggered /on/data >/both
FROM one
RUN echo "\$TRIGGERED" >/t
ENTRYPOINT ["/bin/sh"]
FROM ${REGISTRY}/base/box:1 AS three
COPY --from=$REGISTRY/base/box:latest /bin/busybox /copy
END
build derived ctx "${registry[@]}" --target 1
tree "$T/oci:derived" >/dev/null; equal "$(cat .bundle/rootfs/both .bundle/rootfs/t)" "data
data
1"
config derived >c.json
equal "$(jq -c '[.config.OnBuild, .config.Healthcheck.Test[0], .config.Shell, .config.Entrypoint, .config.Cmd, .config.StopSignal, .author]' c.json)" \
  '[null,"CMD-SHELL",["/bin/sh","-ec"],["/bin/sh"],null,"SIGINT","Ray <ray@example>"]'
equal "$(jq -c '[.config.ExposedPorts, .config.Volumes]' c.json)" '[{"6379/tcp":{},"8000/udp":{},"8001/udp":{},"8002/udp":{}},{"/data":{}}]'
equal "$(jq -c '.rootfs.diff_ids | length' c.json)" "$(jq -c '[.history[] | select(.empty_layer != true)] | length' c.json)" 'history has an entry for each layer'
equal "$(jq -r '.history[-1].created_by' c.json)" 'ENTRYPOINT ["/bin/sh"]'
# the base's layers are the registry's own bytes
expected=$(skopeo inspect --raw --creds "$REGISTRY_USER:$REGISTRY_PASSWORD" --tls-verify=false "docker://$REGISTRY/base/box:1" | jq -c '[.layers[].digest]')
equal "$(manifest derived | jq -c "[.layers[].digest][:$(jq length <<<"$expected")]")" "$expected"
build third ctx "${registry[@]}"; equal "$(members third -1)" 'copy '
grep_none 'pulling' third.log                  # what is here is used
build pulled ctx "${registry[@]}" --pull
kill "$REGISTRY_PID"; wait "$REGISTRY_PID" 2>/dev/null || true
build offline ctx; grep_none 'done in' offline.log
rayctl rmi "$REGISTRY/base/box:1" >/dev/null
expect 1 rayctl build ctx "${registry[@]}"; grep_quiet "^rayctl: ctx/Dockerfile:[27]: pulling $REGISTRY/base/box:1: cannot .*" "$T/err"
expect 2 rayctl build --push ctx; grep_quiet '^rayctl: --push needs a name: add -t NAME$' "$T/err"
