"""Where clients' requests enter the tier and where each one is logged as it leaves."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from actuators.onnx_tier.jobs import Job, JobEvent, RefusedError, Restarted, expected_work_s
from actuators.onnx_tier.rings import NumberedRing
from actuators.onnx_tier.router import Router
from actuators.onnx_tier.session import ModelSignature
from actuators.onnx_tier.spec import TierService
from actuators.onnx_tier.statuses import CLIENT_CLOSED
from actuators.onnx_tier.terms import Terms
from actuators.onnx_tier.text import ModelText
from actuators.onnx_tier.wire import Header
from forecaster.domain.ports import Clock
from forecaster.domain.units import RequestRecord

REQUESTS_KEPT = 200_000
NO_TERMS = Terms()

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
    texts : dict of str to ModelText
        How each generative service reads and writes.
    router : Router
        Where jobs go.
    """

    def __init__(
        self,
        tier: str,
        clock: Clock,
        services: tuple[TierService, ...],
        signatures: dict[str, ModelSignature],
        texts: dict[str, ModelText],
        router: Router,
    ) -> None:
        self.tier = tier
        self.services = {each.service: each for each in services}
        self.signatures = signatures
        self.texts = texts
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

    def service(self, name: object, version: str = "") -> TierService:
        """Return the service called `name`, or refuse with 404.

        Version 2 of a model is the service ``name@2``; a name without version is version 1.
        """
        found = None
        if isinstance(name, str):
            found = self.services.get(name if version in {"", "1"} else f"{name}@{version}")
        if found is None:
            which = f"the model {str(name)[:100]!r}" + (
                f" version {version[:40]!r}" if version else ""
            )
            raise RefusedError(404, f"{which} does not exist", "model_not_found")
        return found

    def make_job(
        self,
        service: TierService,
        header: Header,
        body: bytes,
        terms: Terms = NO_TERMS,
        prompt_tokens: int = 0,
        max_tokens: int = 0,
    ) -> Job:
        """Return a request that has arrived now."""
        work_s = expected_work_s(service.unit_type.profile, prompt_tokens, max_tokens)
        arrival_s = self._clock.now_s()
        return Job(
            service.service,
            header,
            body,
            work_s,
            arrival_s,
            prompt_tokens,
            terms.timeout_s,
            terms.batch,
        )

    def admit(self, job: Job, receive: Receive | None = None) -> JobVisit:
        """Accept a job; the visit must be left again, whatever happens.

        Parameters
        ----------
        job : Job
            From `make_job`.
        receive : callable, optional
            Tells when an HTTP client has gone.

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
        return JobVisit(self, job, asyncio.ensure_future(_gone(receive)) if receive else None)

    def leave(self, job: Job, status: int) -> None:
        """Log a job's end; cancel what may still be running."""
        self._open -= 1
        self._router.cancel(job)
        self._log(job, status)

    def abandon(self, job: Job, why: RefusedError) -> None:
        """Cancel a job that is wanted no more, and wake whoever answers it."""
        if not job.done:
            self._router.cancel(job)
            job.deliver(why)

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
                batch=job.batch,
            )
        )


class JobVisit:
    """One job between admission and its last byte."""

    def __init__(self, door: FrontDoor, job: Job, gone: asyncio.Future[None] | None) -> None:
        self._door = door
        self.job = job
        self._gone = gone
        self._left = False
        self._timer: asyncio.TimerHandle | None = None
        if gone is not None:
            gone.add_done_callback(self._on_gone)
        if job.timeout_s < math.inf:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(job.timeout_s, self._on_deadline)

    async def next_event(self) -> JobEvent:
        """Wait for what happens next.

        Raises
        ------
        RefusedError
            When the job cannot be kept.
        """
        event = await self.job.events.get()
        if isinstance(event, RefusedError):
            raise event
        return event

    async def first_event(self) -> JobEvent:
        """Wait for the first output that counts: nothing was sent, so a lost unit is no matter."""
        while isinstance(event := await self.next_event(), Restarted):
            pass
        return event

    def leave(self, status: int) -> None:
        """End the visit with the HTTP status that was answered; later calls do nothing."""
        if self._left:
            return
        self._left = True
        if self._timer is not None:
            self._timer.cancel()
        if self._gone is not None:
            status = CLIENT_CLOSED if self._gone.done() else status
            self._gone.cancel()
        self._door.leave(self.job, status)

    def _on_gone(self, gone: asyncio.Future[None]) -> None:
        if not gone.cancelled() and not self._left:
            why = RefusedError(CLIENT_CLOSED, "the client has gone", "client_closed")
            self._door.abandon(self.job, why)

    def _on_deadline(self) -> None:
        why = f"not answered within its deadline of {self.job.timeout_s:g} s"
        self._door.abandon(self.job, RefusedError(504, why, "deadline_exceeded"))


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
