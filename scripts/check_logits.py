#!/usr/bin/env python3
"""Compares logits with transformers' on random models of every family, outside the fixtures.

    pip install torch transformers safetensors
    python scripts/check_logits.py [--models 30] [--seed 1]

Each model has drawn sizes, rotation and weights; one row of up to 1,000 tokens goes through it in f32
here and there. A logit may differ by 1e-4 of the largest one, or by 1e-4 where that is below 1.
Where a model comes near to that, the line also says how far transformers is from itself in f64.
Ends with 1 where one differs by more.
"""

import argparse
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts/fixtures"))
from decoders import randomise  # noqa: E402

VOCABULARY = 67
LENGTHS = [40, 150, 150, 400, 1000]
TOLERANCE = 1e-4
THETAS = [1e4, 5e5, 1e6, 5e6, 700.0, 150000.0]


class Draw:
    """Configurations, one after another."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def shape(self, width=None):
        pick = self.random.choice
        return dict(
            vocab_size=VOCABULARY,
            hidden_size=width or pick([32, 48, 64]),
            intermediate_size=pick([44, 80]),
            num_hidden_layers=pick([2, 4, 6]),
            num_attention_heads=4,
            num_key_value_heads=pick([1, 2, 4]),
            max_position_embeddings=2048,
            pad_token_id=None,
            bos_token_id=None,
            eos_token_id=None,
        )

    def plain(self):
        return dict(rope_type="default", rope_theta=self.random.choice(THETAS))

    def rope(self):
        theta = self.random.choice(THETAS)
        return self.random.choice(
            [
                dict(rope_type="default", rope_theta=theta),
                dict(rope_type="linear", rope_theta=theta, factor=4.0),
                dict(
                    rope_type="llama3",
                    rope_theta=theta,
                    factor=8.0,
                    low_freq_factor=1.0,
                    high_freq_factor=4.0,
                    original_max_position_embeddings=256,
                ),
                dict(
                    rope_type="yarn",
                    rope_theta=theta,
                    factor=4.0,
                    original_max_position_embeddings=512,
                ),
            ]
        )

    def config(self):
        pick = self.random.choice
        family = pick(
            "llama mistral smollm3 qwen2 qwen3 gemma2 gemma3_text phi3 granite qwen3_5_text".split()
        )
        head = pick([8, 16, 32])
        shape = self.shape(64 if family in ("smollm3", "granite", "phi3") else None)
        layers = shape["num_hidden_layers"]
        if family == "llama":
            return transformers.LlamaConfig(**shape, head_dim=head, rope_parameters=self.rope())
        if family == "mistral":
            return transformers.MistralConfig(
                **shape,
                head_dim=head,
                sliding_window=pick([None, 33, 200]),
                rope_parameters=self.rope(),
            )
        if family == "smollm3":
            return transformers.SmolLM3Config(
                **shape,
                use_sliding_window=False,
                no_rope_layers=[1, 0] * (layers // 2),
                rope_parameters=self.plain(),
            )
        if family == "qwen2":
            return transformers.Qwen2Config(
                **shape, head_dim=head, tie_word_embeddings=True, rope_parameters=self.rope()
            )
        if family == "qwen3":
            return transformers.Qwen3Config(**shape, head_dim=head, rope_parameters=self.rope())
        if family == "gemma2":
            return transformers.Gemma2Config(
                **shape,
                head_dim=head,
                query_pre_attn_scalar=head,
                sliding_window=40,
                attn_logit_softcapping=50.0,
                final_logit_softcapping=30.0,
                rope_parameters=self.plain(),
            )
        if family == "gemma3_text":
            return transformers.Gemma3TextConfig(
                **shape,
                head_dim=head,
                query_pre_attn_scalar=head,
                sliding_window=40,
                layer_types=["sliding_attention", "full_attention"] * (layers // 2),
                rope_parameters={
                    "full_attention": dict(rope_type="linear", factor=8.0, rope_theta=1e6),
                    "sliding_attention": dict(rope_type="default", rope_theta=1e4),
                },
            )
        if family == "phi3":
            return transformers.Phi3Config(
                **shape,
                sliding_window=None,
                tie_word_embeddings=False,
                original_max_position_embeddings=128,
                rope_parameters=dict(
                    rope_type="longrope",
                    rope_theta=1e4,
                    partial_rotary_factor=1.0,
                    short_factor=[1 + 0.05 * pair for pair in range(8)],
                    long_factor=[1 + 0.4 * pair for pair in range(8)],
                ),
            )
        if family == "granite":
            return transformers.GraniteConfig(
                **shape,
                embedding_multiplier=3.0,
                residual_multiplier=0.4,
                attention_multiplier=0.25,
                logits_scaling=2.0,
                rope_parameters=self.plain(),
            )
        return transformers.Qwen3_5TextConfig(
            **shape,
            head_dim=16,
            layer_types=["linear_attention", "full_attention"] * (layers // 2),
            linear_key_head_dim=16,
            linear_value_head_dim=16,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            rope_parameters=dict(
                self.plain(),
                partial_rotary_factor=0.5,
                mrope_section=[2, 1, 1],
                mrope_interleaved=True,
            ),
        )


def ours(binary, folder, tokens):
    out = folder / "logits.safetensors"
    tokens = ",".join(map(str, tokens))
    subprocess.run([binary, "logits", folder, "-", tokens, out], check=True)
    return load_file(out)["logits"]


@torch.no_grad()
def check(binary, config, folder, seed):
    config._attn_implementation = "eager"
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config).eval().float()
    randomise(model)
    model.save_pretrained(folder)
    length = LENGTHS[seed % len(LENGTHS)]
    tokens = torch.randint(VOCABULARY, (length,)).tolist()
    logits = lambda model: model(input_ids=torch.tensor([tokens])).logits[0]
    expected = logits(model)
    scale = max(1.0, expected.abs().max().item())
    off = (ours(binary, folder, tokens) - expected).abs().max().item() / scale
    note = ""
    if off > TOLERANCE / 3:
        double = logits(copy.deepcopy(model).double())
        own = (expected - double).abs().max().item() / scale
        note = f"; transformers from itself in f64: {own:.1e}"
    layers = config.num_hidden_layers
    print(f"{config.model_type}, {layers} layers, {length} tokens: {off:.1e}{note}")
    return off


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--models", type=int, default=30)
    arguments.add_argument("--seed", type=int, default=1)
    arguments = arguments.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    build = ["cargo", "build", "-q", "-p", "distill-student", "--example", "adapter_logits"]
    subprocess.run(build, check=True, cwd=ROOT)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = target / "debug/examples/adapter_logits"
    draw = Draw(arguments.seed)
    worst = 0.0
    for index in range(arguments.models):
        folder = Path(tempfile.mkdtemp())
        try:
            seed = arguments.seed * 1000 + index
            worst = max(worst, check(binary, draw.config(), folder, seed))
        finally:
            shutil.rmtree(folder)
    print(f"largest difference of {arguments.models} models: {worst:.1e} of the largest logit")
    if worst > TOLERANCE:
        sys.exit(1)


if __name__ == "__main__":
    main()
