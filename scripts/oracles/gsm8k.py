"""What public implementations say about four models' recorded answers to the GSM8K test questions.

    python -m venv venv && venv/bin/pip install numpy==2.4.6 scipy==1.17.1 statsmodels==0.15.0
    DISTILL_DATA_DIR=... venv/bin/python scripts/oracles/gsm8k.py > crates/distill-eval/fixtures/gsm8k.json

Reads `gsm8k/example_model_solutions.jsonl` under DISTILL_DATA_DIR. The test that holds the values
reads the same file, and needs no Python.
"""

import itertools
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

from numpy import poly1d, sqrt
from scipy.optimize import brentq
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

PACKAGES = ["numpy", "scipy", "statsmodels"]
CONFIDENCE = 0.95


def score(b, c, n, delta):
    """Tango's (1998) statistic; the restricted share of the baseline-only cell is the root of the
    likelihood's derivative that is a possible share."""
    q = poly1d([1, 0])
    p, rest = q + delta, 1 - delta - 2 * q
    derivative = b * q * rest + c * p * rest - 2 * (n - b - c) * p * q
    low, high = max(0.0, -delta), (1 - delta) / 2
    share = next(root.real for root in derivative.roots if low - 1e-12 <= root.real <= high + 1e-12 and abs(root.imag) < 1e-9)
    return (b - c - n * delta) / sqrt(n * (2 * share + delta * (1 - delta)))


def compare(first, second):
    b = sum(one and not other for one, other in zip(first, second))
    c = sum(other and not one for one, other in zip(first, second))
    n, z = len(first), norm.ppf((1 + CONFIDENCE) / 2)
    estimate = (b - c) / n
    low, high = (brentq(lambda delta: score(b, c, n, delta) - side * z, *bounds, xtol=1e-14)
                 for side, bounds in [(1, (estimate - 0.2, estimate - 1e-9)), (-1, (estimate + 1e-9, estimate + 0.2))])
    return {"only_candidate": b, "only_baseline": c, "difference": estimate, "low": low, "high": high,
            "mcnemar_p": mcnemar([[0, b], [c, 0]], exact=True).pvalue}


def main():
    path = Path(os.environ["DISTILL_DATA_DIR"]) / "gsm8k" / "example_model_solutions.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    models = [name for name in rows[0] if name not in ("question", "ground_truth")]
    right = {model: [row[model]["is_correct"] for row in rows] for model in models}
    document = {"made_with": {package: version(package) for package in PACKAGES}, "confidence": CONFIDENCE,
                "models": {}, "pairs": []}
    for model in models:
        low, high = proportion_confint(sum(right[model]), len(rows), alpha=1 - CONFIDENCE, method="wilson")
        document["models"][model] = {"right": sum(right[model]), "n": len(rows), "low": low, "high": high}
    for first, second in itertools.combinations(models, 2):
        document["pairs"].append({"candidate": first, "baseline": second, **compare(right[first], right[second])})
    json.dump(document, sys.stdout, indent=1, default=float)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
