#!/bin/sh
# Real clients against the proxy, with a vendor of each dialect that is scripted here. Nothing leaves
# this machine. Needs Python 3; what else is found is checked, what is not is named.
#
#   python3 -m venv clients && clients/bin/pip install openai anthropic
#   npm install --prefix clients openai @anthropic-ai/sdk @anthropic-ai/claude-code @openai/codex
#   scripts/clients/check.sh target/release/distill clients/bin/python clients/node_modules
set -eu
distill=$(realpath "$1")
python=${2:-python3}
modules=${3:-}
here=$(dirname "$(realpath "$0")")
folder=$(mktemp -d)
started=
failures=0
trap 'for id in $started; do kill "$id" 2>/dev/null || true; done; rm -rf "$folder"' EXIT

# start NAME COMMAND...: in the background, its first line of output is its port
start() {
    name=$1
    shift
    "$@" >"$folder/$name.out" 2>"$folder/$name.err" &
    started="$started $!"
    tries=0
    while ! [ -s "$folder/$name.out" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 100 ]; then
            cat "$folder/$name.err"
            echo "$name does not start"
            exit 1
        fi
        sleep 0.1
    done
}

command='echo carried-out > carried-out.txt; cat carried-out.txt'
weather='"get_weather": {"city": "Paris"}'
claude_tools="{$weather, \"Bash\": {\"command\": \"$command\", \"description\": \"check\"}}"
codex_tools="{$weather, \"exec_command\": {\"cmd\": \"$command\"}, \"shell_command\": {\"command\": \"$command\"}, \"shell\": {\"command\": [\"bash\", \"-lc\", \"$command\"]}}"
start openai "$python" "$here/vendor.py" --log "$folder/openai.jsonl" --tools "$claude_tools"
start anthropic "$python" "$here/vendor.py" --log "$folder/anthropic.jsonl" --tools "$codex_tools"
openai_port=$(cat "$folder/openai.out")
anthropic_port=$(cat "$folder/anthropic.out")
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$folder/proxy.yaml" <<END
listen: 127.0.0.1:$port
ledger: $folder/ledger.db
admin_key_env: CHECK_ADMIN_KEY
vendors:
  by-openai: {like: vllm, base_url: "http://127.0.0.1:$openai_port/v1", price: {input: 1, output: 5}}
  by-anthropic: {like: anthropic, base_url: "http://127.0.0.1:$anthropic_port", price: {input: 3, output: 15}}
models:
  by-openai: [by-openai/gpt]
  by-anthropic: [by-anthropic/claude]
  vectors: [by-openai/vectors]
END
export CHECK_ADMIN_KEY=an-administrator-of-checks
key=$("$distill" keys create checker --config "$folder/proxy.yaml" --team clients --format json | "$python" -c 'import json, sys; print(json.load(sys.stdin)["key"])')
"$distill" proxy "$folder/proxy.yaml" >"$folder/proxy.out" 2>"$folder/proxy.err" &
started="$started $!"
base="http://127.0.0.1:$port"
tries=0
until "$python" -c "import urllib.request; urllib.request.urlopen('$base/health')" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { cat "$folder/proxy.err"; echo "the proxy does not start"; exit 1; }
    sleep 0.1
done

if "$python" -c 'import openai, anthropic' 2>/dev/null; then
    "$python" "$here/sdk.py" "$base" "$key" || failures=$((failures + 1))
else
    echo "not run: the Python packages openai and anthropic are not there"
fi
if [ -n "$modules" ] && [ -d "$modules/openai" ] && [ -d "$modules/@anthropic-ai/sdk" ]; then
    # Packages are looked for beside the script.
    cp "$here/sdk.mjs" "$folder/sdk.mjs"
    ln -s "$(realpath "$modules")" "$folder/node_modules"
    node "$folder/sdk.mjs" "$base" "$key" || failures=$((failures + 1))
else
    echo "not run: the npm packages openai and @anthropic-ai/sdk are not there"
fi

# harness NAME COMMAND...: a prompt whose answer needs the tool; the tool leaves a file
harness() {
    name=$1
    shift
    mkdir -p "$folder/$name/place" "$folder/$name/home"
    if (cd "$folder/$name/place" && env -i PATH="$PATH" HOME="$folder/$name/home" "$@" </dev/null >"$folder/$name.out" 2>"$folder/$name.err") &&
        grep -q carried-out "$folder/$name/place/carried-out.txt" 2>/dev/null && grep -q 'DONE' "$folder/$name.out"; then
        echo "ok     $name: tool carried out, answer shown"
    else
        echo "FAILED $name"
        tail -n 15 "$folder/$name.out"; tail -n 15 "$folder/$name.err"
        failures=$((failures + 1))
    fi
}
prompt='Run the check and tell what it says.'
if [ -n "$modules" ] && [ -x "$modules/.bin/claude" ]; then
    claude=$(realpath "$modules")/.bin/claude
    harness "Claude Code answered by an OpenAI-dialect model" \
        ANTHROPIC_BASE_URL="$base" ANTHROPIC_AUTH_TOKEN="$key" ANTHROPIC_MODEL=by-openai \
        ANTHROPIC_DEFAULT_HAIKU_MODEL=by-openai CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 \
        timeout 120 "$claude" -p "$prompt" --allowedTools Bash
else
    echo "not run: Claude Code is not there"
fi
if [ -n "$modules" ] && [ -x "$modules/.bin/codex" ]; then
    codex=$(realpath "$modules")/.bin/codex
    name="Codex answered by an Anthropic-dialect model"
    mkdir -p "$folder/$name/home/.codex"
    cat >"$folder/$name/home/.codex/config.toml" <<END
model = "by-anthropic"
model_provider = "distill"
[model_providers.distill]
name = "distill"
base_url = "$base/v1"
env_key = "DISTILL_KEY"
wire_api = "responses"
END
    harness "$name" DISTILL_KEY="$key" \
        timeout 120 "$codex" exec --skip-git-repo-check --sandbox danger-full-access "$prompt"
else
    echo "not run: Codex is not there"
fi
echo "--- what the ledger says"
"$distill" usage --config "$folder/proxy.yaml" --by user,model,dialect || failures=$((failures + 1))
[ "$failures" -eq 0 ] && echo "all of it works" || { echo "$failures parts failed"; exit 1; }
