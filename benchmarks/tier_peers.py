"""`make bench-peers`: the tier beside Triton, MLServer and LitServe on the same model, in one run.

The peers are installed from PyPI in environments of their own (`benchmarks.peers.servers`). Each serves the same MLP from one ONNX Runtime session of one thread, in each of the
settings named below; the better one counts. Rounds of all servers take turns.

python -m benchmarks.tier_peers [seconds a point] [rounds]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import onnx

from actuators.onnx_tier.demo_models import mlp_classifier
from actuators.onnx_tier.launch import start_tier
from actuators.onnx_tier.spec import TierService, TierSpec
from benchmarks.peers.servers import HERE, free_port, mlserver, python_of, served, triton
from benchmarks.tier_load import infer_request, load, post
from forecaster.domain.profile import ClassicProfile, UnitType

WIDTH, LAYERS = 512, 6
FEATURES = 64
BATCH = 32
CLIENTS = (1, 64)
AIMS = {"Triton": 3.0, "LitServe": 5.0, "MLServer": 8.0}
"""Times the peer's requests/s with 64 clients that are aimed at (issue 5)."""

Started = tuple[str, bytes]
"""Address and the request that it answers."""


@contextmanager
def ours(model: Path, work: Path, features: np.ndarray) -> Iterator[Started]:
    """Our tier with one unit."""
    unit = UnitType("mlp", ClassicProfile(((1, 3e-4), (BATCH, 1e-3))))
    spec = TierSpec(work / "tier", (TierService("m", unit, model),))
    with start_tier(spec, work / "tier.log") as tier:
        with tier.actuator() as actuator:
            actuator.prewarm("m", 1, reason="benchmark", order_key="1")
            while not actuator.observe("m").ready:
                time.sleep(0.01)
        yield tier.url, infer_request("m", features)


@contextmanager
def on_triton(model: Path, work: Path, features: np.ndarray, batch: int) -> Iterator[Started]:
    """Triton, binary tensors."""
    with triton(model, work, batch) as peer:
        yield peer.url, infer_request("m", features)


@contextmanager
def on_mlserver(model: Path, work: Path, features: np.ndarray, batch: int) -> Iterator[Started]:
    """MLServer, V2 JSON."""
    tensor = {
        "name": "features", "shape": list(features.shape), "datatype": "FP32",
        "data": features.ravel().tolist(),
    }  # fmt: skip
    with mlserver(model, work, batch) as peer:
        yield peer.url, post("/v2/models/m/infer", {"inputs": [tensor]})


@contextmanager
def litserve(model: Path, work: Path, features: np.ndarray, batch: int) -> Iterator[Started]:
    """LitServe with one worker, with or without batching; it takes JSON."""
    port = free_port()
    command = [python_of("litserve"), HERE / "litserve_app.py", model, str(port), str(batch)]
    url = f"http://127.0.0.1:{port}"
    with served(command, work / f"litserve-{batch}.log", f"{url}/health", {}):
        yield url, post("/predict", {"features": features[0].tolist()})


def measure(seconds: float, rounds: int) -> str:
    """The section of docs/benchmarks.md."""
    features = np.random.default_rng(1).standard_normal((1, FEATURES)).astype(np.float32)
    starters: dict[str, Callable[[Path, Path], object]] = {
        "Tidegate": lambda model, work: ours(model, work, features)
    }
    peers = {"Triton": on_triton, "MLServer": on_mlserver, "LitServe": litserve}
    for name, start in peers.items():
        for batch in (1, BATCH):
            setting = f"batches of {batch}" if batch > 1 else "no batching"
            starters[f"{name}, {setting}"] = lambda model, work, start=start, batch=batch: start(
                model, work, features, batch
            )
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in starters}
    with tempfile.TemporaryDirectory(prefix="tidegate-peers-") as folder, ExitStack() as stack:
        work = Path(folder)
        model = work / "model.onnx"
        onnx.save_model(mlp_classifier(WIDTH, LAYERS), model)
        running = {
            name: stack.enter_context(start(model, work)) for name, start in starters.items()
        }
        for url, request in running.values():
            load(url, request, 4, 0.5)
        for _ in range(rounds):
            for name, (url, request) in running.items():
                alone, crowd = (load(url, request, clients, seconds) for clients in CLIENTS)
                found[name].append((alone[0], alone[1], alone[2], crowd[0], crowd[1], crowd[2]))
    medians = {name: np.median(rows, axis=0) for name, rows in found.items()}
    return table(medians, seconds, rounds)


def table(medians: dict[str, np.ndarray], seconds: float, rounds: int) -> str:
    """Markdown of the medians, with the aims."""
    best = medians["Tidegate"][5]
    lines = [
        "## The tier beside its peers",
        "",
        f"The same {WIDTH} x {LAYERS} MLP (5 MB), one ONNX Runtime session of one thread each, on the same two"
        f" cores as the load; medians of {rounds} rounds of {seconds:g} s in turns. Tidegate and Triton get"
        " binary tensors, the others the JSON that they take; Triton calls ONNX Runtime from its Python"
        " backend, the only one in its wheel. `make bench-peers`",
        "",
        "| server | 1 client: p50 ms | p99 ms | requests/s | 64 clients: p50 ms | p99 ms | requests/s |"
        " Tidegate is x |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in medians.items():
        times = "" if name == "Tidegate" else f"{best / row[5]:.1f}"
        lines.append(
            f"| {name} | {1e3 * row[0]:.2f} | {1e3 * row[1]:.2f} | {row[2]:,.0f} |"
            f" {1e3 * row[3]:.1f} | {1e3 * row[4]:.1f} | {row[5]:,.0f} | {times} |"
        )
    lines.append("")
    for name, aim in AIMS.items():
        strongest = max(row[5] for each, row in medians.items() if each.startswith(name))
        lines.append(f"- {best / strongest:.1f} x {name}'s better setting (aim {aim:g})")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(
        measure(
            float(sys.argv[1]) if len(sys.argv) > 1 else 3.0,
            int(sys.argv[2]) if len(sys.argv) > 2 else 5,
        )
    )
