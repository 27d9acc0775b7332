"""How soon a unit answers: tiny, 100 MB and 1 GB models, against the time to read the file.

python -m benchmarks.tier_start [largest model, MB]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx

from actuators.onnx_tier.client import OnnxTierActuator
from actuators.onnx_tier.demo_models import mlp_classifier
from actuators.onnx_tier.launch import start_tier
from actuators.onnx_tier.spec import TierService, TierSpec
from actuators.onnx_tier.stages import prefetch
from benchmarks.tier_load import infer_request, load
from forecaster.domain.profile import ClassicProfile, UnitType

SIZES_MB = {1: (256, 4), 100: (2500, 5), 1000: (5000, 11)}
STARTS = 3
UNIT = UnitType("m", ClassicProfile(((1, 1e-3),)), lead_time_s=5.0)


def read_s(path: Path) -> float:
    began_s = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 24):
            pass
    return time.perf_counter() - began_s


def evict(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def start(actuator: OnnxTierActuator, number: int) -> float:
    actuator.prewarm("m", 1, reason="benchmark", order_key=str(number))
    while not (fleet := actuator.observe("m")).ready:
        time.sleep(0.001)
    return float(fleet.units[-1].lead_time_s or 0.0)


def drain(actuator: OnnxTierActuator, number: int) -> None:
    actuator.drain("m", 1, reason="benchmark", order_key=str(number))
    while actuator.observe("m").units:
        time.sleep(0.001)


def measure(size_mb: int, path: Path, home: Path) -> str:
    weights = path.parent / "model.data"
    features = np.zeros((1, 64), np.float32)
    request = infer_request("m", features)
    with (
        start_tier(TierSpec(home, (TierService("m", UNIT, path),)), home / "log") as tier,
        tier.actuator() as actuator,
    ):
        start(actuator, 0)
        drain(actuator, 0)
        limits, leads = [], []
        for number in range(1, STARTS + 1):
            limits.append(read_s(weights))
            leads.append(start(actuator, number))
            first_s, _, _ = load(tier.url, request, 1, 0.3)
            drain(actuator, number)
        evict(weights)
        cold_read_s = read_s(weights)
        evict(weights)
        cold_s = start(actuator, 99)
        while size_mb > 40 and not actuator.stats()["packed_s"]:
            time.sleep(0.01)
        steady_s, _, _ = load(tier.url, request, 1, 1.0)
        packed = list(actuator.stats()["packed_s"].values())
    limit_s, lead_s = float(np.median(limits)), float(np.median(leads))
    packed_text = f"{1e3 * packed[0]:.0f}" if packed else "-"
    return (
        f"| {size_mb} | {1e3 * limit_s:.0f} | {1e3 * lead_s:.0f} | {lead_s / limit_s:.2f} |"
        f" {1e3 * cold_read_s:.0f} | {1e3 * cold_s:.0f} | {cold_s / cold_read_s:.2f} | {packed_text} |"
        f" {1e3 * first_s:.2f} | {1e3 * steady_s:.2f} |"
    )


def main(largest_mb: int) -> str:
    lines = [
        "## Starting a unit",
        "",
        f"Float32 classifiers with their weights beside them; order to ready (warm-up request answered) from a tier"
        f" that runs, median of {STARTS}; *cold*: the file evicted from the page cache, once."
        f" `python -m benchmarks.tier_start {largest_mb}`",
        "",
        "| MB | read ms | ready ms | ratio | cold read ms | cold ready ms | ratio | packed behind, ms |"
        " p50 first stage ms | p50 packed ms |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for size_mb, (width, layers) in SIZES_MB.items():
            if size_mb > largest_mb:
                break
            path = Path(folder) / str(size_mb) / "model.onnx"
            path.parent.mkdir()
            model = mlp_classifier(width, layers)
            onnx.save_model(model, path, save_as_external_data=True, location="model.data")
            del model
            prefetch(path)
            lines.append(measure(size_mb, path, Path(folder) / f"home{size_mb}"))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
