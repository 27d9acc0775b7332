"""Triton, MLServer, Ray Serve and Dynamo's planner, the real ones, from PyPI in environments of their own: for benchmarks and tests.

`TIDEGATE_BENCH_PEERS` is the folder of the environments (about 1 GB; default: in the temporary folder).
`make bench-peers` installs what it compares, ``python -m benchmarks.peers.servers`` all of them; tests use what is
installed and skip loudly without.
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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson

HOME = Path(os.environ.get("TIDEGATE_BENCH_PEERS", tempfile.gettempdir() + "/tidegate-peers"))
HERE = Path(__file__).parent
PACKAGES = {
    "triton": ("nvidia-pytriton", "onnxruntime"),
    "mlserver": ("mlserver", "onnxruntime"),
    "litserve": ("litserve", "onnxruntime"),
    "ray": ("ray[serve]",),
    "genai": ("onnxruntime-genai", "numpy"),
    "dynamo": (
        "grpcio", "protobuf", "pydantic", "msgspec", "prometheus-client", "numpy", "scipy", "pyyaml",
        "aiohttp", "scikit-learn", "pandas", "prophet", "pmdarima", "filterpy", "kubernetes",
        "prometheus-api-client", "plotly", "pyzmq", "uvloop",
    ),
}  # fmt: skip
ALONE = {
    "dynamo": (
        "ai-dynamo==1.6.1",
        "ai-dynamo-runtime==1.6.1",
        "aisimulate==0.13.0.dev202610130000000070",
    ),
}
"""Without what they ask for: the planner's needs are not declared, and its simulator has no release on PyPI."""
READY_S, STOP_S = 90.0, 10.0


def installed(peer: str) -> bool:
    """Whether the peer's environment is there."""
    return (HOME / peer / "ready").exists()


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
        if peer in ALONE:
            command = [python, "-m", "pip", "install", "-q", "--no-deps", *ALONE[peer]]
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        (folder / "ready").touch()
    return python


@dataclass(frozen=True)
class Peer:
    """A server that runs: where it answers, and where its metrics are."""

    url: str
    metrics_url: str


@contextmanager
def triton(model: Path, work: Path, batch: int = 1, *, on_demand: bool = False) -> Iterator[Peer]:
    """The real tritonserver with its Python backend and one model, `m`.

    Parameters
    ----------
    on_demand : bool
        Nothing is loaded before it is asked for.
    """
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
    port, metrics = free_port(), free_port()
    libraries = f"{sysconfig.get_config_var('LIBDIR')}:{site / 'nvidia_pytriton.libs'}"
    command = [
        root / "bin" / "tritonserver", f"--model-repository={repository}", f"--http-port={port}",
        "--allow-grpc=false", f"--metrics-port={metrics}", f"--backend-directory={root / 'backends'}",
        "--http-thread-count=2",
        *(["--model-control-mode=explicit"] if on_demand else ["--allow-metrics=false"]),
    ]  # fmt: skip
    environment = {"LD_LIBRARY_PATH": libraries}
    url = f"http://127.0.0.1:{port}"
    with served(command, work / f"triton-{batch}.log", f"{url}/v2/health/ready", environment):
        yield Peer(url, f"http://127.0.0.1:{metrics}/metrics")


@contextmanager
def mlserver(model: Path, work: Path, batch: int = 1, *, on_demand: bool = False) -> Iterator[Peer]:
    """MLServer in one process with one model, `m`, with or without adaptive batching; it takes V2 JSON."""
    folder = work / f"mlserver-{batch}"
    folder.mkdir()
    shutil.copy(HERE / "mlserver_runtime.py", folder)
    port, metrics = free_port(), free_port()
    settings = {
        "http_port": port, "grpc_port": free_port(), "metrics_port": metrics,
        "host": "127.0.0.1", "parallel_workers": 0, "debug": False,
        "load_models_at_startup": not on_demand,
    }  # fmt: skip
    served_model = {
        "name": "m",
        "implementation": "mlserver_runtime.OnnxRuntime",
        "parameters": {"uri": str(model)},
        "inputs": [{"name": "features", "datatype": "FP32", "shape": [-1, 64]}],
    }
    if batch > 1:
        served_model |= {"max_batch_size": batch, "max_batch_time": 0.001}
    (folder / "settings.json").write_bytes(orjson.dumps(settings))
    (folder / "model-settings.json").write_bytes(orjson.dumps(served_model))
    command = [python_of("mlserver").parent / "mlserver", "start", folder]
    url = f"http://127.0.0.1:{port}"
    ready = f"{url}/v2/health/live" if on_demand else f"{url}/v2/models/m/ready"
    with served(command, work / f"mlserver-{batch}.log", ready, {"PYTHONPATH": str(folder)}):
        yield Peer(url, f"http://127.0.0.1:{metrics}/metrics")


@contextmanager
def ray_serve(work: Path, cpus: int = 1) -> Iterator[str]:
    """A local Ray with Ray Serve and the deployment `slow/Slow`; yields the dashboard's address.

    Parameters
    ----------
    cpus : int
        Of the cluster; a replica takes a fifth of one.
    """
    bin_dir = python_of("ray").parent
    port = free_port()
    (work / "serve.yaml").write_text(
        "proxy_location: Disabled\napplications:\n"
        "- {name: slow, import_path: ray_app:app, route_prefix: /, external_scaler_enabled: true}\n"
    )
    environment = {
        "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(HERE),
        "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    command = [
        bin_dir / "ray", "start", "--head", "--block", f"--num-cpus={cpus}", f"--port={free_port()}",
        f"--dashboard-port={port}", "--dashboard-host=127.0.0.1", "--include-dashboard=true",
        "--min-worker-port=20000", "--max-worker-port=20999", "--disable-usage-stats",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    ready = f"{url}/api/serve/applications/"
    # Ray takes half a minute to say goodbye; its parts end by themselves when the head is gone
    with served(command, work / "ray.log", ready, environment, stop_s=1.0):
        subprocess.run(
            [bin_dir / "serve", "deploy", work / "serve.yaml", "--address", url],
            check=True, capture_output=True, env=os.environ | environment,
        )  # fmt: skip
        yield url


@contextmanager
def served(
    command: list[object],
    log: Path,
    ready: str | Callable[[], bool],
    environment: dict[str, str],
    stop_s: float = STOP_S,
) -> Iterator[None]:
    """A server in a process group of its own, from ready to gone.

    Parameters
    ----------
    ready : str or callable
        Answers 200 when it is, or says so.
    """

    def answers() -> bool:
        return httpx.get(str(ready), timeout=1.0).status_code == 200

    is_ready = ready if callable(ready) else answers
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(each) for each in command], stdout=out, stderr=out, start_new_session=True,
            env=os.environ | environment,
        )  # fmt: skip
    try:
        until_s = time.monotonic() + READY_S
        while True:
            try:
                if is_ready():
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
                process.wait(stop_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


if __name__ == "__main__":
    for each in PACKAGES:
        print(python_of(each))
