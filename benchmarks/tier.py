"""`make bench-tier`: the tier against the bare session, ratios within one run.

python -m benchmarks.tier [seconds a point]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx

from actuators.onnx_tier.demo_models import mlp_classifier
from actuators.onnx_tier.launch import start_tier
from actuators.onnx_tier.session import open_session
from actuators.onnx_tier.spec import TierService, TierSpec
from benchmarks.tier_load import infer_request, load
from forecaster.domain.profile import ClassicProfile, UnitType

SIZES = {"mlp 12 MB": (768, 6), "mlp 34 MB": (1280, 6)}
ROUNDS = 5


def bare(path: Path, features: np.ndarray, seconds: float) -> tuple[float, float]:
    """p50 of a loop around ``session.run``, and its requests/s."""
    session = open_session(path, "cpu", 1)
    times = []
    until_s = time.perf_counter() + seconds
    while (began_s := time.perf_counter()) < until_s:
        session.run(None, {"features": features})
        times.append(time.perf_counter() - began_s)
    return float(np.median(times)), 1.0 / float(np.mean(times))


def main(seconds: float) -> str:
    features = np.random.default_rng(1).standard_normal((1, 64)).astype(np.float32)
    lines = [
        "## The tier against the bare session",
        "",
        f"V2 with binary tensors over HTTP, one unit of one thread; medians of {ROUNDS} interleaved rounds of"
        f" {seconds:g} s. `make bench-tier`",
        "",
        "| model | bare p50 ms | tier p50 ms | added ms | ratio | bare requests/s | 64 clients, requests/s | x bare |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, (width, layers) in SIZES.items():
            path = Path(folder) / name / "model.onnx"
            path.parent.mkdir()
            onnx.save_model(mlp_classifier(width, layers), path)
            lines.append(measure(name, path, features, seconds, Path(folder) / f"{name}-home"))
    return "\n".join(lines) + "\n"


def measure(name: str, path: Path, features: np.ndarray, seconds: float, home: Path) -> str:
    unit = UnitType(name, ClassicProfile(((1, 3e-4), (32, 1e-3))))
    request = infer_request("m", features)
    found = []
    with start_tier(TierSpec(home, (TierService("m", unit, path),)), home / "log") as tier:
        with tier.actuator() as actuator:
            actuator.prewarm("m", 1, reason="benchmark", order_key="1")
            while not actuator.observe("m").ready:
                pass
        load(tier.url, request, 1, 0.3)
        for _ in range(ROUNDS):
            alone_s, alone_rps = bare(path, features, seconds)
            p50_s, _, _ = load(tier.url, request, 1, seconds)
            _, _, rps = load(tier.url, request, 64, seconds)
            found.append(
                (alone_s, p50_s, p50_s - alone_s, p50_s / alone_s, alone_rps, rps, rps / alone_rps)
            )
    a, b, added, ratio, alone_rps, rps, times = np.median(np.array(found), axis=0)
    return (
        f"| {name} | {1e3 * a:.3f} | {1e3 * b:.3f} | {1e3 * added:.3f} | {ratio:.2f} |"
        f" {alone_rps:,.0f} | {rps:,.0f} | {times:.1f} |"
    )


if __name__ == "__main__":
    print(main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0))
