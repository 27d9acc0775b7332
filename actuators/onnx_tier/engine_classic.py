"""Single-pass models with dynamic batching: what waits goes into one pass, up to `max_batch` rows."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from actuators.onnx_tier.passes import has_bfloat16, run_pass
from actuators.onnx_tier.session import reason_of, signature_of
from actuators.onnx_tier.wire import Tensor
from forecaster.domain.profile import ClassicProfile

Named = list[tuple[str, Tensor]]
_Kind = tuple[tuple[str, np.dtype[Any], tuple[int, ...], bool], ...]


@dataclass(frozen=True, slots=True)
class InferRequest:
    """Input tensors by name, and the outputs wanted (empty = all)."""

    request_id: int
    inputs: Named
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InferOut:
    """The answer: tensors, or the model's refusal in `error`."""

    request_id: int
    outputs: Named
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request, when it came, its rows, and what tells who may share its pass."""

    request: InferRequest
    since_s: float
    rows: int
    kind: _Kind


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over `rows` rows."""

    rows: int
    seconds: float


class ClassicEngine:
    """The engine of one classic unit; one thread owns it.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        The model. It batches when the first axis of every input and output is free.
    profile : ClassicProfile
        Its largest batch and how long a lone request waits for company.
    """

    def __init__(self, session: Any, profile: ClassicProfile) -> None:
        self._session = session
        self._profile = profile
        signature = signature_of(session)
        self._names = tuple(each.name for each in signature.outputs)
        self._brain_floats = has_bfloat16(signature)
        shapes = [each.shape for each in (*signature.inputs, *signature.outputs)]
        self._batches = all(shape and shape[0] == -1 for shape in shapes)
        self._waiting: deque[_Waiting] = deque()
        self.passes: deque[Pass] = deque(maxlen=4096)

    @property
    def has_work(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def use(self, session: Any) -> None:
        """Go on with another session of the same model."""
        self._session = session

    def submit(self, request: InferRequest) -> None:
        """Queue a request."""
        rows = _rows(request)
        self._waiting.append(_Waiting(request, time.monotonic(), rows, _kind(request, rows)))

    def cancel(self, request_id: int) -> None:
        """Forget a request that has not run; unknown ids are ignored."""
        kept = (each for each in self._waiting if each.request.request_id != request_id)
        self._waiting = deque(kept)

    def hold_s(self) -> float:
        """Seconds that the batch should still wait for company; 0 = run now."""
        delay_s = self._profile.batch_delay_s
        if not self._waiting or delay_s == 0 or len(self._waiting) >= self._profile.max_batch:
            return 0.0
        return max(0.0, self._waiting[0].since_s + delay_s - time.monotonic())

    def step(self) -> list[InferOut]:
        """Run one pass over the oldest requests that fit together."""
        batch = self._take()
        started_s = time.perf_counter()
        try:
            answers = self._run(batch)
        except Exception as error:  # noqa: BLE001 - ORT's refusals share no other base
            if len(batch) == 1:
                return [InferOut(batch[0].request.request_id, [], reason_of(error))]
            # One bad request must not fail its neighbours: run each alone.
            answers = [self._alone(each) for each in batch]
        rows = sum(each.rows for each in batch)
        self.passes.append(Pass(rows, time.perf_counter() - started_s))
        return answers

    def _take(self) -> list[_Waiting]:
        first = self._waiting.popleft()
        batch, rows = [first], first.rows
        while self._batches and self._waiting:
            following = self._waiting[0]
            rows += following.rows
            if rows > self._profile.max_batch or following.kind != first.kind:
                break
            batch.append(self._waiting.popleft())
        return batch

    def _alone(self, one: _Waiting) -> InferOut:
        try:
            return self._run([one])[0]
        except Exception as error:  # noqa: BLE001 - as in `step`
            return InferOut(one.request.request_id, [], reason_of(error))

    def _run(self, batch: Sequence[_Waiting]) -> list[InferOut]:
        requests = [each.request for each in batch]
        if len(batch) == 1:
            feed = dict(requests[0].inputs)
        else:
            names = [name for name, _ in requests[0].inputs]
            columns = zip(
                *([tensor for _, tensor in each.inputs] for each in requests), strict=True
            )
            feed = {
                name: np.concatenate(column) for name, column in zip(names, columns, strict=True)
            }
        results = run_pass(self._session, feed, self._brain_floats)
        answers: list[InferOut] = []
        at = 0
        for each in batch:
            end = at + each.rows
            mine = results if len(batch) == 1 else [result[at:end] for result in results]
            named = list(zip(self._names, mine, strict=True))
            if wanted := each.request.outputs:
                named = [pair for pair in named if pair[0] in wanted]
            answers.append(InferOut(each.request.request_id, named))
            at = end
        return answers


def _rows(request: InferRequest) -> int:
    tensor = request.inputs[0][1]
    return int(tensor.shape[0]) if tensor.ndim else 1


def _kind(request: InferRequest, rows: int) -> _Kind:
    """Requests of one kind may share a pass: same inputs, types, row shapes and row counts."""
    return tuple(
        (name, tensor.dtype, tensor.shape[1:], tensor.ndim > 0 and tensor.shape[0] == rows)
        for name, tensor in request.inputs
    )
