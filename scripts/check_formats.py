#!/usr/bin/env python3
"""Compares adapters and merged models between this software and PEFT, both ways.

    pip install torch transformers peft
    python scripts/check_formats.py

For each family under crates/distill-train/tests/fixtures/peft: an adapter made here gives the same
logits in PEFT, beside the model and merged into a model that transformers loads; an adapter made
by PEFT gives the same logits here. Ends with 1 where a logit differs by more than 1e-4.
"""

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
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "crates/distill-train/tests/fixtures/peft"
EXAMPLE = ["cargo", "run", "--quiet", "-p", "distill-student", "--example", "adapter_logits", "--"]
TOKENS = [5, 9, 3, 17, 40, 22, 8, 31, 2, 12, 44]
TOLERANCE = 1e-4


def run(*arguments):
    subprocess.run([*EXAMPLE, *map(str, arguments)], check=True, cwd=ROOT)


def ours(model, adapter, folder):
    out = folder / "logits.safetensors"
    run("logits", model, adapter or "-", ",".join(map(str, TOKENS)), out)
    return load_file(out)["logits"]


def load(model):
    return AutoModelForCausalLM.from_pretrained(
        model, dtype=torch.float32, attn_implementation="eager"
    )


def theirs(model, adapter=None):
    loaded = load(model)
    if adapter is not None:
        loaded = PeftModel.from_pretrained(loaded, adapter)
    with torch.no_grad():
        return loaded.eval()(input_ids=torch.tensor([TOKENS])).logits[0].float()


def main():
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

    for model in sorted(path for path in FIXTURES.iterdir() if path.is_dir()):
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
        for config in sorted(model.glob("*/adapter_config.json")):
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
