# syntax=docker/dockerfile:1.3-labs
# A build file in the manner of a project's continuous integration: heredocs first.

ARG DISTRO=debian RELEASE=12
ARG BASE=${DISTRO}:${RELEASE}"-slim"

FROM --platform=$BUILDPLATFORM "$BASE" AS Builder
ARG PYTHON_VERSION=3.11
ARG LOCK=deps_py${PYTHON_VERSION%%.*}_${TARGETARCH:-any}.lock
ENV DEBIAN_FRONTEND=noninteractive \
    PATH="/opt/py/bin:$PATH"

SHELL ["/bin/bash", "-ice"]
RUN \
  --mount=type=bind,source=ci/install.sh,target=/tmp/install.sh \
  --mount=type=cache,target=/root/.cache/pip,id=pip-${PYTHON_VERSION},sharing=locked \
  <<EOF
#!/bin/bash
set -euo pipefail
version="$(python - <<'PY'
print("nested")
PY
)"
/tmp/install.sh "$version"
EOF

RUN <<-EOF
	echo one
		echo two
	EOF

WORKDIR /build
COPY --chown=forge:users --chmod=u=rwX,go=rX src/*.py \
  # with a remark in the middle
  setup.cfg ./
RUN make && cp dist/*.whl /opt/artifacts/

FROM scratch AS artifacts
COPY --from=builder /opt/artifacts/*.whl /

FROM unreached AS never
RUN --device=gpu nothing

from builder as main
USER $UID:${GID-100}
LABEL org.example.base="$BASE" lock=$LOCK
COPY --from=artifacts / /wheels/
COPY <<conf <<'raw' /etc/app/
python = ${PYTHON_VERSION:?}
conf
literal = ${PYTHON_VERSION}
raw
CMD ["serve", "$PORT"]
