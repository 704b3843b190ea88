#!/usr/bin/env python3
"""Trains the same adapters on the same models and rows with distill and with PyTorch +
transformers + peft, by turns, and lays time, memory and losses side by side.

    python3 -m venv venv && venv/bin/pip install torch transformers peft
    cargo build --release -p distill-cli --bin distill
    venv/bin/python scripts/peers-train.py --distill target/release/distill

Both load one folder of random weights in transformers' format and one PEFT adapter (rank 16 on
every projection), and take the same four rows in every step with AdamW at a constant rate. The
peer pads and makes every logit, as it does by default; `--compile` adds it under torch.compile.
Each measurement is a process of its own. Processor time is of steps only, without loading and
without the first steps, which prepare; figures are medians over all rounds.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIDDLE = dict(
    kind="llama", vocab_size=32768, hidden_size=768, intermediate_size=2048,
    num_hidden_layers=12, num_attention_heads=12, num_key_value_heads=4,
    max_position_embeddings=2048, tie_word_embeddings=True,
)
QWEN3 = dict(
    kind="qwen3", vocab_size=151936, hidden_size=1024, intermediate_size=3072,
    num_hidden_layers=28, num_attention_heads=16, num_key_value_heads=8, head_dim=128,
    max_position_embeddings=40960, tie_word_embeddings=True,
)
TINY = dict(
    kind="llama", vocab_size=512, hidden_size=64, intermediate_size=128,
    num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    max_position_embeddings=512, tie_word_embeddings=True,
)
DENSE = dict(lengths=[256] * 4, prompt_percent=0)
# The mean order statistics of four uniform draws between 64 and 256.
REAL = dict(lengths=[218, 102, 179, 141], prompt_percent=70)
CASES = {
    "tiny": (TINY, REAL),
    "101m-dense": (MIDDLE, DENSE),
    "101m": (MIDDLE, REAL),
    "qwen3-0.6b": (QWEN3, REAL),
}
RATE = 1e-3


def rows_of(case):
    model, shape = CASES[case]
    draw = random.Random(2)
    return [
        {
            "tokens": [draw.randrange(model["vocab_size"]) for _ in range(length)],
            "loss_from": max(1, length * shape["prompt_percent"] // 100),
        }
        for length in shape["lengths"]
    ]


def prepare(folder, case, held):
    """Writes the model and its adapter, where they are not there yet."""
    import torch
    import transformers
    from peft import LoraConfig, get_peft_model

    fields = dict(CASES[case][0])
    kinds = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    }
    config, model = kinds[fields.pop("kind")]
    torch.manual_seed(1)
    model = model(config(**fields))
    adapter = folder / "adapter"
    if not adapter.exists():
        torch.manual_seed(3)
        lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        get_peft_model(model, lora).save_pretrained(adapter)
        torch.manual_seed(1)
        model = kinds[CASES[case][0]["kind"]][1](config(**fields))
    dtype = torch.bfloat16 if held == "bf16" else torch.float32
    model.to(dtype).save_pretrained(folder / held)


def peak_bytes():
    """Of this program alone: getrusage's begins at that of whoever started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def train(folder, held, steps, warm, compiled, device, repeat):
    """The peer, in a process of its own; prints one JSON line."""
    import torch
    import transformers
    from peft import PeftModel

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    dtype = torch.bfloat16 if held == "bf16" else torch.float32
    base = transformers.AutoModelForCausalLM.from_pretrained(folder / held, dtype=dtype)
    model = PeftModel.from_pretrained(base, folder / "adapter", is_trainable=True)
    model.to(device).train()
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()] * repeat
    longest = max(len(row["tokens"]) for row in rows)
    shape = (len(rows), longest)
    tokens = torch.zeros(shape, dtype=torch.long)
    mask = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, -100, dtype=torch.long)
    for index, row in enumerate(rows):
        length, start = len(row["tokens"]), row["loss_from"]
        tokens[index, :length] = torch.tensor(row["tokens"])
        mask[index, :length] = 1
        labels[index, start:length] = tokens[index, start:length]
    tokens, mask, labels = (tensor.to(device) for tensor in (tokens, mask, labels))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    forward = torch.compile(model) if compiled else model
    figures = []
    for _ in range(warm + steps):
        wall, cpu = time.perf_counter(), time.process_time()
        optimizer.zero_grad(set_to_none=True)
        loss = forward(input_ids=tokens, attention_mask=mask, labels=labels, use_cache=False).loss
        loss.backward()
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        figures.append({
            "loss": loss.item(),
            "cpu_seconds": time.process_time() - cpu,
            "wall_seconds": time.perf_counter() - wall,
        })
    print(json.dumps({"steps": figures, "peak_bytes": peak_bytes()}))


def child(command, threads, folder):
    environment = dict(
        os.environ,
        OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads),
        RAYON_NUM_THREADS=str(threads), HF_HUB_OFFLINE="1",
        TOKENIZERS_PARALLELISM="false", TORCHINDUCTOR_CACHE_DIR=str(folder / "inductor"),
    )
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    return done.stdout


