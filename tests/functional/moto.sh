#!/usr/bin/env bash
# For tests against moto, a server of EC2's API: one runs at $moto, and credentials that it takes are in the environment.
# Sourced after common.sh.
need_command python3 jq
need moto
venv=$("$top/tests/deps/python.sh" --prefix)
port=$(free_port)
background moto "$venv/bin/moto_server" -H 127.0.0.1 -p "$port"
export AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing AWS_EC2_METADATA_DISABLED=true RAYCTL_RETRY_MS=50
moto=http://127.0.0.1:$port
wait_for 60 curl -sf "$moto/moto-api/data.json" -o /dev/null
