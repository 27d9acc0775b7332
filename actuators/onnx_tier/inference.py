"""The Open Inference Protocol's verbs, whatever carries them: REST and gRPC are two skins of this."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from actuators.onnx_tier.front_door import FrontDoor, JobVisit
from actuators.onnx_tier.inference_tensors import Named, datatype_of
from actuators.onnx_tier.jobs import Answer, JobEvent, RefusedError
from actuators.onnx_tier.session import ModelSignature, TensorSpec
from actuators.onnx_tier.spec import TierService
from actuators.onnx_tier.supervisor import Supervisor
from actuators.onnx_tier.terms import Terms
from actuators.onnx_tier.wire import pack_tensors, unpack_tensors
from forecaster.domain.errors import CapacityDeniedError
from forecaster.domain.lifecycle import UnitState
from forecaster.domain.profile import ClassicProfile
from forecaster.domain.units import Fleet

EXTENSIONS = ("binary_tensor_data", "model_repository", "schedule_policy")

_POLL_S = 0.02


class Inference:
    """What a client of the protocol may ask.

    Parameters
    ----------
    door : FrontDoor
        The tier.
    supervisor : Supervisor
        Tells which models have ready units; loads and unloads them.
    model_control : bool
        Whether clients may load and unload models.
    load_deadline_s : float
        Longest time that a load waits for a ready unit.
    """

    def __init__(
        self,
        door: FrontDoor,
        supervisor: Supervisor,
        model_control: bool = False,
        load_deadline_s: float = 300.0,
    ) -> None:
        self._door = door
        self._supervisor = supervisor
        self._model_control = model_control
        self._load_deadline_s = load_deadline_s
        self._loads = 0

    @property
    def accepting(self) -> bool:
        """Whether requests are accepted."""
        return self._door.accepting

    def ready(self, model: str, version: str = "") -> bool:
        """Whether a unit of the model is ready; of two pools one of each."""
        service = self._door.service(model, version)
        return all(fleet.ready for fleet in self._fleets(service))

    def server(self) -> dict[str, Any]:
        """Describe the server."""
        return {"name": "tidegate", "version": "2", "extensions": list(EXTENSIONS)}

    def metadata(self, model: str, version: str = "") -> dict[str, Any]:
        """Describe a model."""
        service = self._door.service(model, version)
        signature = self._door.signatures[service.service]
        name = service.service.partition("@")[0]
        found = [_split(each)[1] for each in self._door.services if _split(each)[0] == name]
        return {
            "name": name,
            "versions": sorted(found),
            "platform": "onnxruntime_onnx",
            "inputs": [_describe(each) for each in signature.inputs],
            "outputs": [_describe(each) for each in signature.outputs],
        }

    def index(self, ready_only: bool = False) -> list[dict[str, str]]:
        """List every model of the repository and whether it is ready."""
        rows = []
        for service in self._door.services:
            name, version = _split(service)
            fleets = self._fleets(self._door.services[service])
            ready = all(fleet.ready for fleet in fleets)
            coming = all(fleet.ready + fleet.warming for fleet in fleets)
            state = "READY" if ready else "LOADING" if coming else "UNAVAILABLE"
            if ready or not ready_only:
                rows.append({"name": name, "version": version, "state": state, "reason": ""})
        return rows

    async def load(self, model: str) -> None:
        """Order a unit if there is none, and wait until one is ready; of two pools one of each.

        Of several types the first is ordered.

        Raises
        ------
        RefusedError
            404 for an unknown model, 403 where clients may not load, 503 without room, 500 with the
            unit's reason when it fails.
        """
        service = self._controlled(model)
        lanes = self._supervisor.lanes_of(service.service)
        if service.type_paths:
            known = (each for each in lanes if _coming(self._supervisor.observe(each)))
            lanes = (next(known, lanes[0]),)
        deadline_s = asyncio.get_running_loop().time() + self._load_deadline_s
        for lane in lanes:
            self._order(lane)
        for lane in lanes:
            await self._loaded(model, lane, deadline_s)

    def _fleets(self, service: TierService) -> list[Fleet]:
        """Those of which each must have a unit: pools; of several types any will do."""
        name = service.service
        if service.type_paths:
            return [self._supervisor.observe(name)]
        return [self._supervisor.observe(each) for each in self._supervisor.lanes_of(name)]

    def _order(self, service: str) -> None:
        fleet = self._supervisor.observe(service)
        if not _coming(fleet):
            self._loads += 1
            try:
                key = f"load-{self._loads}"
                self._supervisor.prewarm(service, 1, "loaded by a client", key)
            except CapacityDeniedError as error:
                raise RefusedError(503, str(error), "no_room", 1) from error

    async def _loaded(self, model: str, service: str, deadline_s: float) -> None:
        while not (fleet := self._supervisor.observe(service)).ready:
            if not fleet.warming:
                failed = [each for each in fleet.units if each.state is UnitState.FAILED]
                reason = failed[-1].reason if failed else "it was unloaded meanwhile"
                raise RefusedError(500, f"{model} was not loaded: {reason}", "load_failed")
            if asyncio.get_running_loop().time() > deadline_s:
                raise RefusedError(504, f"{model} is still loading", "load_timeout")
            await asyncio.sleep(_POLL_S)

    def unload(self, model: str) -> None:
        """Drain every unit of a model: what was accepted is answered."""
        for unit in self._supervisor.observe(self._controlled(model).service).units:
            if unit.state not in {UnitState.DRAINING, UnitState.FAILED}:
                self._supervisor.drain_unit(unit.unit_id, "unloaded by a client")

    def classic(self, model: str, version: str = "") -> TierService:
        """Return a service that answers tensors, or refuse."""
        service = self._door.service(model, version)
        if not isinstance(service.unit_type.profile, ClassicProfile):
            message = f"{service.service} generates text: use /v1/completions"
            raise RefusedError(400, message, "model")
        return service

    def signature(self, service: TierService) -> ModelSignature:
        """Return what a service's model takes and gives."""
        return self._door.signatures[service.service]

    def begin(
        self,
        service: TierService,
        tensors: Named,
        wanted: list[str],
        terms: Terms,
        deliver: Callable[[JobEvent], None] | None = None,
    ) -> JobVisit:
        """Start one request; the visit must be left again, whatever happens.

        Parameters
        ----------
        service : TierService
            From `classic`.
        tensors : list of (str, ndarray)
            Checked inputs.
        wanted : list of str
            Outputs wanted; empty for all.
        terms : Terms
            Deadline and class.
        deliver : callable, optional
            Called with what happens; without it the visit's events are awaited.

        Raises
        ------
        RefusedError
            When it is not accepted.
        """
        entries, packed = pack_tensors(tensors)
        header = {"t": "infer", "inputs": entries, "outputs": wanted}
        job = self._door.make_job(service, header, packed, terms)
        if deliver is not None:
            job.deliver = deliver
        return self._door.admit(job)

    async def infer(
        self,
        service: TierService,
        tensors: Named,
        wanted: list[str],
        terms: Terms,
    ) -> Named:
        """Run one request on a unit; return its outputs in the model's order.

        Raises
        ------
        RefusedError
            When it is not accepted or cannot be kept.
        """
        visit = self.begin(service, tensors, wanted, terms)
        status = 500
        try:
            answer = await visit.first_event()
            assert isinstance(answer, Answer)
            status = 200
            return unpack_tensors(answer.outputs, answer.body)
        except RefusedError as refusal:
            status = refusal.status
            raise
        except asyncio.CancelledError:
            status = 499
            raise
        finally:
            visit.leave(status)

    def _controlled(self, model: str) -> TierService:
        if not self._model_control:
            raise RefusedError(
                403,
                "clients may not load or unload models here; set tier.model_control",
                "model_control",
            )
        return self._door.service(model)


def _coming(fleet: Fleet) -> int:
    return fleet.ready + fleet.warming


def _split(service: str) -> tuple[str, str]:
    name, _, version = service.partition("@")
    return name, version or "1"


def _describe(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": datatype_of(spec.dtype), "shape": list(spec.shape)}
