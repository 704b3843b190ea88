#!/usr/bin/env python3
"""Compares adapters and merged models between this software and PEFT, both ways.

    pip install torch transformers peft
    python scripts/check_formats.py
    python scripts/check_formats.py --distill target/release/distill --example target/debug/examples/adapter_logits

For each family under crates/distill-train/tests/fixtures/peft, and for the encoders of peft-encoders:
an adapter made here gives the same logits in PEFT, beside the model and merged into a model that
transformers loads; an adapter made by PEFT gives the same logits here. With --distill, students of a
run of several families are written by `distill export` as well: PEFT and transformers open the
folders, give our logits, and make the tokens of our prompts. Ends with 1 where a logit differs by
more than 1e-4.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "crates/distill-train/tests/fixtures/peft"
CLASSIFIERS = ROOT / "crates/distill-train/tests/fixtures/peft-encoders"
EXAMPLE = ["cargo", "run", "--quiet", "-p", "distill-student", "--example", "adapter_logits", "--"]
TOKENS = [5, 9, 3, 17, 40, 22, 8, 31, 2, 12, 44]
TOLERANCE = 1e-4

DECODERS = ROOT / "crates/distill-student/tests/fixtures/decoders"
ENCODER = ROOT / "crates/distill-student/tests/fixtures/encoders/bert"
ENCODERS = ["bert", "modernbert"]
NANO = ROOT / "crates/distill-student/assets/nano"
EXPORTED = ["llama", "qwen3", "gemma3_text", "granite", "qwen3_5_text"]
PIPELINE = """name: exports
task: {kind: classify, system: "Name the queue.", prompt: "{{ text }}"}
data: {train: train.csv, gold: label, labels: gold}
teacher: {models: [simulated/frontier], budget_usd: 1.0, simulate: {accuracy: 0.95, seed: 7}}
evals: {test: test.csv, gold: label, controls: []}
student: {target: [TARGETS]}
train:
  decoder: {variant: VARIANT, rank: 4, alpha: 8, epochs: 30, max_steps: 3, batch_tokens: 256, learning_rate: 0.01, base: f32}
  encoder: {epochs: 4, learning_rate: 0.003ADAPTER}
