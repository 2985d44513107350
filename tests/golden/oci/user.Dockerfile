ARG RAY_VERSION=2.60.0
FROM rayproject/ray:${RAY_VERSION}-py311-cpu
USER root
RUN apt-get update && apt-get install -y \
    git \
    # a tool that the scripts need

    jq
USER ray
ENV PYTHONPATH=/home/ray/app:${PYTHONPATH}
ENV OLD form with   blanks
COPY --from=ghcr.example/uv:latest /uv /bin/uv
COPY --chown=ray:users requirements.txt .
RUN --mount=type=cache,target=/home/ray/.cache/uv,uid=1000,gid=100 \
    --mount=type=secret,id=token,env=INDEX_TOKEN \
    uv pip install -r requirements.txt
ADD data.tar.gz /data
EXPOSE 8000 8265 10001-10003/udp
VOLUME /data /logs
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --start-period=2m CMD ["ray", "health-check"]
ONBUILD COPY . .
ENTRYPOINT ["tini", "--"]
