"""Sets our generation beside transformers' on this machine, alternating.

    cargo build --release -p distill-student --example generation
    python3 scripts/peers-generate.py [--shape 101m] [--types float32,bfloat16] [--rounds 2]
                                      [--threads 1]

Needs torch and transformers. A random model of the shape is written once per type to a temporary
folder, in the form of transformers; both sides read that folder. Every measured run is a process
of its own. Prompts are the same, greedy, no stop token. Figures are the best of the rounds, in
milliseconds of processor time (of wall clock in brackets). On a machine that does other work too,
read the processor's time at one thread.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
SHAPES = {
    "tiny": dict(hidden_size=192, intermediate_size=512, num_hidden_layers=6, num_attention_heads=6,
                 num_key_value_heads=2, vocab_size=3072),
    "101m": dict(hidden_size=768, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=12,
                 num_key_value_heads=4, vocab_size=32000),
    "0.6b": dict(hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
                 num_key_value_heads=8, head_dim=128, vocab_size=151936),
}
# prompt tokens, new tokens, rows
RUNS = [(256, 0, 1), (16, 32, 1), (16, 32, 8)]


def prompts(rows, tokens, vocabulary):
    state, out = 1, []
    for _ in range(rows * tokens):
        state = (state * 1103515245 + 12345) % 2**31
        out.append((state >> 8) % vocabulary)
    return [out[row * tokens:(row + 1) * tokens] for row in range(rows)]


def peer(folder, prompt_tokens, new_tokens, rows, times):
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    model.generation_config.eos_token_id = None
    ids = torch.tensor(prompts(rows, prompt_tokens, model.config.vocab_size))

    def timed(new):
        best, made = [float("inf")] * 2, None
        for _ in range(times):
            wall, cpu = time.perf_counter(), time.process_time()
            with torch.inference_mode():
                made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new,
                                      min_new_tokens=new, do_sample=False, pad_token_id=0)
            best = [min(best[0], time.perf_counter() - wall), min(best[1], time.process_time() - cpu)]
        return best, made[:, prompt_tokens:prompt_tokens + 12].tolist()

    timed(2)
    prefill, _ = timed(1)
    whole, tokens = timed(1 + new_tokens)
    steps = max(new_tokens, 1)
    print(json.dumps({
        "prefill_wall": prefill[0], "prefill_cpu": prefill[1],
        "step_wall": (whole[0] - prefill[0]) / steps, "step_cpu": (whole[1] - prefill[1]) / steps,
        "tokens": tokens,
    }))


def write_model(folder, shape, kind):
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(7)
    config = Qwen3Config(**SHAPES[shape], max_position_embeddings=2048, tie_word_embeddings=True,
                         eos_token_id=None, bos_token_id=None)
    Qwen3ForCausalLM(config).to(getattr(torch, kind)).save_pretrained(folder)


def run(command, threads):
    sizes = {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env={**os.environ, **sizes}, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def better(best, figures):
    return figures if best is None else {
        key: min(best[key], value) if isinstance(value, float) else value for key, value in figures.items()
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", default="101m", choices=SHAPES)
    parser.add_argument("--types", default="float32,bfloat16")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ours", default=str(ROOT / "target/release/examples/generation"))
    parser.add_argument("--peer", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        return peer(options.peer[0], *map(int, options.peer[1:]))
    print("| type | what | ours ms | transformers ms | ratio | same tokens |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.types.split(","):
            model = str(pathlib.Path(folder) / kind)
            write_model(model, options.shape, kind)
            for prompt, new, rows in RUNS:
                best = [None, None]
                for _ in range(options.rounds):
                    sizes = [model, str(prompt), str(new), str(rows), "2"]
                    commands = [[options.ours, *sizes], [sys.executable, __file__, "--peer", *sizes]]
                    best = [better(one, run(command, options.threads)) for one, command in zip(best, commands)]
                part = "step" if new else "prefill"
                what = f"step of {rows} row{'s' * (rows > 1)}" if new else f"prompt of {prompt}"
                ours, theirs = ([side[f"{part}_cpu"] * 1e3, side[f"{part}_wall"] * 1e3] for side in best)
                same = sum(a == b for a, b in zip(best[0]["tokens"], best[1]["tokens"]))
                print(f"| {kind} | {what} | {ours[0]:.1f} ({ours[1]:.1f}) | {theirs[0]:.1f} ({theirs[1]:.1f}) "
                      f"| {theirs[0] / ours[0]:.2f} | {same} of {rows} |", flush=True)


main()
