"""Does a start get faster when prepacked weights are saved on disk? (ONNX Runtime 1.31.1: no.)

python -m benchmarks.tier_prepacked
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from actuators.intake.optimise import DATA_FILE
from actuators.intake.quantise import save_quantised
from actuators.onnx_tier.demo_models import mlp_classifier

SIZES_MB = {100: (2500, 5), 1000: (5000, 11)}
BITS = (8, 4)
STARTS = 3
_SAVE = "session.save_external_prepacked_constant_initializers"
_BESIDE = "session.optimized_model_external_initializers_"

_CHILD = """
import sys, time
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 4
options.add_session_config_entry("session.disable_prepacking", sys.argv[2])
features = {"features": np.zeros((1, 64), np.float32)}
began_s = time.perf_counter()
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
session.run(None, features)
first_ms = 1e3 * (time.perf_counter() - began_s)
print(first_ms)
"""


def save_prepacked(source: Path, folder: Path) -> Path:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry(_SAVE, "1")
    options.add_session_config_entry(f"{_BESIDE}file_name", DATA_FILE)
    options.add_session_config_entry(f"{_BESIDE}min_size_in_bytes", "1024")
    options.optimized_model_filepath = str(folder / "model.onnx")
    ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return folder / "model.onnx"


def start_ms(path: Path, unpacked: bool) -> float:
    """Time to the first answer; NaN when the process dies."""
    (path.parent / DATA_FILE).read_bytes()
    command = [sys.executable, "-c", _CHILD, str(path), "1" if unpacked else "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return float("nan") if done.returncode else float(done.stdout)


def row(model: str, weights: str, path: Path, unpacked: bool) -> str:
    disk_mb = sum(each.stat().st_size for each in path.parent.iterdir()) / 1e6
    first_ms = np.median([start_ms(path, unpacked) for _ in range(STARTS)])
    told = "dies" if np.isnan(first_ms) else f"{first_ms:.0f}"
    return f"| {model} | {weights} | {disk_mb:.0f} | {told} |"


def rows(model: str, path: Path) -> list[str]:
    saved = path.parent.with_name(f"{path.parent.name}-saved")
    saved.mkdir()
    packed = save_prepacked(path, saved)
    return [
        row(model, "packed at the start", path, False),
        row(model, "mapped, not packed", path, True),
        row(model, "saved packed", packed, False),
    ]


def main() -> str:
    lines = [
        f"Prepacked weights saved on disk, ONNX Runtime {ort.__version__}, median of {STARTS}.",
        "",
        "| model | weights | on disk, MB | session and first answer, ms |",
        "| --- | --- | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for size_mb, (width, layers) in SIZES_MB.items():
            path = Path(folder) / f"{size_mb}" / "model.onnx"
            path.parent.mkdir()
            model = mlp_classifier(width, layers)
            onnx.save_model(model, path, save_as_external_data=True, location=DATA_FILE)
            lines += rows(f"{size_mb} MB float32", path)
            for bits in BITS:
                small = Path(folder) / f"{size_mb}-int{bits}"
                small.mkdir()
                lines += rows(f"the same, int{bits}", save_quantised(path, small, bits))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(main())
