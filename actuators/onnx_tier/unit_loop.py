"""What a unit does all its life: read the socket between steps, step, make each step last what it should."""

from __future__ import annotations

import time

from actuators.onnx_tier.stages import SecondStage
from actuators.onnx_tier.unit_work import UnitWork
from actuators.onnx_tier.warm_up import WARM_UP_ID
from actuators.onnx_tier.wire import BlockingLink, Frame

HEARTBEAT_S = 0.5


class UnitLoop:
    """The loop of one unit; it beats its heart throughout.

    On a CPU `compute_share` is what a fraction of a device is on a GPU: a step of c seconds of work lasts
    c / share, and what it made is sent at its end, so that neighbours on one machine keep their
    capacity apart and latency is that of the smaller unit. Reading requests and writing answers is
    work like any other. Processor time counts, not time on the wall: a busy machine must not be paid for twice.

    Parameters
    ----------
    link : BlockingLink
        To the tier.
    work : UnitWork
        The engine.
    compute_share : float
        Share of a core, 0 < share <= 1.
    threads : int
        Of the session.
    second : SecondStage, optional
        Packs the weights behind the first answers.
    """

    def __init__(
        self,
        link: BlockingLink,
        work: UnitWork,
        compute_share: float = 1.0,
        threads: int = 1,
        second: SecondStage | None = None,
    ) -> None:
        self._link = link
        self._work = work
        self._second = second
        self._rest_ratio = (1.0 / compute_share - 1.0) / threads
        # One thread is this one: what packs weights behind it is not the step's work.
        self._spent_s = time.thread_time if threads == 1 else time.process_time
        self._paid_s = 0.0
        self._busy_s = 0.0
        self._profiled_s = 0.0
        self._warmed_up = False
        self._answered = False
        self._rest_until_s = 0.0
        self._unsent: list[Frame] = []
        self._beat_due_s = 0.0
        self._stopping = False

    def run(self) -> None:
        """Take turns until told to stop.

        Raises
        ------
        EOFError
            When the tier has gone.
        """
        while not self._stopping:
            self.turn()

    def turn(self) -> None:
        """Read what has come, then step, or end the step that rested; without work, listen for a while."""
        self._beat()
        if self._second is not None:
            self._take_second_stage(self._second)
        idle_s = self._idle_s()
        if idle_s is None and self._rest_ratio:
            self._paid_s = self._spent_s()  # listening is no work
        began_s = time.perf_counter()
        frames = self._link.receive(idle_s)
        if idle_s != 0.0:
            began_s = time.perf_counter()
        for frame in frames:
            self.take(frame)
        if self._idle_s() == 0.0:
            self._go_on(began_s)

    def take(self, frame: Frame) -> None:
        """Take one frame of the tier's."""
        header, body = frame
        if header["t"] == "stop":
            self._stopping = True
            return
        self._warmed_up = self._warmed_up or header["id"] != WARM_UP_ID
        if refusal := self._work.accept(header, body):
            self._link.send(*refusal)

    def _idle_s(self) -> float | None:
        """Seconds to listen before the next step; None while there is nothing to do."""
        if self._unsent:
            return max(0.0, min(self._rest_until_s - time.monotonic(), HEARTBEAT_S))
        return min(self._work.hold_s(), HEARTBEAT_S) if self._work.has_work else None

    def _take_second_stage(self, second: SecondStage) -> None:
        if self._answered:
            second.start()
        if (made := second.take()) is not None:
            session, seconds = made
            self._work.use(session)
            self._second = None
            self._link.send({"t": "packed", "seconds": seconds})

    def _go_on(self, began_s: float) -> None:
        """End the step that rested, or make the next one of a turn that began then."""
        if self._unsent:
            unsent, self._unsent = self._unsent, []
            self._link.send_all(unsent)
        elif not self._rest_ratio or not self._warmed_up:
            self._answered = True
            self._link.send_all(self._work.step())
            self._count(time.perf_counter() - began_s)
            self._paid_s = self._spent_s()
        else:
            self._unsent = self._work.step() or [({"t": "beat"}, b"")]
            spent_s = self._spent_s()
            compute_s, self._paid_s = spent_s - self._paid_s, spent_s
            self._rest_until_s = time.monotonic() + compute_s * self._rest_ratio
            self._count(compute_s * (1.0 + self._rest_ratio))

    def _count(self, step_s: float) -> None:
        """Keep how long a step took beside what the profile says: the next heartbeat tells it."""
        if self._warmed_up:
            self._busy_s += step_s
            self._profiled_s += self._work.profiled_s()

    def _beat(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._beat_due_s:
            self._beat_due_s = now_s + HEARTBEAT_S
            self._link.send({"t": "beat", "busy_s": self._busy_s, "profiled_s": self._profiled_s})
            self._busy_s = self._profiled_s = 0.0
