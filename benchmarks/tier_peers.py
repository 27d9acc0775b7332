"""`make bench-peers`: the tier beside Triton, MLServer and LitServe on the same model, in one run.

The peers are installed from PyPI in environments of their own (`TIDEGATE_BENCH_PEERS`, a folder;
about 1 GB). Each serves the same MLP from one ONNX Runtime session of one thread, in each of the
settings named below; the better one counts. Rounds of all servers take turns.

python -m benchmarks.tier_peers [seconds a point] [rounds]
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import onnx
import orjson

from actuators.onnx_tier.demo_models import mlp_classifier
from actuators.onnx_tier.launch import start_tier
from actuators.onnx_tier.spec import TierService, TierSpec
from benchmarks.tier_load import infer_request, load, post
from forecaster.domain.profile import ClassicProfile, UnitType

HOME = Path(os.environ.get("TIDEGATE_BENCH_PEERS", tempfile.gettempdir() + "/tidegate-peers"))
HERE = Path(__file__).parent / "peers"
PACKAGES = {
    "triton": ("nvidia-pytriton", "onnxruntime"),
    "mlserver": ("mlserver", "onnxruntime"),
    "litserve": ("litserve", "onnxruntime"),
}
WIDTH, LAYERS = 512, 6
FEATURES = 64
BATCH = 32
CLIENTS = (1, 64)
READY_S = 90.0
AIMS = {"Triton": 3.0, "LitServe": 5.0, "MLServer": 8.0}
"""Times the peer's requests/s with 64 clients that are aimed at (issue 5)."""

Started = tuple[str, bytes]
"""Address and the request that it answers."""


def python_of(peer: str) -> Path:
    """Python of the peer's environment; installs it first."""
    folder = HOME / peer
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"installing {', '.join(PACKAGES[peer])} in {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        command = [python, "-m", "pip", "install", "-q", *PACKAGES[peer]]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        (folder / "ready").touch()
    return python


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
def triton(model: Path, work: Path, features: np.ndarray, batch: int) -> Iterator[Started]:
    """The real tritonserver with its Python backend, binary tensors."""
    python = python_of("triton")
    root = Path(subprocess.run(
        [python, "-c", "import pytriton; print(pytriton.__path__[0])"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()) / "tritonserver"  # fmt: skip
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
    beside = root / "backends" / "python" / stub.name
    if not beside.exists():
        shutil.copy(stub, beside)
    repository = work / f"triton-{batch}"
    (repository / "m" / "1").mkdir(parents=True)
    shutil.copy(model, repository / "m" / "model.onnx")
    site = root.parents[1]  # its stub embeds a Python that knows no environment
    code = (HERE / "triton_model.py").read_text()
    (repository / "m" / "1" / "model.py").write_text(
        f"import sys\nsys.path.insert(0, {str(site)!r})\n{code}"
    )
    batching = f"max_batch_size: {batch}\n" + ("dynamic_batching {}\n" if batch > 1 else "")
    (repository / "m" / "config.pbtxt").write_text(
        'name: "m"\nbackend: "python"\n' + batching
        + 'input [{name: "features" data_type: TYPE_FP32 dims: [-1]}]\n'
        + 'output [{name: "scores" data_type: TYPE_FP32 dims: [-1]}]\n'
        + "instance_group [{count: 1 kind: KIND_CPU}]\n"
    )  # fmt: skip
    port = free_port()
    libraries = f"{sysconfig.get_config_var('LIBDIR')}:{site / 'nvidia_pytriton.libs'}"
    command = [
        root / "bin" / "tritonserver", f"--model-repository={repository}", f"--http-port={port}",
        "--allow-grpc=false", "--allow-metrics=false", f"--backend-directory={root / 'backends'}",
        "--http-thread-count=2",
    ]  # fmt: skip
    environment = {"LD_LIBRARY_PATH": libraries}
    url = f"http://127.0.0.1:{port}"
    with served(command, work / f"triton-{batch}.log", f"{url}/v2/health/ready", environment):
        yield url, infer_request("m", features)


@contextmanager
def mlserver(model: Path, work: Path, features: np.ndarray, batch: int) -> Iterator[Started]:
    """MLServer in one process, with or without adaptive batching; it takes V2 JSON."""
    folder = work / f"mlserver-{batch}"
    folder.mkdir()
    shutil.copy(HERE / "mlserver_runtime.py", folder)
    port = free_port()
    settings = {
        "http_port": port, "grpc_port": free_port(), "metrics_port": free_port(),
        "host": "127.0.0.1", "parallel_workers": 0, "debug": False,
    }  # fmt: skip
    served_model = {
        "name": "m",
        "implementation": "mlserver_runtime.OnnxRuntime",
        "parameters": {"uri": str(model)},
    }
    if batch > 1:
        served_model |= {"max_batch_size": batch, "max_batch_time": 0.001}
    (folder / "settings.json").write_bytes(orjson.dumps(settings))
    (folder / "model-settings.json").write_bytes(orjson.dumps(served_model))
    command = [python_of("mlserver").parent / "mlserver", "start", folder]
    url = f"http://127.0.0.1:{port}"
    tensor = {
        "name": "features", "shape": list(features.shape), "datatype": "FP32",
        "data": features.ravel().tolist(),
    }  # fmt: skip
    request = post("/v2/models/m/infer", {"inputs": [tensor]})
    ready = f"{url}/v2/models/m/ready"
    with served(command, work / f"mlserver-{batch}.log", ready, {"PYTHONPATH": str(folder)}):
        yield url, request


@contextmanager
def litserve(model: Path, work: Path, features: np.ndarray, batch: int) -> Iterator[Started]:
    """LitServe with one worker, with or without batching; it takes JSON."""
    port = free_port()
    command = [python_of("litserve"), HERE / "litserve_app.py", model, str(port), str(batch)]
    url = f"http://127.0.0.1:{port}"
    with served(command, work / f"litserve-{batch}.log", f"{url}/health", {}):
        yield url, post("/predict", {"features": features[0].tolist()})


@contextmanager
def served(
    command: list[object], log: Path, ready: str, environment: dict[str, str]
) -> Iterator[None]:
    """A server in a process group of its own, from ready to gone."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(each) for each in command], stdout=out, stderr=out, start_new_session=True,
            env=os.environ | environment,
        )  # fmt: skip
    try:
        until_s = time.monotonic() + READY_S
        while True:
            try:
                if httpx.get(ready, timeout=1.0).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            if process.poll() is not None or time.monotonic() > until_s:
                raise RuntimeError(f"not ready: {log.read_text()[-20000:]}")
            time.sleep(0.1)
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def measure(seconds: float, rounds: int) -> str:
    """The section of docs/benchmarks.md."""
    features = np.random.default_rng(1).standard_normal((1, FEATURES)).astype(np.float32)
    starters: dict[str, Callable[[Path, Path], object]] = {
        "Tidegate": lambda model, work: ours(model, work, features)
    }
    peers = {"Triton": triton, "MLServer": mlserver, "LitServe": litserve}
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
