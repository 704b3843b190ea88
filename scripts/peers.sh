#!/bin/sh
# The proxy beside other gateways, on this machine, in one run:
#
#   scripts/peers.sh FOLDER [OPTIONS OF `load compare`]
#
# The peers are installed into FOLDER once (Python 3 with venv, node and npm are needed; what cannot
# be installed is left out of the table). Figures are medians over alternating rounds.
set -eu
folder=$1
shift
mkdir -p "$folder/portkey"
folder=$(realpath "$folder")
if ! [ -x "$folder/venv/bin/litellm" ]; then
    python3 -m venv "$folder/venv" && "$folder/venv/bin/pip" install -q 'litellm[proxy]' tensorzero || true
fi
if ! [ -d "$folder/portkey/node_modules" ]; then
    # Portkey's gateway cannot stream with later versions of these two.
    cat >"$folder/portkey/package.json" <<'END'
{"name": "peers", "version": "1.0.0", "private": true, "dependencies": {"@portkey-ai/gateway": "1.15.2"},
 "overrides": {"@hono/node-server": "1.3.3", "hono": "4.9.7"}}
END
    npm install --prefix "$folder/portkey" || true
fi
cargo build --release
set -- "$@" --distill target/release/distill
if [ -x "$folder/venv/bin/litellm" ]; then
    set -- "$@" --litellm "$folder/venv/bin/litellm" --tensorzero-python "$folder/venv/bin/python"
fi
portkey=$folder/portkey/node_modules/@portkey-ai/gateway/build/start-server.js
if [ -f "$portkey" ]; then
    set -- "$@" --portkey "$portkey"
fi
exec cargo run --release -p distill-proxy --example load -- compare "$@"
