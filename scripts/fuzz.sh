#!/bin/sh
# Fuzzes the readers of requests and streams, and those of a model's files, one target after the other.
#
#   scripts/fuzz.sh [SECONDS] [TARGET...]     600 seconds of each of chat, responses, messages, streams,
#                                             config, template, weights
#
# Needs cargo-fuzz (cargo install cargo-fuzz). Runs without a sanitizer, so a stable toolchain will do.
# Seeds come from fuzz/seeds; what the fuzzer learns stays in fuzz/corpus, which is not committed. A
# finding ends the run with status 1 and lies in fuzz/artifacts; it becomes a test beside the code that
# it was found in.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-600}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- chat responses messages streams config template weights
for target in "$@"; do
    mkdir -p "fuzz/corpus/$target"
    RUSTC_BOOTSTRAP=1 cargo fuzz run "$target" --sanitizer none \
        "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
        -max_total_time="$seconds" -timeout=10 -max_len=8192 -dict=fuzz/words.txt -print_final_stats=1
done