class Trainer:
    """One way to train, and what was measured of it."""

    def __init__(self, name, command, warm):
        self.name, self.command, self.warm = name, command, warm
        self.runs = []

    def run(self, threads, folder):
        result = json.loads(child(self.command, threads, folder).splitlines()[-1])
        self.runs.append(result)

    def losses(self, count):
        return [step["loss"] for step in self.runs[0]["steps"][:count]]

    def median(self, field):
        steps = [step for run in self.runs for step in run["steps"][self.warm:]]
        return statistics.median(step[field] for step in steps)

    def peak(self):
        return max(run["peak_bytes"] for run in self.runs)


def trainers(arguments, folder, held):
    steps = str(arguments.steps)
    ours = [
        arguments.distill, "bench", "train", "--model", str(folder / held),
        "--examples", str(folder / "rows.jsonl"), "--adapter", str(folder / "adapter"),
        "--held", held, "--steps", steps, "--learning-rate", str(RATE), "--format", "json",
        "--device", arguments.device, "--repeat", str(arguments.repeat),
    ]
    theirs = [
        sys.executable, __file__, "--child", str(folder), "--held", held, "--steps", steps,
        "--device", arguments.device, "--repeat", str(arguments.repeat),
    ]
    found = [Trainer("distill", ours, 1), Trainer("torch + peft", [*theirs, "--warm", "1"], 1)]
    if arguments.compile:
        found.append(Trainer("torch compiled", [*theirs, "--warm", "3", "--compiled"], 3))
    return found


def compare(arguments, folder, case, held, threads, first_losses):
    tokens = sum(CASES[case][1]["lengths"]) * arguments.repeat
    found = trainers(arguments, folder, held)
    for _ in range(arguments.rounds):
        for trainer in found:
            trainer.run(threads, folder)
    ours, theirs = found[0], found[1]
    count = arguments.steps + 1
    reference = first_losses.setdefault(case, theirs.losses(count))
    for trainer in found:
        cpu, wall = trainer.median("cpu_seconds"), trainer.median("wall_seconds")
        apart = max(abs(a - b) / b for a, b in zip(trainer.losses(count), reference))
        print(
            f"{case:<12} {held:<5} {threads:>7} {trainer.name:<15} {cpu:>12.2f} "
            f"{tokens / cpu:>14.1f} {tokens / wall:>9.1f} {trainer.peak() / 1e6:>8.0f} MB "
            f"{trainer.median('cpu_seconds') / ours.median('cpu_seconds'):>6.2f}x "
            f"{apart:>9.1e}",
            flush=True,
        )
    return {
        "case": case, "held": held, "threads": threads,
        "trainers": {trainer.name: trainer.runs for trainer in found},
    }


def table(arguments, folder):
    print(f"{'':<64} {'tokens per':>10} {'tokens/s':>13} {'':>7} {'CPU of':>11} {'loss from':>10}")
    print(
        f"{'case':<12} {'held':<5} {'threads':>7} {'trainer':<15} {'CPU-s a step':>12} "
        f"{'CPU-s':>14} {'(wall)':>9} {'peak':>11} {'ours':>7} {'torch f32':>9}"
    )
    results, first_losses = [], {}
    for case in arguments.case:
        place = folder / case
        place.mkdir(exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in rows_of(case))
        (place / "rows.jsonl").write_text(lines)
        for held in arguments.held:
            if not (place / held).exists():
                command = [sys.executable, __file__, "--prepare", str(place), case, "--held", held]
                child(command, 1, place)
            for threads in arguments.threads:
                results.append(compare(arguments, place, case, held, threads, first_losses))
    print("\nlosses, step by step")
    for result in results:
        for name, runs in result["trainers"].items():
            losses = " ".join(f"{step['loss']:.5f}" for step in runs[0]["steps"])
            print(f"{result['case']:<12} {result['held']:<5} {result['threads']:>2} {name:<15} {losses}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--distill", help="the program to measure")
    parser.add_argument("--case", nargs="+", default=["101m-dense", "101m", "qwen3-0.6b"], choices=CASES)
    parser.add_argument("--held", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="also under torch.compile")
    parser.add_argument("--folder", type=Path, help="keeps the models for another time")
    parser.add_argument("--json", help="also writes every figure to this file")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--repeat", type=int, default=1, help="how often the rows are taken in a step")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--warm", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--compiled", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        train(
            arguments.child, arguments.held[0], arguments.steps, arguments.warm, arguments.compiled,
            arguments.device, arguments.repeat,
        )
    elif arguments.prepare:
        prepare(Path(arguments.prepare[0]), arguments.prepare[1], arguments.held[0])
    elif not arguments.distill:
        parser.error("--distill says which program to measure")
    elif arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        table(arguments, arguments.folder)
    else:
        with tempfile.TemporaryDirectory() as folder:
            table(arguments, Path(folder))


if __name__ == "__main__":
    main()
