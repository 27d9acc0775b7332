"""KV cache in rows, bound to the session by pointer: past and present are one buffer, nothing copies.

A row is one sequence. Decoding runs over rows 0..n-1 at once; a prompt is read into one row. The
attention operator takes each row's length from the attention mask.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from actuators.onnx_tier.kv_device import DeviceMemory, last_logits
from actuators.onnx_tier.kv_graphs import GraphDecoder, no_graph
from actuators.onnx_tier.kv_memory import Array, HostMemory, KvBlock, KvMemory
from actuators.onnx_tier.session import CUDA, ModelSignature, TensorSpec, provider_of
from forecaster.domain.errors import ModelError

Tokens = npt.NDArray[np.int64]
Logits = npt.NDArray[np.floating[Any]]

_PAST = re.compile(r"^past_key_values\.(\d+)\.(key|value)$")


class KvRows:
    """The cache of one unit and the two ways to run the model over it.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        A model with genai's graph layout.
    signature : ModelSignature
        Its inputs and outputs.
    rows : int
        Sequences at once.
    row_tokens : int
        Tokens that one row holds.
    device : str
        Where the cache lies: ``cuda`` or ``cpu``, in the memory that ONNX Runtime gives out there;
        empty for the session's own device, numpy's arrays on a CPU.
    graphs : bool
        Whether decoding steps are captured as CUDA graphs: their masks then have full length.
    """

    def __init__(
        self,
        session: Any,
        signature: ModelSignature,
        rows: int,
        row_tokens: int,
        device: str = "",
        graphs: bool = False,
    ) -> None:
        self._session = session
        self.row_tokens = row_tokens
        pasts = [each for each in signature.inputs if _PAST.match(each.name)]
        names = {each.name for each in signature.inputs} - {each.name for each in pasts}
        self._positions = "position_ids" in names
        if not pasts or names - {"position_ids"} != {"input_ids", "attention_mask"}:
            raise ModelError(
                "the model is not a decoder with a KV cache: its inputs are "
                + ", ".join(sorted(names)),
                "export it with onnxruntime-genai's builder, or serve it as kind = 'classic'",
            )
        self.cache_shapes = [(e.shape[1], e.shape[3], np.dtype(e.dtype)) for e in pasts]
        self._logits = next(each for each in signature.outputs if each.name == "logits")
        device = device or ("cuda" if provider_of(session) == CUDA else "")
        self._memory: KvMemory = _memory(pasts, rows, row_tokens, device)
        self._last = last_logits(self._logits, device) if device else None
        self._graphs: GraphDecoder | None = None
        if graphs:
            self._graphs = GraphDecoder(self._memory, self._logits, row_tokens, self._positions)
        self._bindings: dict[tuple[int, int], Any] = {}
        # A step's logits are megabytes: memory that is given back costs their pages each time.
        self._decoded: Logits = np.empty((rows, 1, self.vocabulary), self._logits.dtype)
        self._arange = np.arange(row_tokens)

    def use(self, session: Any) -> None:
        """Go on with another session of the same model: the cache stays as it is."""
        self._session = session
        self._bindings.clear()

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self._logits.shape[-1]

    def decode(self, tokens: Tokens, lengths: Tokens) -> Logits:
        """Append one token to each of rows 0..n-1.

        Parameters
        ----------
        tokens : int64[n]
            The tokens to append.
        lengths : int64[n]
            Cached tokens of each row before this call.

        Returns
        -------
        float[n, vocabulary]
            Logits of each row's next token; the next call writes over them.
        """
        if self._graphs is not None:
            return self._graphs.decode(self._session, tokens, lengths)
        after = lengths + 1
        mask = (self._arange[: int(after.max())] < after[:, None]).astype(np.int64)
        binding, _kept = self._bound(0, tokens[:, None], mask)
        logits = self._decoded[: tokens.size]
        _bind_logits(binding, logits)
        self._session.run_with_iobinding(binding)
        return logits[:, 0, :]

    def prefill(self, row: int, tokens: Tokens, cached: int) -> Logits:
        """Read `tokens` into `row` behind its `cached` tokens; return the last logits, float[v]."""
        mask = np.ones((1, cached + tokens.size), np.int64)
        binding, _kept = self._bound(row, tokens[None, :], mask)
        options = no_graph() if self._graphs is not None else None
        if self._last is not None:
            binding.bind_output("logits", self._memory.device, 0)
            self._session.run_with_iobinding(binding, options)
            return self._cut(binding)
        positions = 1 if self._logits.shape[1] == 1 else tokens.size
        logits: Logits = np.empty((1, positions, self.vocabulary), self._logits.dtype)
        _bind_logits(binding, logits)
        self._session.run_with_iobinding(binding, options)
        return np.asarray(logits[0, -1, :])

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of row `source` over row `target`."""
        self._memory.move(source, target, length)

    def read(self, row: int, start: int, end: int) -> KvBlock:
        """Return a copy of tokens `start` to `end` of a row."""
        return self._memory.read(row, start, end)

    def write(self, row: int, start: int, block: KvBlock) -> None:
        """Put a block into a row from token `start` on."""
        self._memory.write(row, start, block)

    @property
    def token_bytes(self) -> int:
        """Bytes of one token over all caches."""
        return sum(heads * width * dtype.itemsize for heads, width, dtype in self.cache_shapes)

    def take(self, row: int, tokens: int) -> list[Array]:
        """Return the first `tokens` tokens of a row on the host, ``[heads, tokens, width]`` each."""
        return self._memory.out(self._memory.read(row, 0, tokens))

    def bring(self, row: int, arrays: list[Array]) -> None:
        """Put what `take` returned into a row."""
        self._memory.write(row, 0, self._memory.home(arrays))

    def _bound(self, row: int, ids: Tokens, mask: Tokens) -> tuple[Any, list[Tokens]]:
        """Return a binding of rows and inputs, and the arrays that it points into."""
        binding = self._binding(row, ids.shape[0])
        ids = np.ascontiguousarray(ids)
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self._positions:
            places = mask.sum(1, keepdims=True) - ids.shape[1] + np.arange(ids.shape[1])
            inputs["position_ids"] = places
        for name, value in inputs.items():
            binding.bind_input(name, "cpu", 0, np.int64, value.shape, value.ctypes.data)
        return binding, list(inputs.values())

    def _cut(self, binding: Any) -> Logits:
        """Bring home the last of the logits, the output that was bound last."""
        assert self._last is not None
        cut = self._last.io_binding()
        cut.bind_ortvalue_input("logits", binding.get_outputs()[-1])
        cut.bind_output("last", "cpu", 0)
        self._last.run_with_iobinding(cut)
        return np.asarray(cut.get_outputs()[0].numpy()[0, -1])

    def _binding(self, row: int, rows: int) -> Any:
        """Return the binding of `rows` rows from `row` on; each is made once and kept."""
        found = self._bindings.get((row, rows))
        if found is None:
            found = self._bindings[row, rows] = self._session.io_binding()
            self._memory.bind(found, row, rows)
        return found


def _bind_logits(binding: Any, logits: Logits) -> None:
    kind = logits.dtype.type
    binding.bind_output("logits", "cpu", 0, kind, logits.shape, logits.ctypes.data)


def _memory(pasts: list[TensorSpec], rows: int, row_tokens: int, device: str) -> KvMemory:
    if not device:
        return HostMemory(pasts, rows, row_tokens)
    return DeviceMemory(pasts, rows, row_tokens, device)
