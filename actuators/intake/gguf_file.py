"""A GGUF file opened for reading: what it says of itself, and its tensors as float32.

The `gguf` package reads it. What is torn, missing or of an unknown kind is a `ModelError` here.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forecaster.domain.errors import ModelError

SUFFIX = ".gguf"
AGAIN = "download or convert it again"


class GgufFile:
    """One GGUF file, mapped.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    ModelError
        When the package is not installed, or the file is not whole.
    """

    def __init__(self, path: Path) -> None:
        self._gguf = _package()
        self.path = path
        try:
            self._reader = self._open()
        except (ValueError, KeyError, IndexError, TypeError, OverflowError, OSError) as error:
            raise ModelError(f"{path} is no whole GGUF file: {_line(error)}", AGAIN) from error
        if self._reader.byte_order == "S":
            raise ModelError(f"{path} is written for machines of the other byte order", AGAIN)
        self._tensors = {each.name: each for each in self._reader.tensors}

    def _open(self) -> Any:
        if not self.path.stat().st_size:
            raise ValueError("it is empty")

        base: Any = self._gguf.GGUFReader

        class Bounded(base):  # type: ignore[misc]
            """Ends where the file ends: slices behind it are empty, and lengths can be anything."""

            def _get(self, offset: int, dtype: Any, count: int = 1, **order: Any) -> Any:
                size, whole = int(count) * np.dtype(dtype).itemsize, self.data.size
                if offset + size > whole:
                    raise ValueError(f"byte {offset + size:,} is read of {whole:,}")
                return super()._get(offset, dtype, count, **order)

        # What it logs of a file is told by our own errors.
        logging.getLogger("gguf").setLevel(logging.ERROR)
        return Bounded(self.path)

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes, outermost axis first."""
        return {
            name: tuple(int(size) for size in reversed(each.shape.tolist()))
            for name, each in self._tensors.items()
        }

    def value(self, key: str, kind: type, default: Any = None) -> Any:
        """Return what the file says under `key`.

        Parameters
        ----------
        key : str
            Such as ``llama.block_count``.
        kind : type
            What it must be: str, int, float, bool, or list.
        default : optional
            What holds where the file does not say; without one, it must.

        Raises
        ------
        ModelError
            When it is not said, or is of another kind.
        """
        field = self._reader.get_field(key)
        if field is None:
            if default is None:
                raise ModelError(f"{self.path} does not say {key!r}", AGAIN)
            return default
        try:
            found = field.contents()
        except ValueError as error:
            raise ModelError(
                f"{self.path} says no text under {key!r}: {_line(error)}", AGAIN
            ) from error
        if kind is float and type(found) is int:
            found = float(found)
        if type(found) is not kind:
            raise ModelError(
                f"{self.path} says {str(found)[:40]!r} under {key!r}, which is no {kind.__name__}",
                AGAIN,
            )
        return found

    def says(self, key: str) -> bool:
        """Whether the file says anything under `key`."""
        return self._reader.get_field(key) is not None

    def tensor(self, name: str) -> npt.NDArray[np.float32]:
        """Return a tensor, unpacked.

        Raises
        ------
        ModelError
            When its kind cannot be unpacked, or it holds what is no number.
        """
        packed = self._tensors[name]
        try:
            value = np.asarray(
                self._gguf.dequantize(packed.data, packed.tensor_type), np.float32
            ).reshape(self.tensors[name])
        except (NotImplementedError, ValueError) as error:
            kind = packed.tensor_type.name
            raise ModelError(
                f"tensor {name!r} is of type {kind}, which cannot be unpacked",
                "convert the model to F16, Q8_0, Q4_K or another common type",
            ) from error
        if not np.isfinite(value).all():
            raise ModelError(f"tensor {name!r} holds values that are no numbers", AGAIN)
        return value


def _package() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise ModelError(
            "reading GGUF needs the package gguf", "run `pip install 'tidegate[gguf]'`"
        ) from error
    return gguf


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
