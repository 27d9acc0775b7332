"""Where models/llama70b-h100x8 and llama70b-a100x8 come from: least squares on the public Splitwise measurements.

python -m benchmarks.splitwise

Patel et al., "Splitwise" (ISCA 2024), measurements of mutinifni/splitwise-sim (MIT): llama2-70b on
h100-80gb and a100-80gb, tensor parallel 8. Two ordinary least-squares fits over all rows of a case:
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
CASES = {
    "llama70b-h100x8": ("llama2-70b", "h100-80gb", "8"),
    "llama70b-a100x8": ("llama2-70b", "a100-80gb", "8"),
}
"""Model, hardware and tensor parallelism of each unit type."""
NAMES = ("alpha_s", "beta_s", "kappa_s", "gamma_s")


def measurements(unit: str) -> dict[str, np.ndarray]:
    """Rows of a type's case: batch, prompt and output tokens, seconds a token and a prompt."""
    with gzip.open(SOURCE, "rt") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["model"], row["hardware"], row["tensor_parallel"]) == CASES[unit]
        ]
    keys = ("batch_size", "prompt_size", "token_size", "token_time", "prompt_time")
    return {key: np.array([float(row[key]) for row in rows]) for key in keys}


def fitted(y: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, float]:
    """Coefficients (the intercept first) and the share of the variance that they explain."""
    x = np.stack([np.ones_like(y), *columns], axis=1)
    found, *_ = np.linalg.lstsq(x, y, rcond=None)
    return found, float(1 - ((y - x @ found) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def coefficients(unit: str) -> tuple[dict[str, float], tuple[float, float], int]:
    """The fit, R^2 of decoding and reading, and the number of measurements."""
    rows = measurements(unit)
    batch, prompt, output = (rows[k] for k in ("batch_size", "prompt_size", "token_size"))
    decode, decode_r2 = fitted(rows["token_time"] / 1e3, batch, batch * (prompt + output / 2))
    read, read_r2 = fitted(rows["prompt_time"] / 1e3, batch * prompt)
    values = (*decode, read[1])
    found = dict(zip(NAMES, map(float, values), strict=True))
    return found, (decode_r2, read_r2), batch.size


def markdown() -> str:
    lines = [
        "## The unit types llama70b-h100x8 and llama70b-a100x8",
        "",
        "Least squares on public measurements (Splitwise, llama2-70b, tensor parallel 8)."
        " `python -m benchmarks.splitwise`",
        "",
        "| unit type | coefficient | fitted | unit.toml | of measurements | R² |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for unit in CASES:
        found, (decode_r2, read_r2), count = coefficients(unit)
        profile = load_unit_type(ROOT / "models", unit).profile
        assert isinstance(profile, GenerativeProfile)
        for name in NAMES:
            r2 = read_r2 if name == "gamma_s" else decode_r2
            held = getattr(profile, name)
            lines.append(
                f"| {unit} | {name} | {found[name]:.3g} | {held:.3g} | {count} | {r2:.3f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if not SOURCE.exists():
        sys.exit(f"no measurements at {SOURCE}: nothing is fitted")
    print(markdown())
