"""Where clients' requests enter the tier and where each one is logged as it leaves."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from actuators.onnx_tier.jobs import Job, RefusedError, expected_work_s
from actuators.onnx_tier.rings import NumberedRing
from actuators.onnx_tier.router import Router
from actuators.onnx_tier.session import ModelSignature
from actuators.onnx_tier.spec import TierService
from actuators.onnx_tier.statuses import CLIENT_CLOSED
from actuators.onnx_tier.wire import Header
from forecaster.domain.ports import Clock
from forecaster.domain.units import RequestRecord

REQUESTS_KEPT = 200_000

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class FrontDoor:
    """What every public API needs of the tier.

    Parameters
    ----------
    tier : str
        Identity of the numbering.
    clock : Clock
        Stamps arrivals.
    services : tuple of TierService
        What is served.
    signatures : dict of str to ModelSignature
        What each service's model takes and gives.
    router : Router
        Where jobs go.
    """

    def __init__(
        self,
        tier: str,
        clock: Clock,
        services: tuple[TierService, ...],
        signatures: dict[str, ModelSignature],
        router: Router,
    ) -> None:
        self.tier = tier
        self.services = {each.service: each for each in services}
        self.signatures = signatures
        self._clock = clock
        self._router = router
        self._open = 0
        self.started_s = clock.now_s()
        self.requests: NumberedRing[RequestRecord] = NumberedRing(REQUESTS_KEPT)

    @property
    def in_flight(self) -> int:
        """Requests that are being answered."""
        return self._open

    @property
    def accepting(self) -> bool:
        """Whether new requests are accepted."""
        return self._router.accepting

    def service(self, name: object) -> TierService:
        """Return the service called `name`, or refuse with 404."""
        found = self.services.get(name) if isinstance(name, str) else None
        if found is None:
            raise RefusedError(404, f"the model {name!r} does not exist", "model_not_found")
        return found

    def make_job(
        self,
        service: TierService,
        header: Header,
        body: bytes,
        prompt_tokens: int = 0,
        max_tokens: int = 0,
    ) -> Job:
        """Return a request that has arrived now."""
        work_s = expected_work_s(service.unit_type.profile, prompt_tokens, max_tokens)
        arrival_s = self._clock.now_s()
        return Job(service.service, header, body, work_s, arrival_s, prompt_tokens)

    def admit(self, job: Job, receive: Receive) -> JobVisit:
        """Accept a job; the visit must be left again, whatever happens.

        Raises
        ------
        RefusedError
            503 when it cannot be accepted; the refusal is logged.
        """
        try:
            self._router.submit(job)
        except RefusedError as refusal:
            self._log(job, refusal.status)
            raise
        self._open += 1
        return JobVisit(self, job, asyncio.ensure_future(_gone(receive)))

    def leave(self, job: Job, status: int) -> None:
        """Log a job's end; cancel what may still be running."""
        self._open -= 1
        self._router.cancel(job)
        self._log(job, status)

    def abandon(self, job: Job) -> None:
        """Cancel a job whose client has gone, and wake whoever answers it."""
        self._router.cancel(job)
        job.events.put_nowait(RefusedError(CLIENT_CLOSED, "the client has gone", "client_closed"))

    def _log(self, job: Job, status: int) -> None:
        generated = job.output_tokens
        tpot_s = math.nan
        if generated > 1:
            tpot_s = (job.last_s - job.first_s) / (generated - 1)
        latency_s = time.monotonic() - job.arrived_s
        self.requests.append(
            lambda seq: RequestRecord(
                tier=self.tier,
                seq=seq,
                service=job.service,
                arrival_s=job.arrival_s,
                prompt_tokens=job.prompt_tokens,
                output_tokens=generated,
                ttft_s=job.first_s - job.arrived_s,
                tpot_s=tpot_s,
                latency_s=latency_s,
                unit_id=job.unit_id,
                status=status,
            )
        )


class JobVisit:
    """One job between admission and its last byte."""

    def __init__(self, door: FrontDoor, job: Job, gone: asyncio.Future[None]) -> None:
        self._door = door
        self.job = job
        self._gone = gone
        self._left = False
        gone.add_done_callback(self._on_gone)

    def leave(self, status: int) -> None:
        """End the visit with the HTTP status that was answered; later calls do nothing."""
        if self._left:
            return
        self._left = True
        client_left = self._gone.done()
        self._gone.cancel()
        self._door.leave(self.job, CLIENT_CLOSED if client_left else status)

    def _on_gone(self, gone: asyncio.Future[None]) -> None:
        if not gone.cancelled() and not self._left:
            self._door.abandon(self.job)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
