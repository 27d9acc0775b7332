"""What a unit does between its socket and its engine: frames in, work, frames out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from actuators.onnx_tier.engine_classic import ClassicEngine, InferRequest
from actuators.onnx_tier.engine_generate import GenerateEngine, GenerateRequest
from actuators.onnx_tier.sampling import Sampling
from actuators.onnx_tier.session import captures, signature_of
from actuators.onnx_tier.wire import Frame, Header, pack_tensors, unpack_tensors
from forecaster.domain.profile import ClassicProfile, GenerativeProfile, UnitType


class UnitWork(Protocol):
    """An engine that speaks frames."""

    @property
    def has_work(self) -> bool:
        """Whether `step` would do anything."""
        ...

    def hold_s(self) -> float:
        """Seconds that `step` should still be put off so that a batch fills."""
        ...

    def accept(self, header: Header, body: bytes) -> Frame | None:
        """Take a request or a cancellation; return a refusal to send, if it is refused."""
        ...

    def step(self) -> list[Frame]:
        """Do one piece of work; return the frames to send."""
        ...

    def profiled_s(self) -> float:
        """Seconds that the profile gives the last step, at this unit's share of a core."""
        ...

    def use(self, session: Any) -> None:
        """Go on with another session of the same model, between two steps."""
        ...


def make_work(session: Any, unit_type: UnitType) -> UnitWork:
    """Return the engine that the unit type's kind asks for, around an open session."""
    if isinstance(unit_type.profile, GenerativeProfile):
        graphs = captures(session, unit_type.cuda_graphs)
        engine = GenerateEngine(session, unit_type.profile, graphs=graphs)
        return GenerativeWork(engine, unit_type.profile)
    return ClassicWork(session, ClassicEngine(session, unit_type.profile), unit_type.profile)


class GenerativeWork:
    """Continuous batching."""

    def __init__(self, engine: GenerateEngine, profile: GenerativeProfile) -> None:
        self._engine = engine
        self._profile = profile

    @property
    def has_work(self) -> bool:
        """As in `UnitWork`."""
        return self._engine.has_work

    def use(self, session: Any) -> None:
        """As in `UnitWork`."""
        self._engine.use(session)

    def profiled_s(self) -> float:
        """As in `UnitWork`."""
        last = self._engine.steps[-1]
        return self._profile.step_s(last.b, last.ctx, last.reads, last.p)

    def hold_s(self) -> float:
        """As in `UnitWork`."""
        return 0.0

    def accept(self, header: Header, body: bytes) -> Frame | None:
        """As in `UnitWork`."""
        if header["t"] == "cancel":
            self._engine.cancel(header["id"])
            return None
        kind = header["t"]
        request = GenerateRequest(
            request_id=header["id"],
            prompt=np.frombuffer(body, np.int64),
            max_tokens=header["max_tokens"],
            sampling=Sampling(*header["sampling"]),
            stop_tokens=tuple(header["stop"]),
            hand_to=header["file"] if kind == "read" else "",
        )
        try:
            if kind == "resume":
                self._engine.resume(request, header["token"], header["file"])
            else:
                self._engine.submit(request)
        except ValueError as error:
            return {"t": "refused", "id": header["id"], "error": str(error)}, b""
        return None

    def step(self) -> list[Frame]:
        """As in `UnitWork`."""
        frames: list[Frame] = []
        rows: list[list[Any]] = []
        for each in self._engine.step():
            if each.problem:
                said = {"t": "refused", "id": each.request_id, "error": each.problem, "status": 503}
                frames.append((said, b""))
            elif each.handed_bytes:
                handed = {"t": "handed", "id": each.request_id, "token": each.token}
                size = {"reused": each.reused, "bytes": each.handed_bytes}
                frames.append((handed | size, b""))
            else:
                rows.append([each.request_id, each.token, each.finish, each.reused])
        if rows:
            frames.append(({"t": "tokens", "r": rows}, b""))
        return frames


class ClassicWork:
    """Dynamic batching."""

    def __init__(self, session: Any, engine: ClassicEngine, profile: ClassicProfile) -> None:
        self._engine = engine
        self._profile = profile
        self._input_names = {each.name for each in signature_of(session).inputs}

    @property
    def has_work(self) -> bool:
        """As in `UnitWork`."""
        return self._engine.has_work

    def use(self, session: Any) -> None:
        """As in `UnitWork`."""
        self._engine.use(session)

    def profiled_s(self) -> float:
        """As in `UnitWork`."""
        last = self._engine.passes[-1].rows if self._engine.passes else 0
        return float(self._profile.pass_s(last)) if last else 0.0

    def hold_s(self) -> float:
        """As in `UnitWork`."""
        return self._engine.hold_s()

    def accept(self, header: Header, body: bytes) -> Frame | None:
        """As in `UnitWork`."""
        if header["t"] == "cancel":
            self._engine.cancel(header["id"])
            return None
        inputs = unpack_tensors(header["inputs"], body)
        if {name for name, _ in inputs} != self._input_names:
            needed = ", ".join(sorted(self._input_names))
            return {"t": "refused", "id": header["id"], "error": f"inputs must be {needed}"}, b""
        self._engine.submit(InferRequest(header["id"], inputs, tuple(header["outputs"])))
        return None

    def step(self) -> list[Frame]:
        """As in `UnitWork`."""
        frames: list[Frame] = []
        for answer in self._engine.step():
            if answer.error:
                frames.append(
                    ({"t": "refused", "id": answer.request_id, "error": answer.error}, b"")
                )
                continue
            entries, body = pack_tensors(answer.outputs)
            frames.append(({"t": "answer", "id": answer.request_id, "outputs": entries}, body))
        return frames
