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

SIZES = {"mlp 5 MB": (512, 6), "mlp 12 MB": (768, 6), "mlp 34 MB": (1280, 6)}
ROUNDS = 5


PAUSE_S = 3e-4
"""A unit is called when a request comes, not in a loop: its caches have cooled by then."""


def bare(path: Path, features: np.ndarray, seconds: float, pause_s: float) -> tuple[float, float]:
    """p50 of ``session.run`` in a loop with pauses, and its calls/s without them."""
    session = open_session(path, "cpu", 1)
    times = []
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        if pause_s:
            time.sleep(pause_s)
        began_s = time.perf_counter()
        session.run(None, {"features": features})
        times.append(time.perf_counter() - began_s)
    return float(np.median(times)), 1.0 / float(np.mean(times))


def main(seconds: float) -> str:
    features = np.random.default_rng(1).standard_normal((1, 64)).astype(np.float32)
    lines = [
        "## The tier against the bare session",
        "",
        f"V2 with binary tensors over HTTP, one unit of one thread; medians of {ROUNDS} interleaved rounds of"
        f" {seconds:g} s; *paced*: 0.3 ms between calls, so that caches cool as a unit's do. `make bench-tier`",
        "",
        "| model | bare loop p50 ms | bare, paced | tier | tier - loop | tier - paced | bare calls/s |"
        " 64 clients, requests/s | x bare |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
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
            alone_s, alone_rps = bare(path, features, seconds, 0.0)
            paced_s, _ = bare(path, features, seconds, PAUSE_S)
            p50_s, _, _ = load(tier.url, request, 1, seconds)
            _, _, rps = load(tier.url, request, 64, seconds)
            row = (alone_s, paced_s, p50_s, p50_s - alone_s, p50_s - paced_s, alone_rps, rps)
            found.append((*row, rps / alone_rps))
    alone_s, paced_s, p50_s, added_s, over_paced_s, alone_rps, rps, times = np.median(found, axis=0)
    milliseconds = " | ".join(
        f"{1e3 * each:.3f}" for each in (alone_s, paced_s, p50_s, added_s, over_paced_s)
    )
    return f"| {name} | {milliseconds} | {alone_rps:,.0f} | {rps:,.0f} | {times:.1f} |"


if __name__ == "__main__":
    print(main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0))
