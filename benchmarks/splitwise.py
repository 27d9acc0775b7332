"""Where models/llama70b-h100x8 comes from: least squares on the public Splitwise measurements.

python -m benchmarks.splitwise

Patel et al., "Splitwise" (ISCA 2024), measurements of mutinifni/splitwise-sim (MIT): llama2-70b on
h100-80gb, tensor parallel 8. Two ordinary least-squares fits over all rows of that case:
``token_time = alpha + beta b + kappa b (P + N/2)`` and ``prompt_time = intercept + gamma b P``, with b
the batch, P the prompt and N the output tokens. The intercept of the second is not used: in a step that
decodes as well it is alpha.
"""

from __future__ import annotations

import csv
import gzip
import sys
from pathlib import Path

import numpy as np

from forecaster.config import load_unit_type
from forecaster.domain.profile import GenerativeProfile

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT.parent / "shared" / "traces" / "service_times" / "splitwise_perf.csv.gz"
CASE = ("llama2-70b", "h100-80gb", "8")
NAMES = ("alpha_s", "beta_s", "kappa_s", "gamma_s")


def measurements() -> dict[str, np.ndarray]:
    """Rows of the case: batch, prompt and output tokens, seconds a token and a prompt."""
    with gzip.open(SOURCE, "rt") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["model"], row["hardware"], row["tensor_parallel"]) == CASE
        ]
    keys = ("batch_size", "prompt_size", "token_size", "token_time", "prompt_time")
    return {key: np.array([float(row[key]) for row in rows]) for key in keys}


def fitted(y: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, float]:
    """Coefficients (the intercept first) and the share of the variance that they explain."""
    x = np.stack([np.ones_like(y), *columns], axis=1)
    found, *_ = np.linalg.lstsq(x, y, rcond=None)
    return found, float(1 - ((y - x @ found) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def coefficients() -> tuple[dict[str, float], tuple[float, float], int]:
    """The fit, R^2 of decoding and reading, and the number of measurements."""
    rows = measurements()
    batch, prompt, output = (rows[k] for k in ("batch_size", "prompt_size", "token_size"))
    decode, decode_r2 = fitted(rows["token_time"] / 1e3, batch, batch * (prompt + output / 2))
    read, read_r2 = fitted(rows["prompt_time"] / 1e3, batch * prompt)
    values = (*decode, read[1])
    found = dict(zip(NAMES, map(float, values), strict=True))
    return found, (decode_r2, read_r2), batch.size


def markdown() -> str:
    found, (decode_r2, read_r2), count = coefficients()
    profile = load_unit_type(ROOT / "models", "llama70b-h100x8").profile
    assert isinstance(profile, GenerativeProfile)
    lines = [
        "## The unit type llama70b-h100x8",
        "",
        f"Least squares on {count} public measurements (Splitwise, llama2-70b, H100, tensor parallel 8);"
        f" R² {decode_r2:.3f} for decoding, {read_r2:.3f} for reading. `python -m benchmarks.splitwise`",
        "",
        "| coefficient | fitted | models/llama70b-h100x8/unit.toml |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {name} | {found[name]:.3g} | {getattr(profile, name):.3g} |" for name in NAMES]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if not SOURCE.exists():
        sys.exit(f"no measurements at {SOURCE}: nothing is fitted")
    print(markdown())