"""


def run(*arguments):
    subprocess.run([*EXAMPLE, *map(str, arguments)], check=True, cwd=ROOT)


def ours(model, adapter, folder):
    out = folder / "logits.safetensors"
    run("logits", model, adapter or "-", ",".join(map(str, TOKENS)), out)
    return load_file(out)["logits"]


def load(model):
    encoder = json.loads((Path(model) / "config.json").read_text())["model_type"] in ENCODERS
    kind = AutoModelForSequenceClassification if encoder else AutoModelForCausalLM
    return kind.from_pretrained(model, dtype=torch.float32, attn_implementation="eager")


def theirs(model, adapter=None):
    loaded = load(model)
    if adapter is not None:
        loaded = PeftModel.from_pretrained(loaded, adapter)
    with torch.no_grad():
        return loaded.eval()(input_ids=torch.tensor([TOKENS])).logits[0].float()


def tiny_model(family, folder):
    """A small random model of a family with the tokenizer and the template of the embedded one."""
    config = AutoConfig.from_pretrained(DECODERS / family)
    config.vocab_size = 2560
    config.max_position_embeddings = 512
    config.bos_token_id = config.pad_token_id = None
    config.eos_token_id = 1
    config.dtype = torch.float32
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=0.1)
    model.save_pretrained(folder)
    for name in ["tokenizer.json", "tokenizer_config.json"]:
        shutil.copy(NANO / name, folder)


def job(folder, variant):
    """A run that trains a student of every family; gives the program's environment."""
    colours = ["amber", "walnut", "cobalt", "cedar", "maple", "copper", "indigo"]
    queues = {"billing": "invoice wrong", "delivery": "parcel late", "refund": "money back"}
    for name, first, rows in [("train.csv", 0, 48), ("test.csv", 48, 12)]:
        lines = ["text,label"]
        for row in range(first, first + rows):
            label, words = list(queues.items())[row % 3]
            lines.append(f"{words} {colours[row % 7]} {row},{label}")
        (folder / name).write_text("\n".join(lines) + "\n")
    for family in EXPORTED:
        if not (folder / family).exists():
            tiny_model(family, folder / family)
    if not (folder / "bert").exists():
        shutil.copytree(ENCODER, folder / "bert")
    targets = [f"./{family}" for family in [*EXPORTED, "bert"]] + ["nano"]
    text = PIPELINE.replace("TARGETS", ", ".join(targets)).replace("VARIANT", variant)
    # In one run the encoder is trained whole, in the other by an adapter.
    text = text.replace("ADAPTER", "" if variant == "lora" else ", adapter: lora")
    (folder / "pipeline.yaml").write_text(text)
    return {**os.environ, "DISTILL_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}


def exported(distill, report):
    """Students of a run, written by `distill export`, against what other programs make of them."""

    def call(*arguments):
        command = [distill, *map(str, arguments)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}:\n{done.stderr}"

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for variant in ["lora", "dora"]:
            environment = job(folder, variant)
            call("run", "pipeline.yaml")
            for family in [*EXPORTED, "nano"]:
                adapter, whole = folder / f"{family}-{variant}", folder / f"{family}-{variant}-whole"
                call("export", "--student", family, "--out", adapter)
                call("export", "--student", family, "--merge", "--precision", "f32", "--out", whole)
                base = adapter / "base" if family == "nano" else folder / family
                here = ours(base, adapter, folder)
                start = theirs(base)
                report(family, variant, "exported, in PEFT", theirs(base, adapter), here, start)
                report(family, variant, "merged, in transformers", theirs(whole), here, start)
                for written in [adapter, whole]:
                    same_prompts(written)
            encoder = folder / f"encoder-{variant}"
            call("export", "--student", "bert", "--out", encoder)
            same_labels(encoder, None if variant == "lora" else folder / "bert")
            if variant == "dora":
                call("export", "--student", "bert", "--merge", "--out", folder / "encoder-whole")
                same_labels(folder / "encoder-whole", None)


def rows_of(written):
    told = json.loads((written / "distill.json").read_text())
    assert told["golden"], "no golden row"
    return told["task"], told["golden"]


def same_prompts(written):
    """The tokenizer and the template of an export make the tokens that the student was asked with."""
    tokenizer = AutoTokenizer.from_pretrained(written)
    task, golden = rows_of(written)
    for row in golden:
        messages = [
            {"role": "system", "content": task["system"]},
            {"role": "user", "content": row["fields"]["text"]},
        ]
        made = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        assert made["input_ids"] == row["tokens"], f"{written}: other tokens"


def same_labels(written, base):
    """An encoder's export gives the student's labels, from the student's tokens."""
    tokenizer = AutoTokenizer.from_pretrained(written)
    task, golden = rows_of(written)
    labels = task["labels"]
    classifier = AutoModelForSequenceClassification.from_pretrained
    if base is None:
        model = classifier(written)
        assert model.config.id2label == dict(enumerate(labels)), f"{written}: other labels"
    else:
        model = PeftModel.from_pretrained(classifier(base, num_labels=len(labels), ignore_mismatched_sizes=True), written)
    model.eval()
    for row in golden:
        made = tokenizer(row["fields"]["text"], return_tensors="pt")
        assert made["input_ids"][0].tolist() == row["tokens"], f"{written}: other tokens"
        with torch.no_grad():
            best = int(model(**made).logits[0].argmax())
        assert labels[best] == row["answer"], f"{written}: another label"
    print(f"{written.name}: {len(golden)} rows have the student's tokens and labels", flush=True)


def main():
    global EXAMPLE
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--distill", help="the program, to check `distill export` as well")
    parser.add_argument("--example", help="the built example adapter_logits; else cargo runs it")
    parser.add_argument("--exports-only", action="store_true")
    arguments = parser.parse_args()
    if arguments.example:
        EXAMPLE = [str(Path(arguments.example).resolve())]
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    worst = 0.0
    print(f"{'family':12} {'kind':8} {'what':32} largest difference in a logit")

    def report(family, kind, what, left, right, base):
        nonlocal worst
        difference = float((left - right).abs().max())
        moved = float((left - base).abs().max())
        assert moved > 1e-2, f"{family}/{kind}: the adapter changes nothing"
        worst = max(worst, difference)
        print(f"{family:12} {kind:8} {what:32} {difference:.1e}", flush=True)

    if arguments.distill:
        exported(str(Path(arguments.distill).resolve()), report)
    families = [] if arguments.exports_only else FIXTURES.iterdir()
    families = sorted(path for path in families if path.is_dir())
    if not arguments.exports_only:
        families += [ENCODER.parent / name for name in ENCODERS]
    for model in families:
        base = theirs(model)
        kinds = ["lora", "rslora", "dora"] + (["saved"] if model.name == "llama" else [])
        for kind in kinds:
            with tempfile.TemporaryDirectory() as folder:
                folder = Path(folder)
                run("make", model, kind, folder / "made")
                here = ours(model, folder / "made", folder)
                there = theirs(model, folder / "made")
                report(model.name, kind, "made here, in PEFT", there, here, base)
                merged = theirs(folder / "made/merged")
                report(model.name, kind, "merged here, in transformers", merged, here, base)
        trained_by_peft = CLASSIFIERS / model.name if model.name in ENCODERS else model
        for config in sorted(trained_by_peft.glob("*/adapter_config.json")):
            with tempfile.TemporaryDirectory() as folder:
                folder = Path(folder)
                shutil.copy(config, folder)
                trained = config.parent / "after/adapter_model.safetensors"
                shutil.copy(trained, folder)
                left, right = theirs(model, folder), ours(model, folder, folder)
                report(model.name, config.parent.name, "trained by PEFT, here", left, right, base)
    print(f"largest {worst:.1e}, allowed {TOLERANCE:.0e}")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
