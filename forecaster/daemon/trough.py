"""Batch work beside the tide: what it costs units, and how much of it is let in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from forecaster.demand import request_work_s
from forecaster.domain.deferred import Backlog
from forecaster.domain.errors import ActuatorUnavailableError
from forecaster.domain.ports import Actuator, TakesBatchWork
from forecaster.domain.profile import Profile
from forecaster.domain.units import Fleet, RequestRecord


def batch_work_s(records: Sequence[RequestRecord], profile: Profile) -> float:
    """Busy seconds of the batch requests among `records`."""
    batch = [each for each in records if each.batch]
    prompt = np.array([each.prompt_tokens for each in batch], np.int64)
    output = np.array([each.output_tokens for each in batch], np.int64)
    return float(request_work_s(prompt, output, profile).sum())


def on_the_clock(backlog: Sequence[Backlog], speed: float) -> tuple[Backlog, ...]:
    """Work of real units in seconds of a clock that goes `speed` times as fast."""
    return tuple(replace(each, work_s=each.work_s * speed) for each in backlog)


def let_in(actuator: Actuator, fleet: Fleet | None, spare: Callable[[Fleet], float | None]) -> None:
    """Tell a tier where batch work waits how much of it there is room for.

    Parameters
    ----------
    spare : callable
        Busy units that the ready ones have to spare, asked where work waits; None: nobody knows, the tier goes by
        what it sees.
    """
    if fleet is None or not fleet.backlog or not isinstance(actuator, TakesBatchWork):
        return
    busy_units = spare(fleet)
    if busy_units is not None:
        with suppress(ActuatorUnavailableError):  # the tick says so; what was said last goes on
            actuator.let_in(fleet.service, busy_units)
