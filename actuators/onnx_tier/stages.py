"""Starting in two stages: answer from the mapped file at once, pack the weights for speed behind it.

ONNX Runtime copies float32 weights into a layout that its kernels like. For a large model that is most
of a start. A first session without the copy answers as soon as the file is mapped; the packed one is
made in a thread and takes its place between two steps. Quantised weights are useless unpacked (a step
takes thirty times as long), so that only plain float32 models start so.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forecaster.domain.errors import ModelError

STAGED_FROM_BYTES = 32 << 20
"""Smaller models are packed before anybody could answer from the first stage."""

_PACKED_ANYWAY = frozenset(
    {"MatMulNBits", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeMatMul"}
)


def weight_files(path: Path) -> tuple[Path, ...]:
    """Return the files that a model's weights are in, beside itself.

    Raises
    ------
    ModelError
        When one is missing.
    """
    import onnx

    model = onnx.load_model(path, load_external_data=False)
    files = tuple(path.parent / name for name in sorted(_locations(model)))
    for each in files:
        if not each.is_file():
            raise ModelError(
                f"external data {each.name!r} is missing in {path.parent}",
                "copy it beside the model, or save the model with its data inside",
            )
    return files


def starts_in_stages(path: Path) -> bool:
    """Whether a model is worth two stages: large, float32, its weights in a file that can be mapped."""
    import onnx

    model = onnx.load_model(path, load_external_data=False)
    external = [each for each in model.graph.initializer if each.external_data]
    floats = all(each.data_type == onnx.TensorProto.FLOAT for each in external)
    if not external or not floats or _PACKED_ANYWAY & {each.op_type for each in model.graph.node}:
        return False
    return sum(each.stat().st_size for each in weight_files(path)) >= STAGED_FROM_BYTES


def prefetch(path: Path) -> None:
    """Ask the system to read a model into its page cache: the next start maps memory, not a disk."""
    if not hasattr(os, "posix_fadvise"):
        return
    for each in (path, *weight_files(path)):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(descriptor)


class SecondStage:
    """Makes the packed session in a thread.

    Parameters
    ----------
    make : callable
        Returns the session.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: list[tuple[Any, float]] = []
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; later calls do nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="second-stage", daemon=True)
            self._thread.start()

    def take(self) -> tuple[Any, float] | None:
        """Return the session and the seconds that it took, once; None before and after."""
        return self._made.pop() if self._made else None

    def _run(self) -> None:
        began_s = time.monotonic()
        session = self._make()
        self._made.append((session, time.monotonic() - began_s))


def _locations(model: Any) -> set[str]:
    return {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
